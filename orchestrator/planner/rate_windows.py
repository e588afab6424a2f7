"""Rates that every cell is to get round its own predicted optimum, so that people see a bowl and not only a law.

The window is shifted down by half its spacing and keeps at least two rates below the predicted optimum: the optimum
falls as the horizon grows, so a law of the shorter horizons is high rather than low, and a rule that keeps the best
rates of a shorter horizon loses the minimum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orchestrator.law.bowl import Z95
from orchestrator.planner.draft import Draft
from orchestrator.planner.information import Information
from orchestrator.planner.linear_model import Array
from orchestrator.planner.opening import Tried, tried
from orchestrator.planner.trunk_groups import groups
from orchestrator.planner.values import Cell, asked_flops

SPACING = 0.5
"""Least distance in ln η between neighbours: a bowl is seen where its rates reach about e^±1 from the bottom."""
UNSURE = 1.5
"""Spacing in standard deviations of the predicted optimum: the window holds it even when it is far off."""
SETTLED = 0.55
"""A cell is asked for now where the batch's own results are expected to move its window by less than this share of
its spacing; otherwise after them."""
CHEAP = 0.01
"""Share of the FLOPs asked for so far that a rate may cost to be asked for before it is known to be needed: a further
round of a few runs costs idle workers."""
WIDENED = "Widened: the best so far is the outermost tried."


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """Rates that a cell still lacks, each with its reason.

    ``needed`` is False where the cell has its number of rates and the law is sure that its minimum lies between them:
    more rates would show the bowl better, and are asked for only in a batch that is made anyway.
    """

    rates: dict[float, str]
    needed: bool


def cover(draft: Draft, information: Information) -> bool:
    """Ask for the rates that cells still lack, cheapest cells first.

    A group of cells is left for the next batch while the runs of this one are expected to move its windows.

    Returns:
        Whether any cell still needs rates, asked for now or not.
    """
    seen = tried(draft.history)
    before = information.cell_variance()
    lacks = {
        cell.number: _lack(cell, seen.get(cell.number), draft, information) for cell in draft.history.cells
    }
    if not any(lack.needed and lack.rates for lack in lacks.values()):
        return False
    for group in groups(draft.history.cells):
        waits = any(cell.number in seen and seen[cell.number].open for cell in group)
        if draft.full or waits or not _settled(group, draft, information, before):
            continue
        _ask(group, lacks, draft, information)
    return True


def window(cell: Cell, draft: Draft, information: Information) -> Window:
    """The window of a cell: wider where the law is unsure."""
    row = information.cells.row_of(cell.number)
    sd = float(information.belief.sd[row])
    return Window(
        middle=float(information.belief.optimum[row]),
        spacing=max(SPACING, UNSURE * sd),
        count=min(draft.request.rates_per_cell, len(cell.rates)),
    )


def _lack(cell: Cell, shown: Tried | None, draft: Draft, information: Information) -> Lack:
    """What a cell lacks: rates round its optimum, and one beyond its best where that is the outermost."""
    wanted = window(cell, draft, information)
    free = [rate for rate in cell.rates if draft.sensible(cell, rate)]
    made = [] if shown is None else [cell.rates[place] for place in shown.places]
    served = len(made) >= wanted.count and _surely_inside(made, cell, information)
    short = max(wanted.count - len(made), _held((*free, *made), wanted) - _held(made, wanted))
    if short > 0:
        return Lack(rates=_spread(cell, wanted, free, short), needed=not served)
    if shown is None or shown.open:
        return Lack(rates={}, needed=False)
    beyond = _beyond(cell, shown, wanted, draft, information)
    return Lack(rates={rate: WIDENED for rate in beyond if rate in free}, needed=not served)


def _held(rates: Iterable[float], wanted: Window) -> int:
    """How many of these rates count for a window; never more than it wants."""
    return min(wanted.count, sum(map(wanted.holds, rates)))


def _surely_inside(made: list[float], cell: Cell, information: Information) -> bool:
    """Whether the 95 % interval of a cell's optimum lies between the lowest and the highest rate tried there."""
    if not made:
        return False
    belief, row = information.belief, information.cells.row_of(cell.number)
    middle, reach = belief.optimum[row], Z95 * belief.sd[row]
    return bool(np.log(made[0]) <= middle - reach and middle + reach <= np.log(made[-1]))


def _spread(cell: Cell, wanted: Window, free: list[float], short: int) -> dict[float, str]:
    """The free rates nearest to the window's places that no other rate serves."""
    serving = [rate for rate in cell.rates if rate not in free]
    free = list(free)
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


def _beyond(cell: Cell, shown: Tried, wanted: Window, draft: Draft, information: Information) -> list[float]:
    """Rates past the edge that the best of a cell lies on, one spacing apart; none where it is interior.

    The first in any case; further ones, up to past the interval of the optimum, where they are cheap.
    """
    if not shown.edge:
        return []
    outermost = shown.places[0] if shown.edge < 0 else shown.places[-1]
    further = cell.rates[:outermost][::-1] if shown.edge < 0 else cell.rates[outermost + 1 :]
    place = shown.edge * np.log(cell.rates[outermost])
    sd = information.belief.sd[information.cells.row_of(cell.number)]
    most = shown.edge * wanted.middle + Z95 * sd + wanted.spacing / 2
    cheap = CHEAP * asked_flops(draft.history)
    found: list[float] = []
    while further and (not found or (place < most and draft.cost(cell, further[0], 0) <= cheap)):
        place += wanted.spacing
        at = min(range(len(further)), key=lambda at: abs(shown.edge * np.log(further[at]) - place))
        found.append(further[at])
        further = further[at + 1 :]
    return found


def _settled(group: tuple[Cell, ...], draft: Draft, information: Information, before: Array) -> bool:
    """Whether a refit on this batch is expected to leave the windows of a group where they are."""
    if not draft.batch and not draft.open_runs:
        return True
    moved = np.sqrt(np.maximum(before - information.cell_variance(), 0.0))
    return all(
        moved[information.cells.row_of(cell.number)] <= SETTLED * window(cell, draft, information).spacing
        for cell in group
    )


def _ask(group: tuple[Cell, ...], lacks: dict[int, Lack], draft: Draft, information: Information) -> None:
    """Ask rate by rate through all horizons, so that a cut by the budget leaves whole trunks."""
    for rate in sorted({rate for cell in group for rate in lacks[cell.number].rates}):
        for cell in group:
            reason = lacks[cell.number].rates.get(rate)
            if reason and draft.add(cell, rate, 0, reason):
                information.add(cell.number, rate)
