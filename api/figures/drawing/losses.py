"""Draws learning curves: loss against tokens, trunks faint, branches in the colour of their size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from api.figures.drawing.style import (
    axis,
    canvas,
    count_axis,
    empty,
    footnote,
    for_width,
    is_narrow,
    params_colours,
)
from api.figures.numbers.losses import Curve, Curves
from orchestrator import amounts


def draw_losses(view: Curves | None, columns: int | None = None, *, otherwise: str) -> go.Figure:
    """Draw the curves in one panel; where there are none, a sentence that says ``otherwise``."""
    if view is None:
        return empty(otherwise)
    narrow = is_narrow(columns)
    figure = canvas(380 if narrow else 420)
    for_width(figure, columns)
    figure.update_layout(margin={"t": 70 if narrow else 44})
    tokens = [token for curve in view.curves for token in curve.tokens if token > 0] or [1.0, 10.0]
    low, high = view.low, view.high
    ticks = loss_ticks(low, high)
    figure.update_layout(
        xaxis=count_axis(min(tokens), max(tokens), "tokens", most=5 if narrow else 8),
        yaxis=axis(
            "training loss",
            type="log",
            range=[math.log10(low), math.log10(high)],
            tickvals=ticks,
            ticktext=[f"{tick:g}" for tick in ticks],
        ),
    )
    colours = params_colours([curve.params for curve in view.curves])
    traces: list[dict[str, Any]] = []
    for params, colour in colours.items():
        curves = [curve for curve in view.curves if curve.params == params]
        traces += _size(params, colour, curves)
    figure.add_traces([{"type": "scatter", **trace} for trace in traces])
    if view.runs_total > view.runs_shown:
        footnote(figure, f"{view.runs_shown} of {view.runs_total} runs: every cell in turn", columns)
    return figure


def loss_ticks(low: float, high: float) -> list[float]:
    """Five to nine round losses between low and high, which lie less than a decade or two apart."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough)
    first = math.ceil(low / step)
    return [round(step * i, 10) for i in range(first, math.floor(high / step) + 1)]


def _size(params: float, colour: str, curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """The curves of one size: two traces, with gaps between the curves."""
    name = f"N {amounts.count(params)}"
    trunks = [curve for curve in curves if curve.trunk]
    branches = [curve for curve in curves if not curve.trunk]
    found = [
        _joined(group, {"color": colour, "width": width}, opacity)
        for group, width, opacity in ((trunks, 1.0, 0.45), (branches, 1.8, 0.95))
        if group
    ]
    return [
        {**trace, "name": name, "legendgroup": name, "showlegend": index == len(found) - 1}
        for index, trace in enumerate(found)
    ]


def _joined(curves: Sequence[Curve], line: dict[str, Any], opacity: float) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for curve in curves:
        x += [*curve.tokens, None]
        y += [*curve.loss, None]
        text += [curve.text] * (len(curve.tokens) + 1)
    return {
        "x": x,
        "y": y,
        "text": text,
        "mode": "lines",
        "line": line,
        "opacity": opacity,
        "connectgaps": False,
        "hovertemplate": "%{text}<br>loss %{y:.4f} after %{x:.3s} tokens<extra></extra>",
    }
