"""The initial design: the runs before any law can be fitted.

In the cheapest cells, four rates spaced over the lattice; while the best is the lowest or highest tried, the next one
beyond it; once it is interior, its nearest neighbours; then the next cheapest cells. The design uses no prior: a lattice
that is badly centred costs a few of the cheapest runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.amounts import rate as format_rate
from orchestrator.cells import Cell
from orchestrator.planner.draft import Draft
from orchestrator.planner.trunk_groups import groups
from orchestrator.planner.values import RunHistory, RunOutcome

SPACED = 4
"""Rates with which a cell begins."""
FEWEST_RATES = 3
"""Least number of rates with which a cell can show an interior minimum: one on each side of the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRates:
    """The rates tried in a cell, as positions on its lattice.

    Attributes:
        positions: of all rates asked for, ascending, diverged and open ones included, failed ones not.
        best: of the lowest loss; None if no run completed.
        open: whether a run of the cell is open.
    """

    positions: tuple[int, ...]
    best: int | None
    open: bool

    @property
    def edge(self) -> int:
        """−1 if the best is the lowest tried or all diverged, +1 if it is the highest, else 0."""
        if self.positions and (self.best is None or self.best == self.positions[0]):
            return -1
        return 1 if self.positions and self.best == self.positions[-1] else 0

    def beyond(self, lattice: int) -> int | None:
        """The next position beyond an outermost best; None if the best is interior or the lattice ends.

        The step is the one between the two outermost positions, so that a coarse start is widened in coarse steps.
        """
        if not self.positions or not self.edge:
            return None
        outermost = self.positions[:2] if self.edge < 0 else self.positions[-2:]
        step = max(1, outermost[-1] - outermost[0])
        if self.edge < 0:
            return max(0, self.positions[0] - step) if self.positions[0] > 0 else None
        return min(lattice - 1, self.positions[-1] + step) if self.positions[-1] < lattice - 1 else None


def tried_rates(history: RunHistory) -> dict[int, TriedRates]:
    """The rates tried in every cell with a run; repeated runs of a rate count with their mean loss."""
    losses: dict[int, dict[int, list[float]]] = {}
    waiting: set[int] = set()
    position_of = {
        cell.number: {rate: position for position, rate in enumerate(cell.rates)} for cell in history.cells
    }
    for run in history.runs:
        position = position_of[run.cell].get(run.learning_rate)
        if position is None or run.outcome is RunOutcome.FAILED:
            continue
        if run.outcome is RunOutcome.OPEN:
            waiting.add(run.cell)
        found = losses.setdefault(run.cell, {}).setdefault(position, [])
        if run.loss is not None:
            found.append(run.loss)
    return {
        cell: TriedRates(positions=tuple(sorted(found)), best=_best(found), open=cell in waiting)
        for cell, found in losses.items()
    }


def open_cells(draft: Draft) -> None:
    """Fill the draft with the next runs of the initial design, cheapest cells first; none while its runs are open.

    Cells whose lattice is too short to show a minimum are left out, unless there are prior runs.
    """
    seen = tried_rates(draft.history)
    least = draft.request.max_parallel
    able = tuple(
        cell
        for cell in draft.history.cells
        if len(cell.rates) >= FEWEST_RATES or draft.history.prior is not None
    )
    for group in groups(able):
        waiting = any(seen[cell.number].open for cell in group if cell.number in seen)
        wanted = [] if waiting else _wanted(group, seen, draft)
        for rate in sorted({cell.rates[position] for cell, position, _ in wanted}):
            for cell, position, reason in wanted:
                if cell.rates[position] == rate:
                    draft.add(cell, rate, 0, reason)
        if draft.full or ((wanted or waiting) and draft.open_runs + len(draft.batch) >= least):
            return


def spaced(lattice: int) -> list[int]:
    """Positions of `SPACED` rates spread evenly over a lattice of this length, half their distance away from its ends."""
    count = min(SPACED, lattice)
    middles = (np.arange(count) + 0.5) * lattice / count
    return [int(position) for position in np.floor(middles)]


def _wanted(
    group: tuple[Cell, ...], seen: dict[int, TriedRates], draft: Draft
) -> list[tuple[Cell, int, str]]:
    """The next positions of each cell of a group, with the reason; none for a cell that is done."""
    wanted = []
    for cell in group:
        shown = seen.get(cell.number, TriedRates(positions=(), best=None, open=False))
        missing = [
            position for position in spaced(len(cell.rates)) if draft.sensible(cell, cell.rates[position])
        ]
        if missing and len(shown.positions) < SPACED:
            wanted += [(cell, position, "One of four rates spaced over the lattice.") for position in missing]
            continue
        following = [(cell, position, reason) for position, reason in _next(cell, shown)]
        wanted += [item for item in following if draft.sensible(cell, cell.rates[item[1]])]
    return wanted


def _next(cell: Cell, shown: TriedRates) -> list[tuple[int, str]]:
    beyond = shown.beyond(len(cell.rates))
    if beyond is not None:
        return [(beyond, _why_beyond(cell, shown))]
    if shown.edge or shown.best is None:
        return []
    near = [position for position in range(len(cell.rates)) if position not in shown.positions]
    below = max((position for position in near if position < shown.best), default=None)
    above = min((position for position in near if position > shown.best), default=None)
    reason = f"Next to the best so far, {format_rate(cell.rates[shown.best], 3)}."
    return [(position, reason) for position in (below, above) if position is not None]


def _why_beyond(cell: Cell, shown: TriedRates) -> str:
    if shown.best is None:
        return "Lower: every rate tried in this cell diverged."
    edge = "lowest" if shown.edge < 0 else "highest"
    return f"Widened: the best so far, {format_rate(cell.rates[shown.best], 3)}, is the {edge} tried."


def _best(losses: dict[int, list[float]]) -> int | None:
    means = {position: sum(found) / len(found) for position, found in losses.items() if found}
    return min(means, key=lambda position: (means[position], position)) if means else None
