"""Which runs are not worth asking for, because others of the history diverged."""

from __future__ import annotations

from orchestrator.planner.values import Cell, RunHistory, RunOutcome


class DivergenceBounds:
    """What the diverged runs of a history say of those not yet made.

    In one cell, rates from the lowest that diverged upwards diverge too, unless a higher one completed: then it was
    a stray. On one trunk, with one η and seed, a longer horizon has at no step a lower rate than the run that diverged.

    Args:
        history: what is known.
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
