"""The next runs to make: strategies that are pure functions of what is recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from orchestrator.errors import BadInput
from orchestrator.planner.optimal import LawPlanner
from orchestrator.planner.trials import TrialsPlanner
from orchestrator.planner.values import Planner
from orchestrator.planner.whole_grid import GridPlanner, RandomPlanner

__all__ = ["STRATEGIES", "Planner", "planner_of"]

STRATEGIES: Final[dict[str, Callable[[], Planner]]] = {
    "law": LawPlanner,
    "grid": GridPlanner,
    "random": RandomPlanner,
    "tpe": partial(TrialsPlanner, "tpe"),
    "gp": partial(TrialsPlanner, "gp"),
}


def planner_of(strategy: str) -> Planner:
    """The planner of a strategy.

    Raises:
        BadInput: there is no such strategy.
        Refused: it needs a library that is not installed.
    """
    if strategy not in STRATEGIES:
        raise BadInput(f"There is no strategy {strategy!r}; there are: {', '.join(STRATEGIES)}.")
    return STRATEGIES[strategy]()
