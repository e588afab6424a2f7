"""What a sweep compares at a scale that it does not train otherwise: Fitting, Transfer and what stands beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from orchestrator.spec.fields import Count, FieldError, Strict, as_number
from orchestrator.spec.grid import Grid, Scale, check_batch, check_horizon
from orchestrator.spec.trainers import ProxyTrainer

if TYPE_CHECKING:
    from orchestrator.spec.sweep import SweepSpec

Rule = Literal["depth", "weight_decay", "batch", "horizon"]

ALL_RULES: Final[tuple[Rule, ...]] = ("depth", "weight_decay", "batch", "horizon")
"""Transfer's rules beyond width; where base and target are alike in something, its rule changes nothing."""


class BaseSpec(Strict):
    """The proxy that Transfer is tuned at, one of the grid's cells; what is left out is as the comparison says."""

    scale: Scale | None = None
    tokens: Count | None = None
    batch_tokens: Count | None = None


class ModuleRates(Strict):
    """A search for multipliers of the global rate by module, each within [1/span, span]."""

    runs: Annotated[int, Field(ge=2, le=1_000)] = 24
    sampler: Literal["tpe", "gp"] = "tpe"
    span: Annotated[float, BeforeValidator(as_number), Field(gt=1, le=100)] = 4


class ComparisonSpec(Strict):
    """Both paradigms at a held-out scale, with seeds.

    Tokens default to the grid's longest horizon, the batch to its smallest, the base to its smallest scale at its
    longest horizon and the comparison's batch.
    """

    scale: Scale
    tokens: Count | None = None
    batch_tokens: Count | None = None
    seeds: Annotated[int, Field(ge=1, le=20)] = 3
    base: BaseSpec = BaseSpec()
    rules: Annotated[tuple[Rule, ...], Field(max_length=len(ALL_RULES))] = ALL_RULES
    horizon_exponent: Annotated[float, BeforeValidator(as_number), Field(ge=-2, le=2)] | None = None
    module_rates: ModuleRates | None = None

    def place(self, grid: Grid) -> tuple[int, int]:
        """Tokens and batch of the held-out runs, the tokens a whole number of steps."""
        batch_tokens = self.batch_tokens or min(grid.batch_tokens)
        return (self.tokens or max(grid.tokens)) // batch_tokens * batch_tokens, batch_tokens

    def base_place(self, grid: Grid) -> tuple[int, int]:
        """Tokens and batch of the base, the tokens a whole number of steps."""
        batch_tokens = self.base.batch_tokens or self.place(grid)[1]
        return (self.base.tokens or max(grid.tokens)) // batch_tokens * batch_tokens, batch_tokens


def check_comparison(spec: SweepSpec) -> None:
    """Refuse a comparison that cannot be carried out.

    Raises:
        FieldError: at the field at fault.
    """
    comparison, trainer, grid = spec.comparison, spec.trainer, spec.grid
    if comparison is None:
        return
    if not isinstance(trainer, ProxyTrainer):
        raise FieldError(
            "comparison", "needs the trainer of kind proxy: Transfer sets initial weights and rates by module"
        )
    if trainer.parametrization != "standard":
        raise FieldError(
            "comparison",
            "needs trainer.parametrization: standard, in which Fitting's proxies are trained; Transfer trains the "
            "held-out scale in its own",
        )
    _check_scale(comparison, grid)
    tokens, batch_tokens = comparison.place(grid)
    if comparison.batch_tokens is not None:
        check_batch("comparison.batch_tokens", batch_tokens, trainer.context)
    check_horizon("comparison.tokens", comparison.tokens or tokens, batch_tokens, trainer.schedule)
    _check_base(comparison, grid)
    if comparison.horizon_exponent is not None and "horizon" not in comparison.rules:
        raise FieldError(
            "comparison.horizon_exponent", "is of the rule horizon, which comparison.rules lacks"
        )


def _check_scale(comparison: ComparisonSpec, grid: Grid) -> None:
    if _size(comparison.scale) in {_size(scale) for scale in grid.scales}:
        raise FieldError(
            "comparison.scale",
            f"width {comparison.scale.width} and depth {comparison.scale.depth} are one of grid.scales; what is "
            "compared must be a scale that the sweep does not train",
        )


def _check_base(comparison: ComparisonSpec, grid: Grid) -> None:
    """The base is a cell of the grid: its bowl is Transfer's tuning."""
    base = comparison.base
    if base.scale is not None and _size(base.scale) not in {_size(scale) for scale in grid.scales}:
        raise FieldError(
            "comparison.base.scale",
            f"width {base.scale.width} and depth {base.scale.depth} are none of grid.scales",
        )
    _, batch_tokens = comparison.base_place(grid)
    if batch_tokens not in grid.batch_tokens:
        said = "" if base.batch_tokens else "the comparison's own, "
        raise FieldError("comparison.base.batch_tokens", said + _none_of(batch_tokens, "batch_tokens", grid))
    if base.tokens is not None and base.tokens not in grid.tokens:
        raise FieldError("comparison.base.tokens", _none_of(base.tokens, "tokens", grid))


def _none_of(value: int, axis: str, grid: Grid) -> str:
    return f"{value} is none of grid.{axis}: {', '.join(map(str, sorted(set(getattr(grid, axis)))))}"


def _size(scale: Scale) -> tuple[int, int]:
    return scale.width, scale.depth
