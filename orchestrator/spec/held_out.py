"""The comparison of a sweep: Fitting and Transfer at a held-out scale, which the sweep does not train otherwise."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from orchestrator.spec.fields import BadField, Count, Integer, Number, Strict
from orchestrator.spec.lattice import GridOf
from orchestrator.spec.mup import RULES, BaseShape, HorizonExponent, Mup, ScalingRules
from orchestrator.spec.optimization import check_horizon
from orchestrator.spec.proxy import ProxyTrainer, check_batch
from orchestrator.spec.proxy_scale import Scale, check_experts, experts_of, smallest_scale
from orchestrator.spec.trainer_kind import TrainerKind
from orchestrator.spec.transfer import TransferFields


class CellRole(StrEnum):
    """The role of a further cell of a sweep in its comparison.

    ``standard`` and ``transfer`` are the held-out scale in standard parametrization and in Transfer's; ``base`` is the
    base proxy again, for the search of module-wise rates.
    """

    STANDARD = "standard"
    TRANSFER = "transfer"
    BASE = "base"


class BaseSpec(Strict):
    """The proxy that Transfer is tuned at, one of the grid's cells. Missing fields are those of the comparison."""

    scale: Scale | None = None
    tokens: Count | None = None
    batch_tokens: Count | None = None


class ModuleRates(Strict):
    """A search for multipliers of the global rate by module, each within [1/span, span]."""

    runs: Annotated[Integer, Field(ge=2, le=1_000)] = 24
    sampler: Literal["tpe", "gp"] = "tpe"
    span: Annotated[Number, Field(gt=1, le=100)] = 4


class ComparisonSpec(Strict):
    """Both paradigms at a held-out scale, with seeds.

    Tokens default to the grid's longest horizon, the batch to its smallest, the base to its smallest scale at its
    longest horizon and the comparison's batch. ``rules`` and ``horizon_exponent`` are as in the parametrization ``mup``;
    a rule has no effect where base and held-out scale agree in what it scales.
    """

    scale: Scale
    tokens: Count | None = None
    batch_tokens: Count | None = None
    seeds: Annotated[Integer, Field(ge=1, le=20)] = 3
    base: BaseSpec = BaseSpec()
    rules: ScalingRules = RULES
    horizon_exponent: HorizonExponent | None = None
    module_rates: ModuleRates | None = None

    def horizon(self, grid: GridOf[Scale]) -> tuple[int, int]:
        """Tokens and batch_tokens of the held-out runs, the tokens a whole number of steps."""
        batch_tokens = self.batch_tokens or min(grid.batch_tokens)
        return (self.tokens or max(grid.tokens)) // batch_tokens * batch_tokens, batch_tokens

    def base_horizon(self, grid: GridOf[Scale]) -> tuple[int, int]:
        """Tokens and batch_tokens of the base, the tokens a whole number of steps."""
        batch_tokens = self.base.batch_tokens or self.horizon(grid)[1]
        return (self.base.tokens or max(grid.tokens)) // batch_tokens * batch_tokens, batch_tokens

    def transferred(self, grid: GridOf[Scale], trainer: ProxyTrainer) -> tuple[GridOf[Scale], ProxyTrainer]:
        """A grid of Transfer's base and its held-out scale, and Transfer's recipe.

        Args:
            grid: of the sweep.
            trainer: of the sweep, in standard parametrization.
        """
        tokens, batch_tokens = self.horizon(grid)
        base, (base_tokens, base_batch) = self.base_scale(grid), self.base_horizon(grid)
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
        there = GridOf[Scale](scales=(base, self.scale), tokens=(tokens,), batch_tokens=(batch_tokens,))
        return there, trainer.model_copy(update={"parametrization": parametrization})

    def base_scale(self, grid: GridOf[Scale]) -> Scale:
        """The base's scale as the grid has it: the smallest unless another is named."""
        named = self.base.scale
        if named is None:
            return smallest_scale(grid.scales)
        return next((scale for scale in grid.scales if _size(scale) == _size(named)), named)


def check_comparison(comparison: ComparisonSpec, trainer: TrainerKind, grid: GridOf[Any]) -> None:
    """Refuse a comparison that cannot be carried out.

    Args:
        comparison: of a sweep.
        trainer: of the sweep.
        grid: of the sweep, checked before.

    Raises:
        BadField: at the field at fault.
    """
    recipe = trainer.known_recipe
    if recipe is None:
        raise BadField(
            "comparison", "needs the trainer of kind proxy: Transfer sets initial weights and rates by module"
        )
    if recipe.parametrization != "standard":
        raise BadField(
            "comparison",
            "needs trainer.parametrization: standard, in which Fitting's proxies are trained; Transfer trains the "
            "held-out scale in its own",
        )
    _check_scale(comparison, grid)
    check_experts("comparison.scale", comparison.scale, recipe.architecture)
    _, batch_tokens = comparison.horizon(grid)
    if comparison.batch_tokens is not None:
        check_batch("comparison.batch_tokens", batch_tokens, recipe.context)
    asked = comparison.tokens or max(grid.tokens)
    path = "comparison.batch_tokens" if comparison.tokens is None else "comparison.tokens"
    check_horizon(path, asked, batch_tokens, recipe.schedule)
    _check_base(comparison, grid)
    if comparison.horizon_exponent is not None and "horizon" not in comparison.rules:
        raise BadField("comparison.horizon_exponent", "needs the rule horizon among the rules")
    _check_transfer(comparison, grid, recipe)


def _check_scale(comparison: ComparisonSpec, grid: GridOf[Scale]) -> None:
    if _size(comparison.scale) in {_size(scale) for scale in grid.scales}:
        raise BadField(
            "comparison.scale",
            f"width {comparison.scale.width} and depth {comparison.scale.depth} are one of grid.scales; what is "
            "compared must be a scale that the sweep does not train",
        )


def _check_base(comparison: ComparisonSpec, grid: GridOf[Scale]) -> None:
    """Refuse a base that is not a cell of the grid: its bowl is Transfer's tuning."""
    base = comparison.base
    if base.scale is not None and _size(base.scale) not in {_size(scale) for scale in grid.scales}:
        raise BadField(
            "comparison.base.scale",
            f"width {base.scale.width} and depth {base.scale.depth} are none of grid.scales",
        )
    _, batch_tokens = comparison.base_horizon(grid)
    if batch_tokens not in grid.batch_tokens:
        owner = "" if base.batch_tokens else "the comparison's own, "
        raise BadField("comparison.base.batch_tokens", owner + _none_of(batch_tokens, "batch_tokens", grid))
    if base.tokens is not None and base.tokens not in grid.tokens:
        raise BadField("comparison.base.tokens", _none_of(base.tokens, "tokens", grid))


OWN_FIELDS: Final = TransferFields(
    base="comparison.base",
    scales=("comparison.base.scale", "comparison.scale"),
    tokens=("comparison.tokens",),
    batch_tokens=("comparison.batch_tokens",),
)
"""The comparison's fields that Transfer's grid and recipe come from."""


def _check_transfer(comparison: ComparisonSpec, grid: GridOf[Scale], trainer: ProxyTrainer) -> None:
    """Refuse a held-out scale to which the rules cannot transfer a rate, at the comparison's own fields."""
    there, recipe = comparison.transferred(grid, trainer)
    recipe.check_base(there, OWN_FIELDS)


def _none_of(value: int, axis: str, grid: GridOf[Scale]) -> str:
    return f"{value} is none of grid.{axis}: {', '.join(map(str, sorted(set(getattr(grid, axis)))))}"


def _size(scale: Scale) -> tuple[int | None, ...]:
    return scale.width, scale.depth, scale.experts, scale.expert_width
