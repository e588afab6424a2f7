"""Draws a comparison: excess loss at unseen targets against the share of the full grid's FLOPs, a line per strategy."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from api.figures.drawing.style import (
    LINE,
    canvas,
    footnote,
    for_width,
    percent_axis,
    strategy_colour,
    transparent,
)
from api.figures.numbers.comparison import ComparisonLines, Line


def draw_comparison(view: ComparisonLines, note: str, columns: int | None = None) -> go.Figure:
    """Draw all strategies in one panel; under it stands ``note`` and what each strategy runs."""
    figure = canvas(460)
    for_width(figure, columns)
    figure.update_layout(margin={"t": 44}, showlegend=True)
    shares = sorted({share for line in view.lines for share in line.shares})
    figure.layout.xaxis = percent_axis(
        shares[0], shares[-1], "share of the full grid's FLOPs", ticks=shares, showgrid=False
    )
    figure.layout.yaxis = percent_axis(*view.extremes, "excess loss at the targets")
    figure.add_traces([_band(line) for line in view.lines])
    figure.add_traces([_means(line) for line in view.lines])
    figure.add_shape(_mark(view.middle, "no run: the middle of the lattice", "bottom"))
    if view.full_grid is not None:
        figure.add_shape(_mark(view.full_grid, "every run: the law of the full grid", "top"))
    explained = "; ".join(f"{line.name}: {line.what}" for line in view.lines)
    footnote(figure, f"{note} Bands: ± one standard error. {explained}.", columns)
    return figure


def _band(line: Line) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [*line.shares, *reversed(line.shares)],
        "y": [*line.high, *reversed(line.low)],
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": transparent(strategy_colour(line.strategy), 0.14),
        "hoverinfo": "skip",
        "legendgroup": line.name,
        "showlegend": False,
    }


def _means(line: Line) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": list(line.shares),
        "y": list(line.excess_losses),
        "text": list(line.texts),
        "mode": "lines+markers",
        "line": {"color": strategy_colour(line.strategy), "width": 2},
        "marker": {"size": 7},
        "hovertemplate": "%{text}<extra></extra>",
        "name": line.name,
        "legendgroup": line.name,
        "cliponaxis": False,
    }


def _mark(at: float, text: str, anchor: str) -> dict[str, Any]:
    """A dotted line across the panel with its meaning, whose bottom or top touches the line."""
    return {
        "type": "line",
        "xref": "x domain",
        "yref": "y",
        "x0": 0,
        "x1": 1,
        "y0": at,
        "y1": at,
        "line": {"color": LINE, "dash": "dot", "width": 1.5},
        "label": {"text": text, "textposition": "end", "yanchor": anchor, "font": {"size": 10}},
    }
