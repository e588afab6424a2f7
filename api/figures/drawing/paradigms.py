"""Draws both paradigms at the held-out scale: the reference bowl with each contender, and a forest of differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.drawing.style import (
    ACCENT,
    LINE,
    TARGET,
    axis,
    axis_domains,
    canvas,
    empty,
    footnote,
    for_width,
    is_narrow,
    rate_axis,
)
from api.figures.numbers.paradigms import Contestant, ParadigmsView
from orchestrator.documents.comparisons import FITTING, TRANSFER

ROW: Final = 26
"""Pixels of a row of the forest."""

PUBLISHED: Final = "#6d7683"
COLOURS: Final = {FITTING: ACCENT, TRANSFER: TARGET}
OTHER: Final = "#1fa396"


def draw_paradigms(view: ParadigmsView | str, columns: int | None = None) -> go.Figure:
    """Draw both panels side by side, or one under the other where ``columns`` is 1 or 2."""
    if isinstance(view, str):
        return empty(view)
    stacked = is_narrow(columns)
    rows = [item for item in view.contestants if item.name != FITTING]
    height = max(380, 150 + ROW * len(rows))
    figure = canvas(2 * height if stacked else height)
    for_width(figure, columns)
    figure.update_layout(margin={"t": 44}, showlegend=False)
    _bowl_axes(figure, view, stacked=stacked)
    _forest_axes(figure, view, rows, stacked=stacked)
    traces = [_curve(view), _reference(view), *(_point(item, view.top) for item in view.contestants)]
    traces += [_difference(item, view) for item in reversed(rows)]
    figure.add_traces([{"type": "scatter", **trace} for trace in traces])
    figure.add_shape(
        type="line", xref="x2", yref="y2 domain", x0=0, x1=0, y0=0, y1=1, line={"color": LINE, "dash": "dot"}
    )
    footnote(figure, f"At {view.place}. {view.sentence}", columns)
    return figure


def _bowl_axes(figure: go.Figure, view: ParadigmsView, *, stacked: bool) -> None:
    across, down = axis_domains(0, stacked=stacked)
    rates = [item.learning_rate for item in view.contestants] + [rate for rate, _ in view.reference]
    figure.layout.xaxis = rate_axis(min(rates), max(rates), "learning rate η", domain=across, anchor="y")
    figure.layout.yaxis = axis(
        "excess loss", domain=down, anchor="x", range=[-0.12 * view.top, view.top], tickformat="~%", nticks=6
    )


def _forest_axes(
    figure: go.Figure, view: ParadigmsView, rows: Sequence[Contestant], *, stacked: bool
) -> None:
    across, down = axis_domains(1, stacked=stacked)
    left = [across[0] + (0.24 if stacked else 0.1), across[1]]
    figure.layout.xaxis2 = axis(
        "loss over Fitting's, same seeds (95 %)",
        domain=left,
        anchor="y2",
        range=[view.least, view.most],
        tickformat="~%",
        nticks=5,
    )
    figure.layout.yaxis2 = axis(
        domain=down,
        anchor="x2",
        type="category",
        categoryorder="array",
        categoryarray=[item.name for item in reversed(rows)],
        showgrid=False,
        ticks="",
        automargin=False,
    )


def _colour(item: Contestant) -> str:
    return PUBLISHED if item.kind == "published" else COLOURS.get(item.name, OTHER)


def _curve(view: ParadigmsView) -> dict[str, Any]:
    return {
        "x": [rate for rate, _ in view.curve],
        "y": [excess for _, excess in view.curve],
        "mode": "lines",
        "line": {"color": LINE, "width": 2},
        "hoverinfo": "skip",
        "name": "reference bowl",
    }


def _reference(view: ParadigmsView) -> dict[str, Any]:
    return {
        "x": [rate for rate, _ in view.reference],
        "y": [excess for _, excess in view.reference],
        "mode": "markers",
        "marker": {"size": 7, "symbol": "circle-open", "color": LINE, "line": {"width": 1.5}},
        "hovertemplate": "reference bowl<br>η %{x:.3g}<br>excess loss %{y:.2%}<extra></extra>",
        "name": "reference bowl",
    }


def _point(item: Contestant, top: float) -> dict[str, Any]:
    """A contender on the bowl; beyond the panel, or diverged, it stands at the upper edge."""
    off = item.excess_loss is None or item.excess_loss > top
    symbol = (
        "x-thin" if item.diverged else "triangle-up" if off else "diamond" if item.own_units else "circle"
    )
    return {
        "x": [item.learning_rate],
        "y": [0.97 * top if off else item.excess_loss],
        "error_y": {"type": "data", "array": [0.0 if off else item.error], "thickness": 1.4, "width": 3},
        "mode": "markers+text" if item.kind == "ours" else "markers",
        "text": [item.name],
        "textposition": "bottom center" if off or item.module_wise else "top center",
        "textfont": {"size": 10, "color": _colour(item)},
        "marker": {
            "size": 9,
            "symbol": symbol,
            "color": _colour(item),
            "line": {"width": 2, "color": _colour(item)},
        },
        "customdata": [item.text],
        "hovertemplate": "%{customdata}<extra></extra>",
        "name": item.name,
        "cliponaxis": False,
    }


def _difference(item: Contestant, view: ParadigmsView) -> dict[str, Any]:
    """A row of the forest; what lies beyond the panel stands at its edge, who has no difference at zero."""
    value = 0.0 if item.difference is None else item.difference
    shown = max(view.least, min(view.most, value))
    off = shown != value
    text = "diverged" if item.diverged else "shares Fitting's runs" if item.difference is None else ""
    symbol = ("triangle-right" if value > 0 else "triangle-left") if off else "square"
    return {
        "x": [shown],
        "y": [item.name],
        "xaxis": "x2",
        "yaxis": "y2",
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [0.0 if off or item.difference is None else item.high - value],
            "arrayminus": [0.0 if off or item.difference is None else value - item.low],
            "thickness": 1.6,
            "width": 4,
        },
        "mode": "text" if text else "markers",
        "text": [text],
        "textposition": "middle right",
        "textfont": {"size": 11, "color": _colour(item)},
        "marker": {"size": 9, "symbol": symbol, "color": _colour(item)},
        "customdata": [item.text],
        "hovertemplate": "%{customdata}<extra></extra>",
        "name": item.name,
        "cliponaxis": False,
    }
