"""What a sweep compares at a scale that it does not train otherwise: Fitting, Transfer and what stands beside them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from orchestrator.spec.fields import Count, FieldError, Strict, as_number
from orchestrator.spec.grid import Grid, Scale, check_batch, check_experts, check_horizon, experts_of
from orchestrator.spec.parametrization import RULES, BaseShape, HorizonExponent, Mup, ScalingRules
from orchestrator.spec.trainers import ProxyTrainer
from orchestrator.spec.transfer import PATH, check_transfer

if TYPE_CHECKING:
    from orchestrator.spec.sweep import SweepSpec


class CellRole(StrEnum):
    """The role of a further cell of a sweep in its comparison.

    ``standard`` and ``transfer`` are the held-out scale in standard parametrization and in Transfer's; ``base`` is the
    base proxy again, for the search of module-wise rates.
    """

    STANDARD = "standard"
    TRANSFER = "transfer"
    BASE = "base"


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
    longest horizon and the comparison's batch. ``rules`` and ``horizon_exponent`` are as in the parametrization ``mup``;
    where base and held-out scale are alike in something, its rule changes nothing.
    """

    scale: Scale
    tokens: Count | None = None
    batch_tokens: Count | None = None
    seeds: Annotated[int, Field(ge=1, le=20)] = 3
    base: BaseSpec = BaseSpec()
    rules: ScalingRules = RULES
    horizon_exponent: HorizonExponent | None = None
    module_rates: ModuleRates | None = None

    def place(self, grid: Grid) -> tuple[int, int]:
        """Tokens and batch of the held-out runs, the tokens a whole number of steps."""
        batch_tokens = self.batch_tokens or min(grid.batch_tokens)
        return (self.tokens or max(grid.tokens)) // batch_tokens * batch_tokens, batch_tokens

    def base_place(self, grid: Grid) -> tuple[int, int]:
        """Tokens and batch of the base, the tokens a whole number of steps."""
        batch_tokens = self.base.batch_tokens or self.place(grid)[1]
        return (self.base.tokens or max(grid.tokens)) // batch_tokens * batch_tokens, batch_tokens

    def transferred(self, grid: Grid, trainer: ProxyTrainer) -> tuple[Grid, ProxyTrainer]:
        """Transfer's recipe, and a grid of its base and its held-out scale.

        Args:
            grid: of the sweep.
            trainer: of the sweep, in standard parametrization.
        """
        tokens, batch_tokens = self.place(grid)
        base, (base_tokens, base_batch) = self.base_scale(grid), self.base_place(grid)
        experts = experts_of(base, trainer.architecture)
        parametrization = Mup(
            base=BaseShape(
                width=base.width,
                depth=base.depth,
                batch_tokens=base_batch,
                tokens=base_tokens,
                expert_width=None if experts is None else experts.width,
            ),
            rules=self.rules,
            horizon_exponent=self.horizon_exponent,
        )
        places = Grid(scales=(base, self.scale), tokens=(tokens,), batch_tokens=(batch_tokens,))
        return places, trainer.model_copy(update={"parametrization": parametrization})

    def base_scale(self, grid: Grid) -> Scale:
        """The base's scale as the grid has it: the smallest unless another is named."""
        named = self.base.scale
        if named is None:
            return min(grid.scales, key=lambda scale: (scale.width**2 * scale.depth, scale.width))
        return next((scale for scale in grid.scales if _size(scale) == _size(named)), named)


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
    check_experts("comparison.scale", comparison.scale, trainer.architecture)
    _, batch_tokens = comparison.place(grid)
    if comparison.batch_tokens is not None:
        check_batch("comparison.batch_tokens", batch_tokens, trainer.context)
    asked = comparison.tokens or max(grid.tokens)
    path = "comparison.batch_tokens" if comparison.tokens is None else "comparison.tokens"
    check_horizon(path, asked, batch_tokens, trainer.schedule)
    _check_base(comparison, grid)
    if comparison.horizon_exponent is not None and "horizon" not in comparison.rules:
        raise FieldError("comparison.horizon_exponent", "needs the rule horizon among the rules")
    _check_transfer(comparison, grid, trainer)


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


PLACES: Final = {
    "grid.scales.0": "comparison.base.scale",
    "grid.scales.1": "comparison.scale",
    "grid.tokens.0": "comparison.tokens",
    "grid.batch_tokens.0": "comparison.batch_tokens",
    PATH: "comparison.base",
}
"""Where the fields of Transfer's grid and recipe come from."""


def _check_transfer(comparison: ComparisonSpec, grid: Grid, trainer: ProxyTrainer) -> None:
    """Refuse a held-out scale that the rules cannot carry a rate to, at the comparison's own fields."""
    try:
        check_transfer(*comparison.transferred(grid, trainer))
    except FieldError as error:
        path, message = error.path, str(error)
        for theirs, ours in PLACES.items():
            path, message = path.replace(theirs, ours), message.replace(theirs, ours)
        raise FieldError(path, message) from error


def _none_of(value: int, axis: str, grid: Grid) -> str:
    return f"{value} is none of grid.{axis}: {', '.join(map(str, sorted(set(getattr(grid, axis)))))}"


def _size(scale: Scale) -> tuple[int | None, ...]:
    return scale.width, scale.depth, scale.experts, scale.expert_width
