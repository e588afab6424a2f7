"""The window of rates that every cell gets round its own predicted optimum, so that each cell shows a bowl.

The window is shifted down by half its spacing and has at least two rates below the predicted optimum: the optimum falls
as the horizon grows, so a law of the shorter horizons errs upwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orchestrator.amounts import rate as format_rate
from orchestrator.cells import Cell
from orchestrator.law.bowl import Z95
from orchestrator.law.observations import Array
from orchestrator.planner.draft import Draft
from orchestrator.planner.information import Information
from orchestrator.planner.opening import TriedRates, tried_rates
from orchestrator.planner.trunk_groups import groups
from orchestrator.planner.values import asked_flops

SPACING = 0.5
"""Least distance in ln η between neighbours: a bowl shows if its rates span about e^±1 round the bottom."""
UNSURE = 1.5
"""Spacing in standard deviations of the predicted optimum, so that the window holds the optimum despite a large error."""
SETTLED = 0.55
"""A cell gets its rates in this batch if the batch's results are expected to move its window by less than this share of
its spacing; otherwise in the next."""
CHEAP = 0.01
"""Share of the FLOPs asked for so far up to which a rate is asked for before it is known to be needed: a further batch
of a few runs would leave workers idle."""
WIDENED = "Widened: the best so far is the outermost tried."


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The rates to try in one cell: ``middle`` is ln of the predicted optimum, ``spacing`` is in ln η."""

    middle: float
    spacing: float
    count: int

    @property
    def log_rates(self) -> list[float]:
        """Its rates as ln η, the nearest to the optimum first."""
        steps = np.arange(self.count) - (self.count - 1) / 2 - 0.5
        found = self.middle + steps * self.spacing
        return sorted(found.tolist(), key=lambda x: (abs(x - self.middle), x))

    def holds(self, rate: float) -> bool:
        """Whether a rate lies in the window."""
        half_width = (self.count + 1) / 2 * self.spacing
        return bool(abs(np.log(rate) - self.middle) <= half_width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """Rates that a cell lacks, each with its reason.

    ``needed`` is False if the cell has its number of rates and the 95 % interval of its optimum lies between them: then
    its further rates are asked for only together with needed ones.
    """

    rates: dict[float, str]
    needed: bool


def cover(draft: Draft, information: Information) -> bool:
    """Ask for the rates that cells lack, cheapest cells first.

    A group of cells waits for the next batch while the runs of this one are expected to move its windows.

    Returns:
        Whether any cell needs rates, asked for now or not.
    """
    seen = tried_rates(draft.history)
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
    """The window of a cell, wider where the law is uncertain."""
    row = information.cells.row_of(cell.number)
    sd = float(information.belief.sd[row])
    return Window(
        middle=float(information.belief.optimum[row]),
        spacing=max(SPACING, UNSURE * sd),
        count=min(draft.request.rates_per_cell, len(cell.rates)),
    )


def _lack(cell: Cell, shown: TriedRates | None, draft: Draft, information: Information) -> Lack:
    """Rates that a cell lacks: round its optimum, and one beyond its best rate if that is the outermost."""
    wanted = window(cell, draft, information)
    free = [rate for rate in cell.rates if draft.sensible(cell, rate)]
    made = [] if shown is None else [cell.rates[position] for position in shown.positions]
    served = len(made) >= wanted.count and _surely_inside(made, cell, information)
    short = max(wanted.count - len(made), _held((*free, *made), wanted) - _held(made, wanted))
    if short > 0:
        return Lack(rates=_spread(cell, wanted, free, short), needed=not served)
    if shown is None or shown.open:
        return Lack(rates={}, needed=False)
    beyond = _beyond(cell, shown, wanted, draft, information)
    return Lack(rates={rate: WIDENED for rate in beyond if rate in free}, needed=not served)


def _held(rates: Iterable[float], wanted: Window) -> int:
    """Number of these rates in a window, at most the number that it wants."""
    return min(wanted.count, sum(map(wanted.holds, rates)))


def _surely_inside(made: list[float], cell: Cell, information: Information) -> bool:
    """Whether the 95 % interval of a cell's optimum lies between the lowest and the highest rate tried_rates there."""
    if not made:
        return False
    belief, row = information.belief, information.cells.row_of(cell.number)
    middle, half_width = belief.optimum[row], Z95 * belief.sd[row]
    return bool(np.log(made[0]) <= middle - half_width and middle + half_width <= np.log(made[-1]))


def _spread(cell: Cell, wanted: Window, free: list[float], short: int) -> dict[float, str]:
    """The free rates nearest to those rates of the window that no other rate serves."""
    serving = [rate for rate in cell.rates if rate not in free]
    free = list(free)
    found: dict[float, str] = {}
    reason = (
        f"One of {wanted.count} rates round the predicted optimum {format_rate(np.exp(wanted.middle), 3)}."
    )
    for x in wanted.log_rates:
        nearest = min(serving, key=lambda rate: abs(np.log(rate) - x), default=None)
        if nearest is not None and abs(np.log(nearest) - x) <= wanted.spacing / 2:
            serving.remove(nearest)
        elif free and len(found) < short:
            rate = min(free, key=lambda rate: abs(np.log(rate) - x))
            free.remove(rate)
            found[rate] = reason
    while len(found) < short and free:
        rate = min(free, key=lambda rate: abs(np.log(rate) - wanted.middle))
        free.remove(rate)
        found[rate] = reason
    return found


def _beyond(
    cell: Cell, shown: TriedRates, wanted: Window, draft: Draft, information: Information
) -> list[float]:
    """Rates beyond the best of a cell if that is the outermost, one spacing apart; none if it is interior.

    The first in any case; further ones, up to just past the interval of the optimum, if they are cheap.
    """
    if not shown.edge:
        return []
    outermost = shown.positions[0] if shown.edge < 0 else shown.positions[-1]
    further = cell.rates[:outermost][::-1] if shown.edge < 0 else cell.rates[outermost + 1 :]
    x = shown.edge * np.log(cell.rates[outermost])
    sd = information.belief.sd[information.cells.row_of(cell.number)]
    most = shown.edge * wanted.middle + Z95 * sd + wanted.spacing / 2
    cheap = CHEAP * asked_flops(draft.history)
    found: list[float] = []
    while further and (not found or (x < most and draft.cost(cell, further[0], 0) <= cheap)):
        x += wanted.spacing
        at = min(range(len(further)), key=lambda at: abs(shown.edge * np.log(further[at]) - x))
        found.append(further[at])
        further = further[at + 1 :]
    return found


def _settled(group: tuple[Cell, ...], draft: Draft, information: Information, before: Array) -> bool:
    """Whether a refit with this batch is expected to leave the windows of a group in place."""
    if not draft.batch and not draft.open_runs:
        return True
    moved = np.sqrt(np.maximum(before - information.cell_variance(), 0.0))
    return all(
        moved[information.cells.row_of(cell.number)] <= SETTLED * window(cell, draft, information).spacing
        for cell in group
    )


def _ask(group: tuple[Cell, ...], lacks: dict[int, Lack], draft: Draft, information: Information) -> None:
    """Ask rate by rate for all horizons, so that a budget that ends in between leaves whole trunks."""
    for rate in sorted({rate for cell in group for rate in lacks[cell.number].rates}):
        for cell in group:
            reason = lacks[cell.number].rates.get(rate)
            if reason and draft.add(cell, rate, 0, reason):
                information.add(cell.number, rate, seed=0)
