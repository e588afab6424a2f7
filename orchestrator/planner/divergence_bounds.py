"""Runs that are expected to diverge, given the runs that did."""

from __future__ import annotations

from orchestrator.cells import Cell
from orchestrator.planner.values import RunHistory, RunOutcome


class DivergenceBounds:
    """Bounds of divergence from the diverged runs of a history.

    In one cell, all rates from the lowest diverged one upwards are expected to diverge, unless a higher one completed. On
    one trunk, at one η and seed, longer horizons than that of a diverged run are: their rate is at no step lower.

    Args:
        history: cells and runs.
    """

    def __init__(self, history: RunHistory) -> None:
        completed: dict[int, float] = {}
        for run in history.runs:
            if run.outcome is RunOutcome.COMPLETED:
                completed[run.cell] = max(run.learning_rate, completed.get(run.cell, 0.0))
        self._lowest: dict[int, float] = {}
        self._trunks: dict[tuple[str, float, int], float] = {}
        for run in history.runs:
            if run.outcome is not RunOutcome.DIVERGED:
                continue
            cell = history.cells[run.cell]
            if run.learning_rate > completed.get(run.cell, 0.0):
                self._lowest[run.cell] = min(run.learning_rate, self._lowest.get(run.cell, run.learning_rate))
            if cell.trunk is not None:
                key = (cell.trunk, run.learning_rate, run.seed)
                self._trunks[key] = min(cell.tokens, self._trunks.get(key, cell.tokens))

    def expects_divergence(self, cell: Cell, learning_rate: float, seed: int) -> bool:
        """Whether a run is expected to diverge."""
        if learning_rate >= self._lowest.get(cell.number, float("inf")):
            return True
        if cell.trunk is None:
            return False
        return cell.tokens >= self._trunks.get((cell.trunk, learning_rate, seed), float("inf"))
