"""The whole specification of a sweep: its search, budget, target and resources."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.spec.comparison import ComparisonSpec, check_comparison
from orchestrator.spec.fields import Condition, Count, FieldError, Positive, Strict, as_number
from orchestrator.spec.grid import MAX_LATTICE, Grid, check_proxy_grid
from orchestrator.spec.trainers import ProxyTrainer, Trainer
from orchestrator.spec.transfer import check_transfer


class Budget(Strict):
    """Hard stops; each is optional. ``flops`` and ``runs`` count what this sweep itself spends."""

    runs: Count | None = None
    flops: Positive | None = None
    seconds: Positive | None = None


class Stop(Strict):
    """When the answer is good enough."""

    interval_factor: Annotated[float, BeforeValidator(as_number), Field(gt=1, le=10)] | None = None


class Search(Strict):
    """How the next runs are chosen.

    ``refit`` says when: ``batch`` asks for the next runs when all those asked for have ended; ``arrival`` as soon as
    results are in and workers have room, never more than they hold. By default the house chooses
    (``SweepSpec.refits_on_arrival``). ``runs_per_batch`` bounds what is asked for between two refits;
    ``rates_per_cell`` makes the law strategy try at least so many rates in every cell before it may stop.
    """

    strategy: Literal["law", "grid", "random", "tpe", "gp"] = "law"
    budget: Budget = Budget()
    stop: Stop = Stop()
    refit: Literal["batch", "arrival"] | None = None
    runs_per_batch: Annotated[int, Field(ge=1, le=10_000)] | None = None
    rates_per_cell: Annotated[int, Field(ge=0, le=MAX_LATTICE)] = 0


class TargetSpec(Strict):
    """The model that the user really wants to train."""

    params: Positive
    tokens: Positive
    batch_tokens: Positive | None = None


class Resources(Strict):
    """What one run takes of the Ray cluster, and how many run at once."""

    cpus_per_run: Annotated[float, Field(gt=0, le=1_024)] = 1
    gpus_per_run: Annotated[float, Field(ge=0, le=1_024)] = 0
    max_parallel: Annotated[int, Field(ge=1, le=10_000)] = 2


class PriorRuns(Strict):
    """Knowledge that the sweep need not pay for."""

    table: Annotated[str, Field(min_length=1, max_length=200)]
    where: dict[str, Condition] = Field(default_factory=dict)


class SweepSpec(Strict):
    """One sweep, as submitted."""

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
    trainer: Trainer | None = None
    grid: Grid = Grid()
    search: Search = Search()
    target: TargetSpec | None = None
    resources: Resources = Resources()
    prior_runs: PriorRuns | None = None
    comparison: ComparisonSpec | None = None

    @property
    def refits_on_arrival(self) -> bool:
        """Whether runs are asked for as results arrive (``docs/decisions/0006-refits-as-results-arrive.md``).

        Unless the specification says: where the law chooses the runs, and they do not train in stacks.
        """
        if self.search.refit is not None:
            return self.search.refit == "arrival"
        return self.search.strategy == "law" and not isinstance(self.trainer, ProxyTrainer)

    @property
    def most_open(self) -> int:
        """Most runs open at once where they are asked for as results arrive: what the workers can hold."""
        return min(self.resources.max_parallel, self.search.runs_per_batch or self.resources.max_parallel)

    @model_validator(mode="after")
    def _has_something_to_do(self) -> SweepSpec:
        if self.trainer is None:
            if self.prior_runs is None:
                raise FieldError("trainer", "is missing; give a trainer with a grid, or prior_runs to fit")
            if self.grid != Grid():
                raise FieldError("grid", "needs a trainer; without one only prior_runs are fitted")
        if isinstance(self.trainer, ProxyTrainer):
            check_proxy_grid(self.grid, self.trainer)
            check_transfer(self.grid, self.trainer)
        check_comparison(self)
        return self
