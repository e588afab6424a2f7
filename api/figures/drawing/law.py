"""Draws the law: η* against N and against D, with slices, bands, measured optima and the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.drawing.style import (
    ACCENT,
    BAND,
    LINE,
    OUTER_BAND,
    TARGET,
    axis_domains,
    canvas,
    count_axis,
    empty,
    footnote,
    for_width,
    is_narrow,
    params_colours,
    rate_axis,
    tokens_colours,
)
from api.figures.numbers.law import Answer, AxisView, Band, LawView, Line, Measured
from orchestrator import amounts
from orchestrator.law import BowlStatus

SYMBOLS: Final = {
    BowlStatus.INTERIOR: "circle",
    BowlStatus.EDGE_LOW: "triangle-down-open",
    BowlStatus.EDGE_HIGH: "triangle-up-open",
}
TITLES: Final = {"params": "parameters N", "tokens": "tokens D"}


def draw_law(
    view: LawView | None, columns: int | None = None, *, note: str | None = None, otherwise: str = ""
) -> go.Figure:
    """Draw both axes side by side, or one under the other where ``columns`` is 1 or 2.

    Args:
        view: the law; None where there is none.
        columns: how much room there is.
        note: a sentence under the figure, or in the place of one.
        otherwise: what stands in the place of a law without a note.
    """
    if view is None:
        return empty(note or otherwise)
    stacked = is_narrow(columns)
    figure = canvas(760 if stacked else 430)
    for_width(figure, columns)
    figure.update_layout(margin={"t": 140 if stacked else 74})
    rates = _rates(view)
    for index, side in enumerate((view.params, view.tokens)):
        _axes(figure, index, side, rates, stacked=stacked)
        figure.add_traces([{"type": "scatter", **trace} for trace in _traces(side, view, index)])
    if note is not None:
        footnote(figure, note, columns)
    return figure


def _rates(view: LawView) -> list[float]:
    found = [m.learning_rate for side in (view.params, view.tokens) for m in side.measured]
    for side in (view.params, view.tokens):
        found += [rate for line in side.lines for rate in line.learning_rate]
        found += [*side.band.low, *side.band.high]
    if view.answer is not None:
        found += [view.answer.low, view.answer.high]
    return found


def _axes(figure: go.Figure, index: int, side: AxisView, rates: Sequence[float], *, stacked: bool) -> None:
    number = "" if index == 0 else "2"
    across, down = axis_domains(index, stacked=stacked)
    figure.layout[f"xaxis{number}"] = count_axis(
        side.band.line.x[0],
        side.band.line.x[-1],
        TITLES[side.name],
        most=7,
        domain=across,
        anchor=f"y{number}",
    )
    title = "peak learning rate η*" if index == 0 or stacked else None
    figure.layout[f"yaxis{number}"] = rate_axis(
        min(rates),
        max(rates),
        title,
        most=8,
        domain=down,
        anchor=f"x{number}",
        matches="y" if index else None,
    )


def _traces(side: AxisView, view: LawView, index: int) -> list[dict[str, Any]]:
    number = "" if index == 0 else "2"
    others = [line.other for line in side.lines] + [m.other for m in side.measured]
    colours = tokens_colours(others) if side.name == "params" else params_colours(others)
    where = "law, largest cell" if view.answer is None else "law at the target"
    traces = [*_bands(side.band, where, first=index == 0)]
    traces += [_line(line, side, colours[line.other]) for line in side.lines]
    traces += _points(side.measured, colours, first=index == 0)
    if view.answer is not None and side.target is not None:
        traces.append(_target(view.answer, side.target, first=index == 0))
    return [{**trace, "xaxis": f"x{number}", "yaxis": f"y{number}"} for trace in traces]


def _bands(band: Band, where: str, *, first: bool) -> list[dict[str, Any]]:
    x = list(band.line.x)

    def area(low: Sequence[float], high: Sequence[float], colour: str, name: str) -> dict[str, Any]:
        return {
            "x": x + x[::-1],
            "y": list(high) + list(low)[::-1],
            "mode": "lines",
            "fill": "toself",
            "fillcolor": colour,
            "line": {"width": 0},
            "hoverinfo": "skip",
            "name": name,
            "legendgroup": name,
            "showlegend": first,
        }

    return [
        area(band.outer_low, band.outer_high, OUTER_BAND, "95 % of new cells"),
        area(band.low, band.high, BAND, "95 % of the law"),
        {
            "x": x,
            "y": list(band.line.learning_rate),
            "mode": "lines",
            "line": {"color": ACCENT, "width": 2, "dash": "dash"},
            "hovertemplate": f"η* %{{y:.2e}}<extra>{where}</extra>",
            "name": where,
            "legendgroup": where,
            "showlegend": first,
        },
    ]


def _line(line: Line, side: AxisView, colour: str) -> dict[str, Any]:
    symbol = "D" if side.name == "params" else "N"
    return {
        "x": list(line.x),
        "y": list(line.learning_rate),
        "mode": "lines",
        "line": {"color": colour, "width": 1.5},
        "hoverinfo": "skip",
        "name": f"{symbol} {amounts.count(line.other)}",
    }


def _points(measured: Sequence[Measured], colours: dict[float, str], *, first: bool) -> list[dict[str, Any]]:
    """Measured optima: of the slices' batch in full colour, of others faint, held-out cells in a ring."""
    groups = (
        ("measured", [m for m in measured if m.on_slice], 1.0),
        ("at another batch", [m for m in measured if not m.on_slice], 0.35),
    )
    traces = [_cloud(name, group, colours, opacity, first=first) for name, group, opacity in groups if group]
    held_out = [m for m in measured if m.held_out]
    if held_out:
        traces.append(
            {
                "x": [m.x for m in held_out],
                "y": [m.learning_rate for m in held_out],
                "mode": "markers",
                "marker": {"symbol": "circle-open", "size": 15, "color": TARGET, "line": {"width": 1.4}},
                "hoverinfo": "skip",
                "name": "held out",
                "legendgroup": "held out",
                "showlegend": first,
            }
        )
    return traces


def _cloud(
    name: str, measured: Sequence[Measured], colours: dict[float, str], opacity: float, *, first: bool
) -> dict[str, Any]:
    inside = [m.status is BowlStatus.INTERIOR for m in measured]
    return {
        "x": [m.x for m in measured],
        "y": [m.learning_rate for m in measured],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [m.high - m.learning_rate if ok else 0 for m, ok in zip(measured, inside, strict=True)],
            "arrayminus": [
                m.learning_rate - m.low if ok else 0 for m, ok in zip(measured, inside, strict=True)
            ],
            "color": LINE,
            "thickness": 1.2,
            "width": 0,
        },
        "text": [m.text for m in measured],
        "mode": "markers",
        "opacity": opacity,
        "marker": {
            "symbol": [SYMBOLS[m.status] for m in measured],
            "size": 8,
            "color": [colours[m.other] for m in measured],
            "line": {"width": 1, "color": "rgba(255,255,255,0.7)"},
        },
        "hovertemplate": "%{text}<extra></extra>",
        "name": name,
        "legendgroup": name,
        "showlegend": first,
    }


def _target(answer: Answer, x: float, *, first: bool) -> dict[str, Any]:
    interval = f"{amounts.rate(answer.low)} – {amounts.rate(answer.high)}"
    return {
        "x": [x],
        "y": [answer.learning_rate],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [answer.high - answer.learning_rate],
            "arrayminus": [answer.learning_rate - answer.low],
            "color": TARGET,
            "thickness": 2,
            "width": 5,
        },
        "mode": "markers",
        "marker": {"symbol": "star", "size": 14, "color": TARGET},
        "text": [f"target: η* {amounts.rate(answer.learning_rate, 3)}<br>95 % {interval}"],
        "hovertemplate": "%{text}<extra></extra>",
        "name": "target",
        "legendgroup": "target",
        "showlegend": first,
    }
