"""Traces that several figures draw: lines, marks with a text, and bands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from api.figures.style import LINE
from orchestrator.store.records import LossPoint

Values = Sequence[float | None]


def on_log_axes(points: Iterable[LossPoint]) -> list[LossPoint]:
    """The points that logarithmic axes can show: after the first token, with a positive finite loss.

    Many programs report a first loss at step 0.
    """
    return [point for point in points if point.tokens > 0 and 0 < point.loss < math.inf]


def line_trace(
    name: str, x: Values, y: Values, look: dict[str, Any], *, hover: str | None = None, **more: Any
) -> dict[str, Any]:
    """A line that the pointer shows with the template ``hover``, or passes over."""
    pointed = {"hoverinfo": "skip"} if hover is None else {"hovertemplate": f"{hover}<extra></extra>"}
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": look,
        **pointed,
        **more,
    }


def marks_trace(
    name: str, x: Values, y: Values, texts: Sequence[str], marker: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """Marks that the pointer shows with their texts; those at the edge of the panel are drawn whole."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(x),
        "y": list(y),
        "text": list(texts),
        "marker": marker,
        "hovertemplate": "%{text}<extra></extra>",
        "cliponaxis": False,
        **more,
    }


def band_trace(
    name: str, x: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str, **more: Any
) -> dict[str, Any]:
    """The area between two lines."""
    edge = [*high, *reversed(low)]
    return line_trace(name, [*x, *reversed(x)], edge, {"width": 0}, fill="toself", fillcolor=colour, **more)


def minimum_traces(
    name: str, x: float, interval: tuple[float, float], y: float | None, text: str
) -> list[dict[str, Any]]:
    """A minimum at (x, y) that the pointer shows with a text, and the 95 % interval of x."""
    diamond = {"symbol": "diamond", "size": 9, "color": "#fff", "line": {"color": "#1c2733", "width": 1.6}}
    return [
        line_trace("95 % interval", interval, [y, y], {"color": LINE, "width": 6}),
        marks_trace(name, [x], [y], [text], diamond),
    ]
