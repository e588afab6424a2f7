"""The strategies that can be compared: those of a sweep, and a baseline of four spaced rates in every cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.errors import BadInput
from orchestrator.law import Law
from orchestrator.planner import Planner, planner_of
from orchestrator.planner.draft import Draft
from orchestrator.planner.opening import spaced
from orchestrator.planner.values import BatchPlan, PlanRequest, RunHistory

BASELINE: Final = "four"


class SpacedPlanner:
    """Four rates spaced over the lattice in every cell, the cheapest cells first."""

    def plan(self, history: RunHistory, law: Law | None, request: PlanRequest) -> BatchPlan:  # noqa: ARG002
        """The four rates of the next cell that lacks some."""
        draft = Draft(history, request, request.runs_per_batch)
        for cell in sorted(history.cells, key=lambda cell: (cell.flops, cell.number)):
            for place in spaced(len(cell.rates)):
                draft.add(cell, cell.rates[place], 0, "One of four rates spaced over the lattice.")
            if draft.batch:
                break
        return draft.plan("Every cell has its four rates.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedStrategy:
    """A strategy with the size of its batches: one row of a comparison.

    Attributes:
        strategy: one of `STRATEGIES`.
        runs_per_batch: most runs between two refits; None leaves it to the strategy.
    """

    strategy: str
    runs_per_batch: int | None = None

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise BadInput(f"There is no strategy {self.strategy!r}; there are: {', '.join(STRATEGIES)}.")

    @property
    def name(self) -> str:
        """The strategy and, if set, the size of its batches."""
        if self.runs_per_batch is None:
            return self.strategy
        return f"{self.strategy}, {self.runs_per_batch} run{'s' if self.runs_per_batch > 1 else ''} a batch"

    @property
    def uses_law(self) -> bool:
        """Whether its batches depend on the law."""
        return self.strategy == "law"

    def planner(self) -> Planner:
        """Its planner.

        Raises:
            Refused: it needs a library that is not installed.
        """
        return SpacedPlanner() if self.strategy == BASELINE else planner_of(self.strategy)


STRATEGIES: Final[dict[str, str]] = {
    "law": "runs that narrow the interval at the targets most per FLOP",
    BASELINE: "four spaced rates in every cell, the cheapest cells first",
    "grid": "every rate in every cell, the cheapest cells first",
    "random": "rates of the grid drawn at random",
    "tpe": "six trials of Optuna's TPE in every cell, the cheapest cells first",
    "gp": "six trials of Optuna's Gaussian process in every cell, the cheapest cells first",
}
"""Strategies that can be compared, each with its runs."""
