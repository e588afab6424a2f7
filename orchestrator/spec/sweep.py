"""The whole specification of a sweep: its search, budget, target and resources."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from orchestrator.errors import BadInput
from orchestrator.spec.fields import (
    Amount,
    BadField,
    Condition,
    Count,
    Integer,
    Key,
    Name,
    Number,
    Positive,
    Strict,
    Title,
)
from orchestrator.spec.held_out import ComparisonSpec, check_comparison
from orchestrator.spec.kinds import PRIOR_FIT, Grid, Trainer, scale_of
from orchestrator.spec.lattice import MAX_LATTICE, GridOf, grid_of
from orchestrator.spec.proxy import ProxyTrainer
from orchestrator.spec.proxy_scale import Scale
from orchestrator.spec.resources import Resources
from orchestrator.spec.trainer_kind import TrainerKind


class Budget(Strict):
    """Hard stops; each is optional. ``flops`` and ``runs`` count what the sweep itself spends."""

    runs: Count | None = None
    flops: Positive | None = None
    seconds: Positive | None = None


class Stop(Strict):
    """The precision of the answer at which a sweep stops."""

    interval_factor: Annotated[Number, Field(gt=1, le=10)] | None = None


class Search(Strict):
    """The choice of the next runs.

    ``refit: batch`` asks for the next runs when all earlier ones have ended; ``arrival`` as soon as results are in and
    workers have room, at most as many as the workers hold. By default Etalon chooses
    (``SweepSpec.refits_on_arrival``). ``runs_per_batch`` bounds the runs asked for between two refits;
    ``rates_per_cell`` is the least number of rates that the law strategy tries in every cell before it may stop.
    """

    strategy: Literal["law", "grid", "random", "tpe", "gp"] = "law"
    budget: Budget = Budget()
    stop: Stop = Stop()
    refit: Literal["batch", "arrival"] | None = None
    runs_per_batch: Annotated[Integer, Field(ge=1, le=10_000)] | None = None
    rates_per_cell: Annotated[Integer, Field(ge=0, le=MAX_LATTICE)] = 0


class TargetSpec(Strict):
    """The model that the learning rate is wanted for."""

    params: Amount
    tokens: Amount
    batch_tokens: Amount | None = None


class PriorRuns(Strict):
    """Recorded runs that the law is fitted to beside the sweep's own."""

    table: Name
    where: dict[Key, Condition] = Field(default_factory=dict)
    ignore: Annotated[tuple[Name, ...], Field(max_length=200)] = ()


class SweepSpec(Strict):
    """One sweep, as submitted."""

    name: Title
    trainer: Trainer | None = None
    grid: Grid = Grid()
    search: Search = Search()
    target: TargetSpec | None = None
    resources: Resources = Resources()
    prior_runs: PriorRuns | None = None
    comparison: ComparisonSpec | None = None

    @field_validator("grid", mode="wrap")
    @classmethod
    def _scales_of_the_trainer(
        cls, value: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        """Reads ``scales`` as the trainer's kind defines them, so that errors name its fields."""
        trainer = info.data.get("trainer")
        scale = scale_of(value) if trainer is None else trainer.scale
        if scale is None or isinstance(value, Grid):
            return read(value)
        unknown = (info.context or {}).get("unknown_fields", "forbid")
        grid = grid_of(scale).model_validate(value, extra=unknown)
        return read({name: getattr(grid, name) for name in grid.model_fields_set})

    @model_validator(mode="after")
    def _has_something_to_do(self) -> SweepSpec:
        if self.trainer is None:
            if self.prior_runs is None:
                raise BadField("trainer", "is missing; give a trainer with a grid, or prior_runs to fit")
            if self.grid != Grid():
                raise BadField("grid", "needs a trainer; without one only prior_runs are fitted")
        self.training.check(self.grid)
        if self.comparison is not None:
            check_comparison(self.comparison, self.training, self.grid)
        return self

    @property
    def training(self) -> TrainerKind:
        """The trainer, or its stand-in for a sweep that only fits prior runs."""
        return self.trainer or PRIOR_FIT

    @property
    def proxies(self) -> tuple[ProxyTrainer, GridOf[Scale]]:
        """The trainer and the grid of a sweep of proxies.

        Raises:
            BadInput: at ``trainer.kind``: the sweep has no trainer, or one of another kind.
        """
        recipe = self.training.known_recipe
        if recipe is not None:
            return recipe, self.grid
        found = "is missing" if self.trainer is None else f"is {self.trainer.kind}"
        raise BadInput.at(
            "trainer.kind", f"{found}; only Etalon's own proxies have a known recipe, so take proxy"
        )

    @property
    def needs(self) -> Resources:
        """The resources that a worker takes, and the most workers at once."""
        return self.training.needs(self.resources)

    @property
    def refits_on_arrival(self) -> bool:
        """Whether runs are asked for as results arrive (``docs/decisions/0006-refits-as-results-arrive.md``).

        By default they are where the law chooses the runs and workers take them one by one.
        """
        if self.search.refit is not None:
            return self.search.refit == "arrival"
        return self.search.strategy == "law" and not self.training.takes_whole_batches

    @property
    def most_open(self) -> int:
        """Most runs open at once where they are asked for as results arrive: as many as the workers hold."""
        return min(self.resources.max_parallel, self.search.runs_per_batch or self.resources.max_parallel)
