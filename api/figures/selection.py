"""The cells of many that a figure shows: some at even steps, or all of one N or one B, page by page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlencode

from api.figures.snapshot import FigureSnapshot
from orchestrator import amounts
from orchestrator.cells import Cell
from orchestrator.states import RunState

MOST_PANELS: Final = 24

_SYMBOLS: Final = {"params": "N", "batch_tokens": "B"}
_DIGITS: Final = 9
"""Significant digits of N and B in an address."""

Item = TypeVar("Item")


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most ``most`` (2 or more) of the items at even steps, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(step * (len(items) - 1) / (most - 1))] for step in range(most)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSelection:
    """The cells to show.

    Attributes:
        params, batch_tokens: only cells of this N, of this B; None takes all.
        page: number of a page of `MOST_PANELS` cells, from 1; None takes cells at even steps.
    """

    params: float | None = None
    batch_tokens: float | None = None
    page: int | None = None

    def picks(self, cell: Cell) -> bool:
        """Whether a cell has the N and the B asked for."""
        return all(
            wanted is None or _same(wanted, found)
            for wanted, found in ((self.params, cell.params), (self.batch_tokens, cell.batch_tokens))
        )

    def shown(self, cells: Sequence[Cell], most: int = MOST_PANELS) -> list[Cell]:
        """The cells to draw of those picked; none on a page beyond the last."""
        if self.page is None:
            return evenly(cells, most)
        return list(cells[(self.page - 1) * most : self.page * most])


EVENLY: Final = CellSelection()


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPage:
    """A page of cells that a reader can choose.

    Attributes:
        kind: ``params`` or ``batch_tokens``, what its cells have in common.
        label: such as ``N 215 M · cells 1 to 24 of 40``.
        query: of the figure's address.
    """

    kind: str
    label: str
    query: str


def cells_with_data(snapshot: FigureSnapshot) -> list[Cell]:
    """The cells with a bowl or with a run that was not ruled out."""
    runs = snapshot.runs_by_cell()
    return [
        cell
        for cell in snapshot.cells
        if snapshot.bowl(cell) is not None
        or any(run.state is not RunState.PRUNED for run in runs.get(cell.number, ()))
    ]


def cell_pages(snapshot: FigureSnapshot, most: int = MOST_PANELS) -> tuple[CellPage, ...]:
    """Pages that together show every cell, by N and, if it varies, by B; none if one page shows all cells."""
    cells = cells_with_data(snapshot)
    if len(cells) <= most:
        return ()
    kinds = ("params", "batch_tokens") if snapshot.several_batches else ("params",)
    return tuple(
        page
        for kind in kinds
        for value in sorted({getattr(cell, kind) for cell in cells})
        for page in _pages(kind, value, sum(getattr(cell, kind) == value for cell in cells), most)
    )


def _pages(kind: str, value: float, cells: int, most: int) -> list[CellPage]:
    name = f"{_SYMBOLS[kind]} {amounts.count(value, 4)}"
    found = []
    for page in range(1, math.ceil(cells / most) + 1):
        first, last = (page - 1) * most + 1, min(page * most, cells)
        span = f"cells {first} to {last} of {cells}" if cells > most else f"{cells} cells"
        query = urlencode({kind: f"{value:.{_DIGITS}g}", "page": page})
        found.append(CellPage(kind=kind, label=f"{name} · {span}", query=query))
    return found


def _same(wanted: float, found: float) -> bool:
    return f"{wanted:.{_DIGITS}g}" == f"{found:.{_DIGITS}g}"
