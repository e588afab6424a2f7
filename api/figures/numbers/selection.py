"""Which of many cells a figure shows: some at even steps, or all of one size or one batch, page by page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from api.figures.numbers.snapshot import Snapshot
from api.figures.numbers.thinning import evenly
from orchestrator import amounts
from orchestrator.cells import Cell
from orchestrator.states import RunState

MOST_PANELS: Final = 24

_SYMBOLS: Final = {"params": "N", "batch_tokens": "B"}
_DIGITS: Final = 9
"""Of a size by which cells are picked: what a number keeps on its way through an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The cells asked for.

    Attributes:
        params, batch_tokens: only cells of this N, of this B; None takes them all.
        page: which of the pages of `MOST_PANELS` cells, from 1; None takes cells at even steps.
    """

    params: float | None = None
    batch_tokens: float | None = None
    page: int | None = None

    def picks(self, cell: Cell) -> bool:
        """Whether a cell is of the size and the batch asked for."""
        return all(
            wanted is None or _same(wanted, found)
            for wanted, found in ((self.params, cell.params), (self.batch_tokens, cell.batch_tokens))
        )

    def shown(self, cells: Sequence[Cell], most: int = MOST_PANELS) -> list[Cell]:
        """The cells to draw of those that are picked; none on a page beyond the last."""
        if self.page is None:
            return evenly(cells, most)
        return list(cells[(self.page - 1) * most : self.page * most])


EVENLY: Final = Selection()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A page of cells that can be chosen.

    Attributes:
        kind: ``params`` or ``batch_tokens``, what its cells have in common.
        label: for people: ``N 215 M · cells 1 to 24 of 40``.
        query: of the figure's address.
    """

    kind: str
    label: str
    query: str


def showing(snapshot: Snapshot) -> list[Cell]:
    """The cells that have a bowl or a run; one with nothing but rates that were ruled out has nothing to show."""
    runs = snapshot.runs_by_cell()
    return [
        cell
        for cell in snapshot.cells
        if snapshot.bowl(cell) is not None
        or any(run.state is not RunState.PRUNED for run in runs.get(cell.number, ()))
    ]


def groups(snapshot: Snapshot, most: int = MOST_PANELS) -> tuple[Group, ...]:
    """What can be chosen so that every cell can be seen: sizes, and batches where they vary; none where all fit."""
    cells = showing(snapshot)
    if len(cells) <= most:
        return ()
    kinds = ("params", "batch_tokens") if snapshot.several_batches else ("params",)
    return tuple(
        group
        for kind in kinds
        for value in sorted({getattr(cell, kind) for cell in cells})
        for group in _pages(kind, value, sum(getattr(cell, kind) == value for cell in cells), most)
    )


def _pages(kind: str, value: float, cells: int, most: int) -> list[Group]:
    name = f"{_SYMBOLS[kind]} {amounts.count(value, 4)}"
    found = []
    for page in range(1, math.ceil(cells / most) + 1):
        first, last = (page - 1) * most + 1, min(page * most, cells)
        span = f"cells {first} to {last} of {cells}" if cells > most else f"{cells} cells"
        query = urlencode({kind: f"{value:.{_DIGITS}g}", "page": page})
        found.append(Group(kind=kind, label=f"{name} · {span}", query=query))
    return found


def _same(wanted: float, found: float) -> bool:
    return f"{wanted:.{_DIGITS}g}" == f"{found:.{_DIGITS}g}"
