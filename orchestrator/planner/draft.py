"""A batch of runs being put together: what has been asked for, what it costs, what the budget still allows."""

from __future__ import annotations

import math
from collections.abc import Iterable

from orchestrator.planner.divergence_bounds import DivergenceBounds
from orchestrator.planner.values import (
    BatchPlan,
    Cell,
    PlanRequest,
    Proposal,
    Pruned,
    RunHistory,
    RunOutcome,
    trunk_reach,
)

ROUNDING = 1e-9  # relative: a budget that is exactly enough is enough


class Draft:
    """The next batch, growing. It never holds a run twice, off the lattice, or beyond the budget.

    Args:
        history: what is known.
        request: the limits.
        most: most runs of this batch, open runs included; None is unlimited.
    """

    def __init__(self, history: RunHistory, request: PlanRequest, most: int | None = None) -> None:
        self.history = history
        self.request = request
        self.asked = {(run.cell, run.learning_rate, run.seed) for run in history.runs}
        self.open_runs = sum(run.outcome is RunOutcome.OPEN for run in history.runs)
        self.batch: list[Proposal] = []
        self.too_dear: float | None = None
        self._diverged = DivergenceBounds(history)
        self._reach = dict(trunk_reach(history))
        self._runs_left = request.runs_left
        self._flops_left = request.flops_left
        self._most = most

    @property
    def full(self) -> bool:
        """Whether the batch, or the budget of runs, has no room for another run."""
        crowded = self._most is not None and self.open_runs + len(self.batch) >= self._most
        return crowded or self.out_of_runs

    @property
    def out_of_runs(self) -> bool:
        """Whether the budget of runs is used up."""
        return self._runs_left is not None and self._runs_left <= 0

    def cost(self, cell: Cell, learning_rate: float, seed: int) -> float:
        """FLOPs that this run adds, after the runs asked for so far and those of this batch."""
        if cell.trunk is None:
            return cell.flops
        return cell.marginal_flops(self._reach.get((cell.trunk, learning_rate, seed), 0.0))

    def sensible(self, cell: Cell, learning_rate: float, seed: int = 0) -> bool:
        """Whether a run has not been asked for and is not expected to diverge."""
        asked = (cell.number, learning_rate, seed) in self.asked
        return not asked and not self._diverged.expects_divergence(cell, learning_rate, seed)

    def free_seed(self, cell: Cell, learning_rate: float) -> int | None:
        """The lowest seed that it is sensible to ask for at this rate, or None."""
        for seed in range(self.request.seeds):
            if self.sensible(cell, learning_rate, seed):
                return seed
        return None

    @property
    def flops_left(self) -> float:
        """FLOPs that may still be asked for; infinite without a budget."""
        return math.inf if self._flops_left is None else self._flops_left * (1 + ROUNDING)

    def add(self, cell: Cell, learning_rate: float, seed: int, reason: str) -> bool:
        """Ask for a run, unless it was asked for, the batch is full, or the budget does not allow it."""
        if (cell.number, learning_rate, seed) in self.asked or self.full:
            return False
        flops = self.cost(cell, learning_rate, seed)
        if flops > self.flops_left:
            self.too_dear = flops if self.too_dear is None else min(flops, self.too_dear)
            return False
        self._spend(cell, learning_rate, seed, flops)
        self.batch.append(
            Proposal(cell=cell.number, learning_rate=learning_rate, seed=seed, flops=flops, reason=reason)
        )
        return True

    def plan(self, otherwise: str, pruned: Iterable[Pruned] = ()) -> BatchPlan:
        """The batch as a plan; one that is empty with nothing open stops, because of the budget or ``otherwise``."""
        left_out = tuple(pruned)
        if self.batch or self.open_runs:
            return BatchPlan(batch=tuple(self.batch), pruned=left_out)
        return BatchPlan(pruned=left_out, stop=self.spent() or otherwise)

    def spent(self) -> str | None:
        """Why the budget allows nothing more, or None."""
        if self.out_of_runs:
            return "The budget of runs is used up."
        if self.too_dear is not None:
            return (
                f"The budget of FLOPs is used up: the cheapest run left to make costs {self.too_dear:.3g} FLOPs "
                f"and {self._flops_left or 0.0:.3g} are left."
            )
        return None

    def _spend(self, cell: Cell, learning_rate: float, seed: int, flops: float) -> None:
        self.asked.add((cell.number, learning_rate, seed))
        if self._runs_left is not None:
            self._runs_left -= 1
        if self._flops_left is not None:
            self._flops_left = max(0.0, self._flops_left - flops)
        if cell.trunk is not None:
            key = (cell.trunk, learning_rate, seed)
            self._reach[key] = max(self._reach.get(key, 0.0), cell.fork_tokens)
