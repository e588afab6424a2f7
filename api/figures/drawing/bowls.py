"""Draws bowls as small multiples; the rate axis is shared, the loss axis is each panel's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.drawing.style import (
    ACCENT,
    LINE,
    STATE_COLOURS,
    TARGET,
    axis,
    canvas,
    empty,
    footnote,
    for_width,
    is_narrow,
    params_colours,
    rate_axis,
)
from api.figures.numbers.bowls import FROM_TABLE, OFF_THE_SCALE, Mark, Panel
from orchestrator import amounts
from orchestrator.law import Bowl, BowlStatus
from orchestrator.states import RunState

ROW: Final = 196
"""Pixels from the top of one row of panels to the top of the next …"""

PLOT: Final = 140
"""… and of the panel itself; the rest is its title and the ticks."""

NARROW_TITLE: Final = 20
"""Characters of a title that fit over a panel on a telephone; the last part of a longer one has its own line."""

HEAD: Final = 64
FOOT: Final = 48

_TRACE_STYLES: Final[dict[str, dict[str, Any]]] = {
    "completed": {"size": 6.5, "color": STATE_COLOURS[RunState.COMPLETED]},
    OFF_THE_SCALE: {"symbol": "triangle-up-open", "size": 8, "color": STATE_COLOURS[RunState.COMPLETED]},
    "diverged": {
        "symbol": "x-thin",
        "size": 7,
        "line": {"width": 2, "color": STATE_COLOURS[RunState.DIVERGED]},
    },
    "running": {
        "symbol": "circle-open",
        "size": 8,
        "color": STATE_COLOURS[RunState.RUNNING],
        "line": {"width": 2},
    },
    "pending": {
        "symbol": "circle-open",
        "size": 7,
        "color": STATE_COLOURS[RunState.PENDING],
        "line": {"width": 1.5},
    },
    "pruned": {
        "symbol": "line-ns",
        "size": 6,
        "line": {"width": 1.5, "color": STATE_COLOURS[RunState.PRUNED]},
    },
    "failed": {"symbol": "square-x-open", "size": 7, "color": STATE_COLOURS[RunState.FAILED]},
    "cancelled": {"symbol": "square-open", "size": 6, "color": STATE_COLOURS[RunState.CANCELLED]},
    FROM_TABLE: {"symbol": "circle", "size": 5.5, "color": STATE_COLOURS[RunState.CANCELLED]},
}


def draw_bowls(
    panels: Sequence[Panel],
    total: int,
    columns: int | None = None,
    *,
    narrowed: bool = False,
    otherwise: str = "",
) -> go.Figure:
    """Draw the panels in rows.

    Args:
        panels: in the order in which they are read.
        total: how many cells there are to show; a note says so where it is more than the panels.
        columns: panels in a row; None takes the number of horizons, so that a row is a size.
        narrowed: whether a page of the cells was asked for, not some at even steps through all.
        otherwise: what stands in the place of bowls where there are none of any cell.
    """
    if not panels:
        return empty("No cell with runs is among those chosen." if narrowed else otherwise)
    across = max(1, min(columns or _columns(panels), len(panels)))
    rows = math.ceil(len(panels) / across)
    head = 2 * HEAD if is_narrow(columns) else HEAD
    rates = [mark.learning_rate for panel in panels for mark in panel.marks]
    rates += [x for panel in panels for x, _ in panel.curve if not rates]
    colours = params_colours([panel.cell.params for panel in panels])
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"annotations": []}
    for index, panel in enumerate(panels):
        layout |= _axes(index, panel, across, len(panels), rates or [1e-4, 1e-1])
        layout["annotations"].append(_title(index, panel, narrow=is_narrow(columns)))
        traces += _panel_traces(panel, index, colours[panel.cell.params])
    margin = {"l": 44, "r": 8, "t": head, "b": FOOT}
    figure = canvas(head + rows * ROW + FOOT - (ROW - PLOT), margin=margin, **layout)
    for_width(figure, columns)
    if total > len(panels):
        shown = f"{len(panels)} of {total} cells with runs, at even steps through N, B and D"
        footnote(figure, f"{len(panels)} of the {total} cells chosen" if narrowed else shown, columns)
    figure.add_traces([{"type": "scatter", **trace} for trace in [*traces, *_legend(traces)]])
    return figure


def _columns(panels: Sequence[Panel]) -> int:
    horizons = len({(panel.cell.tokens, panel.cell.batch_tokens) for panel in panels})
    return horizons if 2 <= horizons <= 5 else 4


def _number(index: int) -> str:
    return "" if index == 0 else str(index + 1)


def _axes(index: int, panel: Panel, across: int, panels: int, rates: Sequence[float]) -> dict[str, Any]:
    """Both axes of one panel."""
    rows, number = math.ceil(panels / across), _number(index)
    column, row = index % across, index // across
    gap = 0.34 if across <= 2 else 0.2
    width = 1 / (across + gap * (across - 1))
    left = column * width * (1 + gap)
    height = rows * ROW - (ROW - PLOT)
    top = 1 - row * ROW / height
    lowest = index + across >= panels
    return {
        f"xaxis{number}": rate_axis(
            min(rates),
            max(rates),
            "learning rate η" if lowest else None,
            most=4,
            domain=[left, min(1.0, left + width)],
            anchor=f"y{number}",
            matches="x" if index else None,
            showticklabels=lowest,
            tickfont={"size": 10},
            tickangle=0,
        ),
        f"yaxis{number}": axis(
            domain=[max(0.0, top - PLOT / height), min(1.0, top)],
            anchor=f"x{number}",
            range=[panel.low, panel.high] if panel.low is not None else [0, 1],
            nticks=4,
            showticklabels=panel.low is not None,
            showgrid=panel.low is not None,
            ticks="outside" if panel.low is not None else "",
            tickfont={"size": 10},
            automargin=False,
        ),
    }


def _title(index: int, panel: Panel, *, narrow: bool) -> dict[str, Any]:
    number = _number(index)
    long = narrow and len(panel.title) > NARROW_TITLE
    return {
        "text": "<br>".join(panel.title.rsplit(" · ", 1)) if long else panel.title,
        "x": 0,
        "y": 1,
        "xref": f"x{number} domain",
        "yref": f"y{number} domain",
        "xanchor": "left",
        "yanchor": "bottom",
        "yshift": 3,
        "showarrow": False,
        "align": "left",
        "font": {"size": 9.5 if narrow else 11},
    }


def _panel_traces(panel: Panel, index: int, colour: str) -> list[dict[str, Any]]:
    axes = {"xaxis": f"x{_number(index)}", "yaxis": f"y{_number(index)}", "showlegend": False}
    traces: list[dict[str, Any]] = []
    if panel.curve:
        traces.append(
            {
                "x": [x for x, _ in panel.curve],
                "y": [y for _, y in panel.curve],
                "mode": "lines",
                "line": {"color": colour, "width": 2},
                "hoverinfo": "skip",
                "name": "fitted bowl",
            }
        )
    if panel.bowl is not None and panel.bowl.status is BowlStatus.INTERIOR:
        traces += _minimum(panel.bowl)
    if panel.bowl is not None and panel.low is not None and panel.high is not None:
        traces.append(_law_rate(panel.bowl, panel.low, panel.high))
    traces += [
        _mark_trace(panel, name, style, [mark for mark in panel.marks if panel.kind(mark) == name])
        for name, style in _TRACE_STYLES.items()
        if any(panel.kind(mark) == name for mark in panel.marks)
    ]
    return [{**trace, **axes} for trace in traces]


def _mark_trace(panel: Panel, name: str, style: dict[str, Any], marks: Sequence[Mark]) -> dict[str, Any]:
    return {
        "x": [mark.learning_rate for mark in marks],
        "y": [panel.height(mark) for mark in marks],
        "text": [mark.text for mark in marks],
        "mode": "markers",
        "marker": style,
        "hovertemplate": "%{text}<extra></extra>",
        "name": name,
        "cliponaxis": False,
    }


def _minimum(bowl: Bowl) -> list[dict[str, Any]]:
    """The fitted minimum and the interval of its rate."""
    text = (
        f"η* {amounts.rate(bowl.learning_rate, 3)}"
        f"<br>95 %: {amounts.rate(bowl.low)} – {amounts.rate(bowl.high)}<br>loss {amounts.loss(bowl.loss)}"
    )
    interval = {
        "x": [bowl.low, bowl.high],
        "y": [bowl.loss, bowl.loss],
        "mode": "lines",
        "line": {"color": LINE, "width": 6},
        "hoverinfo": "skip",
        "name": "95 % interval",
    }
    bottom = {
        "x": [bowl.learning_rate],
        "y": [bowl.loss],
        "text": [text],
        "mode": "markers",
        "marker": {
            "symbol": "diamond",
            "size": 9,
            "color": "#fff",
            "line": {"color": "#1c2733", "width": 1.6},
        },
        "hovertemplate": "%{text}<extra></extra>",
        "name": "minimum",
    }
    return [interval, bottom]


def _law_rate(bowl: Bowl, low: float, high: float) -> dict[str, Any]:
    """The rate that the law gives the cell, all runs considered."""
    steps = [low + (high - low) * i / 12 for i in range(13)]
    return {
        "x": [bowl.law_learning_rate] * len(steps),
        "y": steps,
        "mode": "lines",
        "line": {"color": TARGET, "width": 1, "dash": "dot"},
        "hovertemplate": f"the law gives this cell {amounts.rate(bowl.law_learning_rate, 3)}<extra></extra>",
        "name": "rate by the law",
    }


def _legend(traces: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One legend entry for every kind of mark that occurs."""
    entries: dict[str, dict[str, Any]] = {}
    for trace in traces:
        look: dict[str, Any] = {key: trace[key] for key in ("mode", "marker", "line", "name") if key in trace}
        if trace["name"] == "fitted bowl":
            look["line"] = {**trace["line"], "color": ACCENT}
        entries.setdefault(trace["name"], {**look, "x": [None], "y": [None], "hoverinfo": "skip"})
    return list(entries.values())
