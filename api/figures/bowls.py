"""Bowls: loss against learning rate, one panel per cell; panels share the rate axis, each has its own loss axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from api.figures.entry import FigureRequest, SweepFigure
from api.figures.labels import cell_name, run_text
from api.figures.selection import EVENLY, MOST_PANELS, CellSelection, cells_with_data
from api.figures.snapshot import EarlierRun, FigureSnapshot
from api.figures.style import (
    ACCENT,
    RATES,
    STATE_COLOURS,
    TARGET,
    THIRDS,
    axis,
    axis_number,
    canvas,
    empty,
    footnote,
    log_axis,
    panel_grid,
    panel_title,
    params_colours,
)
from api.figures.traces import line_trace, marks_trace, minimum_traces
from orchestrator import amounts
from orchestrator.cells import Cell
from orchestrator.law import Bowl, BowlStatus
from orchestrator.law.bowl_shape import rise
from orchestrator.states import RunState
from orchestrator.store.records import Run

CURVE_POINTS: Final = 61
TALLEST: Final = 0.12
"""A panel shows losses up to this share above its lowest; higher losses are drawn at the top edge."""

LEAST_ROOM: Final = 0.02
"""A panel shows at least losses up to this share above its lowest, so that noise does not look like a bowl."""

OFF_THE_SCALE: Final = "off the scale"
FROM_TABLE: Final = "from the table"
EXCLUDED: Final = "excluded"
MOST_EARLIER: Final = 400
"""Marks of earlier runs in one panel, at most."""

_ON_TOP: Final = (RunState.DIVERGED, RunState.FAILED, RunState.CANCELLED, EXCLUDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One run in a panel.

    Attributes:
        loss: None unless it completed.
        kind: its state, or `FROM_TABLE`.
        text: hover text.
    """

    learning_rate: float
    loss: float | None
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BowlPanel:
    """One cell's bowl in numbers.

    Attributes:
        title: the cell's N, D and, if it varies, B.
        marks: its runs.
        curve: the fitted bowl as (η, loss); empty without one.
        bowl: the law's bowl; None without one.
        low, high: ends of the loss axis; None before the first loss.
    """

    cell: Cell
    title: str
    marks: tuple[Mark, ...]
    curve: tuple[tuple[float, float], ...]
    bowl: Bowl | None
    low: float | None
    high: float | None

    def kind(self, mark: Mark) -> str:
        """The mark's kind, or `OFF_THE_SCALE` for a loss above the panel."""
        is_above = mark.loss is not None and self.high is not None and mark.loss > self.high
        if is_above and mark.kind != EXCLUDED:
            return OFF_THE_SCALE
        return mark.kind

    def height(self, mark: Mark) -> float:
        """The loss at which a mark is drawn: its own, an edge of the panel, or for an open run the fitted curve."""
        low, high = (0.0, 1.0) if self.low is None or self.high is None else (self.low, self.high)
        if mark.loss is not None:
            return min(max(mark.loss, low), high)
        if mark.kind in _ON_TOP:
            return high
        if mark.kind == RunState.PRUNED:
            return low
        expected = None if self.bowl is None else bowl_loss(self.bowl, mark.learning_rate)
        return min(expected or (low + high) / 2, high)


def bowl_panels(
    snapshot: FigureSnapshot, selection: CellSelection = EVENLY, most: int = MOST_PANELS
) -> tuple[tuple[BowlPanel, ...], int]:
    """The panels to draw, in the order of the cells, and how many cells the selection picks in all.

    A cell whose rates were all ruled out has no panel. Of more than ``most`` cells without a page, some at even steps
    are drawn, the first and the last included.
    """
    runs = snapshot.runs_by_cell()
    cells = [cell for cell in cells_with_data(snapshot) if selection.picks(cell)]
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
        Mark(
            learning_rate=run.learning_rate,
            loss=run.loss,
            kind=str(run.state) if run.excluded is None else EXCLUDED,
            text=run_text(run),
        )
        for run in sorted(runs, key=lambda run: run.learning_rate)
    ]


def _earlier_marks(runs: Sequence[EarlierRun]) -> list[Mark]:
    return [
        Mark(
            learning_rate=run.learning_rate,
            loss=run.loss,
            kind=FROM_TABLE if run.loss is not None else str(RunState.DIVERGED),
            text=f"η {amounts.rate(run.learning_rate, 3)} · loss {amounts.loss(run.loss)} · from the table",
        )
        for run in runs[:MOST_EARLIER]
    ]


def _panel(cell: Cell, marks: tuple[Mark, ...], bowl: Bowl | None, title: str) -> BowlPanel:
    low, high = _range([mark.loss for mark in marks if mark.loss is not None and mark.kind != EXCLUDED], bowl)
    return BowlPanel(
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
    """The fitted curve over the rates tried, or a decade around its minimum, cut at the panel's top."""
    if bowl is None or bowl.loss is None or bowl.status is BowlStatus.TOO_FEW:
        return ()
    low, high = min([*rates, bowl.learning_rate / 3]), max([*rates, bowl.learning_rate * 3])
    points = ((float(rate), bowl_loss(bowl, float(rate))) for rate in np.geomspace(low, high, CURVE_POINTS))
    return tuple((x, y) for x, y in points if y is not None and (ceiling is None or y <= ceiling))


def bowl_loss(bowl: Bowl, learning_rate: float) -> float | None:
    """The fitted loss of a rate; None if the bowl has no loss."""
    return None if bowl.loss is None else bowl.loss * (1 + bowl_excess(bowl, learning_rate))


def bowl_excess(bowl: Bowl, learning_rate: float) -> float:
    """Excess loss of a rate in a fitted bowl: e^{C·g(ln η − ln η*; a)} − 1 (``orchestrator.law.bowl_shape``)."""
    distance = np.array([math.log(learning_rate / bowl.learning_rate)])
    return math.expm1(min(bowl.curvature * float(rise(distance, bowl.asymmetry)[0]), 50.0))


ROW: Final = 196
"""Pixels from the top of one row of panels to the top of the next."""

PLOT: Final = 140
"""Pixels of the panel itself; the rest of a row is its title and the ticks."""

HEAD: Final = 40
"""Pixels of the legend."""

TITLE: Final = 24
"""Pixels of a panel's title."""

FOOT: Final = 48


def _marker(state: RunState, size: float, symbol: str = "circle", width: float = 1) -> dict[str, Any]:
    colour = STATE_COLOURS[state]
    return {"symbol": symbol, "size": size, "color": colour, "line": {"width": width, "color": colour}}


_MARKERS: Final = {
    "completed": _marker(RunState.COMPLETED, 6.5, width=0),
    OFF_THE_SCALE: _marker(RunState.COMPLETED, 8, "triangle-up-open"),
    "diverged": _marker(RunState.DIVERGED, 7, "x-thin", 2),
    "running": _marker(RunState.RUNNING, 8, "circle-open", 2),
    "pending": _marker(RunState.PENDING, 7, "circle-open", 1.5),
    "pruned": _marker(RunState.PRUNED, 6, "line-ns", 1.5),
    "failed": _marker(RunState.FAILED, 7, "square-x-open"),
    "cancelled": _marker(RunState.CANCELLED, 6, "square-open"),
    FROM_TABLE: _marker(RunState.CANCELLED, 5.5, width=0),
    EXCLUDED: _marker(RunState.CANCELLED, 8, "circle-x-open"),
}


def draw_bowls(
    panels: Sequence[BowlPanel], total: int, columns: int | None = None, *, narrowed: bool = False
) -> go.Figure:
    """Draw the panels in rows.

    Args:
        panels: at least one, in reading order.
        total: cells that could be shown; a note reports those left out.
        columns: panels in a row; None takes the number of horizons, so that a row is a size.
        narrowed: whether the panels are a page of cells rather than some at even steps.
    """
    horizons = len({(panel.cell.tokens, panel.cell.batch_tokens) for panel in panels})
    across = min(columns or (horizons if 2 <= horizons <= 5 else 4), len(panels))
    rows = math.ceil(len(panels) / across)
    rates = [mark.learning_rate for panel in panels for mark in panel.marks]
    rates = rates or [x for panel in panels for x, _ in panel.curve] or [1e-4, 1e-1]
    colours = params_colours([panel.cell.params for panel in panels])
    grid = panel_grid(len(panels), across, xgap=0.2, ygap=1 - PLOT / ROW, head=TITLE / (rows * ROW))
    height = HEAD + TITLE + rows * ROW + FOOT - (ROW - PLOT)
    figure = canvas(height, margin={"l": 44, "r": 8, "t": 24, "b": FOOT}, grid=grid)
    traces: list[dict[str, Any]] = []
    for index, panel in enumerate(panels):
        number, lowest = axis_number(index), index + across >= len(panels)
        figure.update_layout(_axes(number, panel, rates, lowest=lowest))
        figure.add_annotation(panel_title(panel.title, number))
        traces += _panel_traces(panel, number, colours[panel.cell.params])
    if total > len(panels):
        shown = f"{len(panels)} of {total} cells with runs, at even steps through N, B and D"
        footnote(figure, f"{len(panels)} of the {total} cells chosen" if narrowed else shown)
    figure.add_traces([*traces, *_legend(traces)])
    return figure


def _axes(number: str, panel: BowlPanel, rates: Sequence[float], *, lowest: bool) -> dict[str, Any]:
    """Both axes of one panel."""
    drawn = panel.low is not None
    low, high = min(rates), max(rates)
    thirds = 10 <= high / low <= 100
    return {
        f"xaxis{number}": log_axis(
            low,
            high,
            "learning rate η" if lowest else None,
            ticks=RATES | THIRDS if thirds else RATES,
            most=4,
            minor=None,
            matches="x" if number else None,
            showticklabels=lowest,
            tickfont={"size": 10},
            tickangle=0,
        ),
        f"yaxis{number}": axis(
            range=[panel.low, panel.high] if drawn else [0, 1],
            nticks=4,
            showticklabels=drawn,
            showgrid=drawn,
            ticks="outside" if drawn else "",
            tickfont={"size": 10},
            automargin=False,
        ),
    }


def _panel_traces(panel: BowlPanel, number: str, colour: str) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = []
    if panel.curve:
        x, y = zip(*panel.curve, strict=True)
        traces.append(line_trace("fitted bowl", x, y, {"color": colour, "width": 2}))
    if panel.bowl is not None and panel.bowl.status is BowlStatus.INTERIOR:
        traces += _minimum(panel.bowl)
    if panel.bowl is not None and panel.low is not None and panel.high is not None:
        traces.append(_law_rate(panel.bowl, panel.low, panel.high))
    for name, marker in _MARKERS.items():
        found = [mark for mark in panel.marks if panel.kind(mark) == name]
        if found:
            rates, heights = [mark.learning_rate for mark in found], [panel.height(mark) for mark in found]
            traces.append(marks_trace(name, rates, heights, [mark.text for mark in found], marker))
    axes = {"xaxis": f"x{number}", "yaxis": f"y{number}", "showlegend": False}
    return [{**trace, **axes} for trace in traces]


def _minimum(bowl: Bowl) -> list[dict[str, Any]]:
    """The fitted minimum and the interval of its rate."""
    text = (
        f"η* {amounts.rate(bowl.learning_rate, 3)}"
        f"<br>95 %: {amounts.rate(bowl.low)} – {amounts.rate(bowl.high)}<br>loss {amounts.loss(bowl.loss)}"
    )
    return minimum_traces("minimum", bowl.learning_rate, (bowl.low, bowl.high), bowl.loss, text)


def _law_rate(bowl: Bowl, low: float, high: float) -> dict[str, Any]:
    """The rate that the law predicts for the cell from all runs."""
    steps = np.linspace(low, high, 13).tolist()
    hover = f"the law predicts {amounts.rate(bowl.law_learning_rate, 3)} for this cell"
    dotted = {"color": TARGET, "width": 1, "dash": "dot"}
    return line_trace("rate by the law", [bowl.law_learning_rate] * len(steps), steps, dotted, hover=hover)


def _legend(traces: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One legend entry for every kind of mark that occurs."""
    entries: dict[str, dict[str, Any]] = {}
    for trace in traces:
        look: dict[str, Any] = {
            key: trace[key] for key in ("type", "mode", "marker", "line", "name") if key in trace
        }
        if trace["name"] == "fitted bowl":
            look["line"] = {**trace["line"], "color": ACCENT}
        entries.setdefault(trace["name"], {**look, "x": [None], "y": [None], "hoverinfo": "skip"})
    return list(entries.values())


def _figure(request: FigureRequest) -> go.Figure:
    panels, total = bowl_panels(request.snapshot, request.selection)
    narrowed = request.selection != EVENLY
    if panels:
        return draw_bowls(panels, total, request.columns, narrowed=narrowed)
    if narrowed:
        return empty("None of the chosen cells has runs.")
    return empty(
        request.snapshot.when_empty(
            "Bowls appear here when the first runs are requested.", "none of its runs was requested"
        )
    )


FIGURE: Final = SweepFigure(
    name="bowls",
    title="Bowls",
    link="Bowls",
    caption="Loss against learning rate, one panel per cell, with its N and D. The diamond is the fitted minimum, "
    "the bar its 95 % interval.",
    draw=_figure,
    stable=True,
)
