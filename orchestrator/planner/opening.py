"""The initial design: what to run before any law can be fitted.

In the cheapest cells, four rates spaced over the lattice; while the best is the lowest or highest tried, the next
beyond it; once it is interior, its nearest neighbours; when a cell has nothing left to tell, the next cheapest. It asks
nothing of a prior, so a wrong guess of the lattice's middle costs a few of the cheapest runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.planner.draft import Draft
from orchestrator.planner.trunk_groups import groups
from orchestrator.planner.values import Cell, RunHistory, RunOutcome

SPACED = 4
"""Rates that open a cell."""
FEWEST_RATES = 3
"""Rates without which a cell cannot show a minimum inside: one on each side of the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a cell has shown: places on its lattice that were asked for, ascending, and the best of them.

    Attributes:
        places: asked for and not failed, diverged and open ones included.
        best: the place of the lowest loss; None where nothing completed.
        open: whether a run of the cell is still open.
    """

    places: tuple[int, ...]
    best: int | None
    open: bool

    @property
    def edge(self) -> int:
        """−1 where the best is the lowest tried (or all diverged), +1 where it is the highest, else 0."""
        if self.places and (self.best is None or self.best == self.places[0]):
            return -1
        return 1 if self.places and self.best == self.places[-1] else 0

    def beyond(self, lattice: int) -> int | None:
        """The next place past the edge that the best lies on, or None where it is interior or the lattice ends.

        The step is that between the two outermost rates tried, so that a coarse opening widens coarsely.
        """
        if not self.places or not self.edge:
            return None
        outermost = self.places[:2] if self.edge < 0 else self.places[-2:]
        step = max(1, outermost[-1] - outermost[0])
        if self.edge < 0:
            return max(0, self.places[0] - step) if self.places[0] > 0 else None
        return min(lattice - 1, self.places[-1] + step) if self.places[-1] < lattice - 1 else None


def tried(history: RunHistory) -> dict[int, Tried]:
    """What every cell with a run has shown; repeated runs of a rate count with their mean loss."""
    losses: dict[int, dict[int, list[float]]] = {}
    waiting: set[int] = set()
    place_of = {cell.number: {rate: place for place, rate in enumerate(cell.rates)} for cell in history.cells}
    for run in history.runs:
        place = place_of[run.cell].get(run.learning_rate)
        if place is None or run.outcome is RunOutcome.FAILED:
            continue
        if run.outcome is RunOutcome.OPEN:
            waiting.add(run.cell)
        found = losses.setdefault(run.cell, {}).setdefault(place, [])
        if run.loss is not None:
            found.append(run.loss)
    return {
        cell: Tried(places=tuple(sorted(found)), best=_best(found), open=cell in waiting)
        for cell, found in losses.items()
    }


def open_cells(draft: Draft) -> None:
    """Fill the draft with the initial design's next runs, cheapest cells first; nothing while they are under way.

    Cells whose lattice is too short to show a minimum are left out, unless prior runs may fill them up.
    """
    seen = tried(draft.history)
    least = draft.request.max_parallel
    able = tuple(
        cell
        for cell in draft.history.cells
        if len(cell.rates) >= FEWEST_RATES or draft.history.prior is not None
    )
    for group in groups(able):
        waiting = any(seen[cell.number].open for cell in group if cell.number in seen)
        wanted = [] if waiting else _wanted(group, seen, draft)
        for rate in sorted({cell.rates[place] for cell, place, _ in wanted}):
            for cell, place, reason in wanted:
                if cell.rates[place] == rate:
                    draft.add(cell, rate, 0, reason)
        if draft.full or ((wanted or waiting) and draft.open_runs + len(draft.batch) >= least):
            return


def spaced(lattice: int, count: int = SPACED) -> list[int]:
    """Places spread evenly over a lattice, as far from its ends as half their distance."""
    middles = (np.arange(min(count, lattice)) + 0.5) * lattice / min(count, lattice)
    return [int(place) for place in np.floor(middles)]


def _wanted(group: tuple[Cell, ...], seen: dict[int, Tried], draft: Draft) -> list[tuple[Cell, int, str]]:
    """The next places of each cell of a group; a cell that has nothing left wants none."""
    wanted = []
    for cell in group:
        shown = seen.get(cell.number, Tried(places=(), best=None, open=False))
        missing = [place for place in spaced(len(cell.rates)) if draft.sensible(cell, cell.rates[place])]
        if missing and len(shown.places) < SPACED:
            wanted += [(cell, place, "One of four rates spaced over the lattice.") for place in missing]
            continue
        following = [(cell, place, reason) for place, reason in _next(cell, shown)]
        wanted += [item for item in following if draft.sensible(cell, cell.rates[item[1]])]
    return wanted


def _next(cell: Cell, shown: Tried) -> list[tuple[int, str]]:
    beyond = shown.beyond(len(cell.rates))
    if beyond is not None:
        return [(beyond, _why_beyond(cell, shown))]
    if shown.edge or shown.best is None:
        return []
    near = [place for place in range(len(cell.rates)) if place not in shown.places]
    below = max((place for place in near if place < shown.best), default=None)
    above = min((place for place in near if place > shown.best), default=None)
    reason = f"Next to the best so far, {cell.rates[shown.best]:.3g}."
    return [(place, reason) for place in (below, above) if place is not None]


def _why_beyond(cell: Cell, shown: Tried) -> str:
    if shown.best is None:
        return "Lower: every rate tried in this cell diverged."
    edge = "lowest" if shown.edge < 0 else "highest"
    return f"Widened: the best so far, {cell.rates[shown.best]:.3g}, is the {edge} tried."


def _best(losses: dict[int, list[float]]) -> int | None:
    means = {place: sum(found) / len(found) for place, found in losses.items() if found}
    return min(means, key=lambda place: (means[place], place)) if means else None
