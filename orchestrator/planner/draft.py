"""A batch under construction: the runs asked for, their cost, and the rest of the budget."""

from __future__ import annotations

import math
from collections.abc import Iterable

from orchestrator.amounts import flops
from orchestrator.cells import Cell
from orchestrator.planner.divergence_bounds import DivergenceBounds
from orchestrator.planner.values import (
    BatchPlan,
    PlanRequest,
    Proposal,
    Pruned,
    RunHistory,
    RunOutcome,
    trunk_tokens,
)

ROUNDING = 1e-9  # relative: a budget that is exactly enough is enough


class Draft:
    """The next batch under construction. It holds no run twice and none beyond the budget.

    Args:
        history: cells and runs.
        request: the limits.
        most: most runs of this batch, open runs included; None is unlimited.
    """

    def __init__(self, history: RunHistory, request: PlanRequest, most: int | None = None) -> None:
        self.history = history
        self.request = request
        self.asked = {(run.cell, run.learning_rate, run.seed) for run in history.runs}
        self.open_runs = sum(run.outcome is RunOutcome.OPEN for run in history.runs)
        self.batch: list[Proposal] = []
        self.too_expensive: float | None = None
        self._diverged = DivergenceBounds(history)
        self._trunk_tokens = trunk_tokens(history)
        self._runs_left = request.runs_left
        self._flops_left = request.flops_left
        self._most = most

    @property
    def full(self) -> bool:
        """Whether the batch or the budget of runs has no room for another run."""
        crowded = self._most is not None and self.open_runs + len(self.batch) >= self._most
        return crowded or self.out_of_runs

    @property
    def out_of_runs(self) -> bool:
        """Whether the budget of runs is used up."""
        return self._runs_left is not None and self._runs_left <= 0

    def cost(self, cell: Cell, learning_rate: float, seed: int) -> float:
        """FLOPs that this run adds to the runs asked for so far and those of this batch."""
        if cell.trunk is None:
            return cell.flops
        return cell.marginal_flops(self._trunk_tokens.get((cell.trunk, learning_rate, seed), 0.0))

    def sensible(self, cell: Cell, learning_rate: float, seed: int = 0) -> bool:
        """Whether a run has not been asked for and is not expected to diverge."""
        asked = (cell.number, learning_rate, seed) in self.asked
        return not asked and not self._diverged.expects_divergence(cell, learning_rate, seed)

    def free_seed(self, cell: Cell, learning_rate: float) -> int | None:
        """The lowest seed that is sensible at this rate, or None."""
        for seed in range(self.request.seeds):
            if self.sensible(cell, learning_rate, seed):
                return seed
        return None

    @property
    def flops_left(self) -> float:
        """FLOPs that may still be asked for; infinite without a budget."""
        return math.inf if self._flops_left is None else self._flops_left * (1 + ROUNDING)

    def add(self, cell: Cell, learning_rate: float, seed: int, reason: str) -> bool:
        """Ask for a run and return True, unless it was asked for, the batch is full, or the budget does not allow it."""
        if (cell.number, learning_rate, seed) in self.asked or self.full:
            return False
        cost = self.cost(cell, learning_rate, seed)
        if cost > self.flops_left:
            self.too_expensive = cost if self.too_expensive is None else min(cost, self.too_expensive)
            return False
        self.asked.add((cell.number, learning_rate, seed))
        if self._runs_left is not None:
            self._runs_left -= 1
        if self._flops_left is not None:
            self._flops_left = max(0.0, self._flops_left - cost)
        if cell.trunk is not None:
            key = (cell.trunk, learning_rate, seed)
            self._trunk_tokens[key] = max(self._trunk_tokens.get(key, 0.0), cell.fork_tokens)
        self.batch.append(
            Proposal(cell=cell.number, learning_rate=learning_rate, seed=seed, flops=cost, reason=reason)
        )
        return True

    def plan(self, otherwise: str, pruned: Iterable[Pruned] = ()) -> BatchPlan:
        """The batch as a plan; with an empty batch and no open runs it stops, because of the budget or ``otherwise``."""
        left_out = tuple(pruned)
        if self.batch or self.open_runs:
            return BatchPlan(batch=tuple(self.batch), pruned=left_out)
        return BatchPlan(pruned=left_out, stop=self.spent() or otherwise)

    def spent(self) -> str | None:
        """The reason why the budget allows nothing more, or None."""
        if self.out_of_runs:
            return "The budget of runs is used up."
        if self.too_expensive is not None:
            return (
                f"The budget of FLOPs is used up: the cheapest run left to make costs {flops(self.too_expensive)} and "
                f"{flops(self._flops_left or 0.0)} are left."
            )
        return None
