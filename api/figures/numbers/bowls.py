"""Bowls in numbers: one panel per cell, its runs, the fitted curve and the losses between which it is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from api.figures.labels import cell_name, run_text
from api.figures.numbers.selection import EVENLY, MOST_PANELS, Selection, showing
from api.figures.numbers.snapshot import Earlier, Snapshot
from orchestrator import amounts
from orchestrator.cells import Cell
from orchestrator.law import Bowl, BowlStatus
from orchestrator.law.bowl_shape import rise
from orchestrator.states import RunState
from orchestrator.store.records import Run

CURVE_POINTS: Final = 61
TALLEST: Final = 0.12
"""A panel shows losses up to this share above its best; what is higher stands on the top edge."""

LEAST_ROOM: Final = 0.02
"""… and at least losses up to this share above it, so that noise does not look like a bowl."""

OFF_THE_SCALE: Final = "off the scale"
FROM_TABLE: Final = "from the table"
MOST_EARLIER: Final = 400
"""Marks of earlier runs in one panel, at most."""

_ON_TOP: Final = (RunState.DIVERGED, RunState.FAILED, RunState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One run in a panel.

    Attributes:
        loss: None unless it completed.
        kind: its state, or that it comes from a table of earlier runs.
        text: what the pointer tells.
    """

    learning_rate: float
    loss: float | None
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One cell's bowl in numbers.

    Attributes:
        title: the cell's N, D and, where it varies, B.
        marks: its runs.
        curve: the fitted bowl as (η, loss); empty without one.
        bowl: the law's bowl; None without one.
        low, high: the losses between which the panel is drawn; None where no run has finished.
    """

    cell: Cell
    title: str
    marks: tuple[Mark, ...]
    curve: tuple[tuple[float, float], ...]
    bowl: Bowl | None
    low: float | None
    high: float | None

    def kind(self, mark: Mark) -> str:
        """The mark's state in a word, or that its loss is above the panel."""
        if mark.loss is not None and self.high is not None and mark.loss > self.high:
            return OFF_THE_SCALE
        return mark.kind

    def height(self, mark: Mark) -> float:
        """Where a mark is drawn: at its loss, or on an edge of the panel."""
        low, high = (0.0, 1.0) if self.low is None or self.high is None else (self.low, self.high)
        if mark.loss is not None:
            return min(mark.loss, high)
        if mark.kind in _ON_TOP:
            return high
        return low if mark.kind == RunState.PRUNED else self._on_curve(mark.learning_rate, (low + high) / 2)

    def _on_curve(self, learning_rate: float, otherwise: float) -> float:
        """Where an open run is expected: on the fitted curve."""
        if self.bowl is None or self.high is None:
            return otherwise
        return min(_bowl_loss(self.bowl, learning_rate) or otherwise, self.high)


def bowl_panels(
    snapshot: Snapshot, selection: Selection = EVENLY, most: int = MOST_PANELS
) -> tuple[tuple[Panel, ...], int]:
    """The panels to draw, in the order of the cells, and how many cells the selection picks in all.

    A cell with nothing but rates that were ruled out is not shown.

    Where more than ``most`` are picked and no page is, they are taken at even steps, both ends included.
    """
    runs = snapshot.runs_by_cell()
    cells = [cell for cell in showing(snapshot) if selection.picks(cell)]
    panels = (
        _panel(
            cell,
            (*_earlier_marks(snapshot.earlier_in(cell)), *_run_marks(runs.get(cell.number, ()))),
            snapshot.bowl(cell),
            cell_name(cell, with_batch=snapshot.several_batches),
        )
        for cell in selection.shown(cells, most)
    )
    return tuple(panels), len(cells)


def _run_marks(runs: Sequence[Run]) -> list[Mark]:
    return [
        Mark(learning_rate=run.learning_rate, loss=run.loss, kind=str(run.state), text=run_text(run))
        for run in sorted(runs, key=lambda run: run.learning_rate)
    ]


def _earlier_marks(runs: Sequence[Earlier]) -> list[Mark]:
    return [
        Mark(
            learning_rate=run.learning_rate,
            loss=run.loss,
            kind=FROM_TABLE if run.loss is not None else str(RunState.DIVERGED),
            text=f"η {amounts.rate(run.learning_rate, 3)} · loss {amounts.loss(run.loss)} · from the table",
        )
        for run in runs[:MOST_EARLIER]
    ]


def _panel(cell: Cell, marks: tuple[Mark, ...], bowl: Bowl | None, title: str) -> Panel:
    low, high = _range([mark.loss for mark in marks if mark.loss is not None], bowl)
    return Panel(
        cell=cell,
        title=title,
        marks=marks,
        curve=_curve(bowl, [mark.learning_rate for mark in marks] or list(cell.rates), high),
        bowl=bowl,
        low=low,
        high=high,
    )


def _range(losses: Sequence[float], bowl: Bowl | None) -> tuple[float | None, float | None]:
    known = [*losses, bowl.loss] if bowl is not None and bowl.loss is not None else list(losses)
    if not known:
        return None, None
    best = min(known)
    top = min(max(known), best * (1 + TALLEST))
    room = max(top - best, LEAST_ROOM * best)
    return best - 0.18 * room, best + 1.12 * room


def _curve(
    bowl: Bowl | None, rates: Sequence[float], ceiling: float | None
) -> tuple[tuple[float, float], ...]:
    """The bowl's fitted curve over the rates tried (or a decade round it), cut at the panel's top."""
    if bowl is None or bowl.loss is None or bowl.status is BowlStatus.TOO_FEW:
        return ()
    around = (bowl.learning_rate / 3, bowl.learning_rate * 3)
    low, high = min([*rates, around[0]]), max([*rates, around[1]])
    step = (high / low) ** (1 / (CURVE_POINTS - 1))
    points = ((low * step**i, _bowl_loss(bowl, low * step**i)) for i in range(CURVE_POINTS))
    return tuple((x, y) for x, y in points if y is not None and (ceiling is None or y <= ceiling))


def _bowl_loss(bowl: Bowl, learning_rate: float) -> float | None:
    return None if bowl.loss is None else bowl.loss * (1 + bowl_excess(bowl, learning_rate))


def bowl_excess(bowl: Bowl, learning_rate: float) -> float:
    """Excess loss of a rate in a fitted bowl: e^{C·g(ln η − ln η*; a)} − 1 (``orchestrator.law.bowl_shape``)."""
    distance = np.array([math.log(learning_rate / bowl.learning_rate)])
    return math.expm1(min(bowl.curvature * float(rise(distance, bowl.asymmetry)[0]), 50.0))
