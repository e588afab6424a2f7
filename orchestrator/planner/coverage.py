"""Rates that every cell is to get round its own predicted optimum, so that people see a bowl and not only a law.

The window is shifted down by half its spacing and keeps at least two rates below the predicted optimum: the optimum
falls as the horizon grows, so a law of the shorter horizons is high rather than low, and a rule that keeps the best
rates of a shorter horizon loses the minimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.planner.draft import Draft
from orchestrator.planner.information import Information
from orchestrator.planner.model import Array
from orchestrator.planner.opening import Tried, tried
from orchestrator.planner.trunks import groups
from orchestrator.planner.values import Cell

SPACING = 0.5
"""Least distance in ln η between neighbours: a bowl is seen where its rates reach about e^±1 from the bottom."""
UNSURE = 1.5
"""Spacing in standard deviations of the predicted optimum: the window holds it even when it is far off."""
SETTLED = 0.5
"""A cell is asked for now where the batch's own results are expected to move its window by less than this share of
its spacing; otherwise after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The rates wanted in one cell: ``middle`` is ln of the predicted optimum, ``spacing`` is in ln η."""

    middle: float
    spacing: float
    count: int

    @property
    def places(self) -> list[float]:
        """The wanted rates as ln η, those nearest to the optimum first."""
        steps = np.arange(self.count) - (self.count - 1) / 2 - 0.5
        found = self.middle + steps * self.spacing
        return sorted(found.tolist(), key=lambda place: (abs(place - self.middle), place))

    def holds(self, rate: float) -> bool:
        """Whether a rate counts as being round the optimum."""
        reach = (self.count + 1) / 2 * self.spacing
        return bool(-reach <= np.log(rate) - self.middle <= reach)


def cover(draft: Draft, information: Information) -> bool:
    """Ask for the rates that cells still lack, cheapest cells first.

    A group of cells is left for the next batch while the runs of this one are expected to move its windows.

    Returns:
        Whether any cell still lacks rates, asked for now or not.
    """
    seen = tried(draft.record)
    before = information.cell_variance()
    lacking = False
    for group in groups(draft.record.cells):
        missing = {cell.number: _missing(cell, seen.get(cell.number), draft, information) for cell in group}
        if not any(missing.values()):
            continue
        lacking = True
        waits = any(cell.number in seen and seen[cell.number].open for cell in group)
        if draft.full or waits or not _settled(group, draft, information, before):
            continue
        _ask(group, missing, draft, information)
    return lacking


def window(cell: Cell, draft: Draft, information: Information) -> Window:
    """The window of a cell: wider where the law is unsure."""
    sd = float(information.belief.sd[cell.number])
    return Window(
        middle=float(information.belief.optimum[cell.number]),
        spacing=max(SPACING, UNSURE * sd),
        count=min(draft.question.rates_per_cell, len(cell.rates)),
    )


def _missing(cell: Cell, shown: Tried | None, draft: Draft, information: Information) -> dict[float, str]:
    """Rates that a cell still lacks, each with its reason."""
    wanted = window(cell, draft, information)
    asked = [rate for rate in cell.rates if (cell.number, rate, 0) in draft.asked]
    made = () if shown is None else shown.places
    near = [place for place in made if wanted.holds(cell.rates[place])]
    short = wanted.count - len(near)
    if short > 0:
        return _spread(cell, wanted, asked, short)
    beyond = _beyond(cell, shown, wanted)
    if beyond is None or beyond in asked:
        return {}
    return {beyond: "Widened: the best so far is the outermost tried."}


def _spread(cell: Cell, wanted: Window, asked: list[float], short: int) -> dict[float, str]:
    """The untried rates nearest to the window's places that no tried rate serves."""
    free = [rate for rate in cell.rates if rate not in asked]
    serving = list(asked)
    found: dict[float, str] = {}
    reason = f"One of {wanted.count} rates round the predicted optimum {np.exp(wanted.middle):.3g}."
    for place in wanted.places:
        nearest = min(serving, key=lambda rate: abs(np.log(rate) - place), default=None)
        if nearest is not None and abs(np.log(nearest) - place) <= wanted.spacing / 2:
            serving.remove(nearest)
        elif free and len(found) < short:
            rate = min(free, key=lambda rate: abs(np.log(rate) - place))
            free.remove(rate)
            found[rate] = reason
    while len(found) < short and free:
        rate = min(free, key=lambda rate: abs(np.log(rate) - wanted.middle))
        free.remove(rate)
        found[rate] = reason
    return found


def _beyond(cell: Cell, shown: Tried | None, wanted: Window) -> float | None:
    """The rate past the edge that the best of the cell lies on, one spacing on; None where it is interior."""
    if shown is None or shown.open or not shown.edge:
        return None
    outermost = shown.places[0] if shown.edge < 0 else shown.places[-1]
    place = np.log(cell.rates[outermost]) + shown.edge * wanted.spacing
    further = cell.rates[:outermost] if shown.edge < 0 else cell.rates[outermost + 1 :]
    return min(further, key=lambda rate: abs(np.log(rate) - place), default=None)


def _settled(group: tuple[Cell, ...], draft: Draft, information: Information, before: Array) -> bool:
    """Whether a refit on this batch is expected to leave the windows of a group where they are."""
    if not draft.batch and not draft.open_runs:
        return True
    after = information.cell_variance()
    return all(
        np.sqrt(max(0.0, before[cell.number] - after[cell.number]))
        <= SETTLED * window(cell, draft, information).spacing
        for cell in group
    )


def _ask(
    group: tuple[Cell, ...], missing: dict[int, dict[float, str]], draft: Draft, information: Information
) -> None:
    """Ask rate by rate through all horizons, so that a cut by the budget leaves whole trunks."""
    for rate in sorted({rate for rates in missing.values() for rate in rates}):
        for cell in group:
            if rate in missing[cell.number] and draft.add(cell, rate, 0, missing[cell.number][rate]):
                information.add(cell.number, rate)
