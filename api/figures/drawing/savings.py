"""Draws savings: the cost of every batch against the full grid, and the interval at the target per refit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from api.figures.drawing.style import (
    ACCENT,
    LINE,
    TARGET,
    UNTOUCHED,
    axis,
    axis_domains,
    canvas,
    empty,
    for_width,
    is_narrow,
)
from api.figures.numbers.savings import BatchCost, Refit, Savings
from orchestrator import amounts


def draw_savings(view: Savings, columns: int | None = None, *, otherwise: str) -> go.Figure:
    """Draw both panels side by side, or one under the other where ``columns`` is 1 or 2.

    Args:
        view: cost and knowledge.
        columns: how much room there is.
        otherwise: what stands in their place where there is neither.
    """
    if not view.batches and not view.refits:
        return empty(otherwise)
    stacked = is_narrow(columns)
    figure = canvas(620 if stacked else 340)
    for_width(figure, columns)
    figure.update_layout(margin={"t": 44}, barmode="stack", bargap=0.35, showlegend=True)
    _cost_axes(figure, view, stacked=stacked)
    figure.add_traces(_bars(view.batches, view.full_grid_flops))
    _interval_axes(figure, view, stacked=stacked)
    figure.add_traces(_refits(view.refits))
    refused = [refit for refit in view.refits if refit.factor is None]
    if refused and len(refused) == len(view.refits):
        figure.add_annotation(
            text="no law could answer<br>at the target yet",
            xref="x2 domain",
            yref="y2 domain",
            x=0.5,
            y=0.5,
            showarrow=False,
        )
    figure.add_shape(_mark(1.0, "full grid of independent runs", "x domain", "y", LINE))
    if view.goal is not None:
        figure.add_shape(_mark(view.goal, "goal", "x2 domain", "y2", TARGET))
    return figure


def _cost_axes(figure: go.Figure, view: Savings, *, stacked: bool) -> None:
    across, down = axis_domains(0, stacked=stacked)
    numbers = [batch.number for batch in view.batches] or [1]
    figure.layout.xaxis = axis(
        "batch of runs",
        domain=across,
        anchor="y",
        range=[0.4, max(numbers) + 0.6],
        tickmode="array",
        tickvals=_whole_ticks(max(numbers)),
        showgrid=False,
    )
    top = max((batch.cumulative for batch in view.batches), default=0.0) / (view.full_grid_flops or 1.0)
    figure.layout.yaxis = axis(
        "share of the full grid",
        domain=down,
        anchor="x",
        range=[0, 1.12 * max(1.0, top)],
        tickformat=".0%",
    )


def _whole_ticks(last: int, most: int = 8) -> list[int]:
    """Ticks at whole numbers from 1 on, evenly, at most so many."""
    return list(range(1, last + 1, math.ceil(last / most)))


def _bars(batches: Sequence[BatchCost], full: float) -> list[dict[str, Any]]:
    """Per batch: what had been spent before, and what it added."""
    x = [batch.number for batch in batches]
    whole = full or 1.0
    text = [
        f"batch {batch.number}: {batch.runs} runs, {amounts.flops(batch.flops)}"
        f"<br>{amounts.percent(batch.cumulative / whole)} of the full grid so far"
        for batch in batches
    ]
    look = {
        "type": "bar",
        "x": x,
        "text": text,
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
    }
    return [
        {
            **look,
            "y": [(batch.cumulative - batch.flops) / whole for batch in batches],
            "marker": {"color": UNTOUCHED},
            "name": "spent before",
        },
        {
            **look,
            "y": [batch.flops / whole for batch in batches],
            "marker": {"color": ACCENT},
            "name": "this batch",
        },
    ]


def _interval_axes(figure: go.Figure, view: Savings, *, stacked: bool) -> None:
    across, down = axis_domains(1, stacked=stacked)
    numbers = [refit.number for refit in view.refits] or [1]
    figure.layout.xaxis2 = axis(
        "law",
        domain=across,
        anchor="y2",
        range=[0.5, max(numbers) + 0.5],
        tickmode="array",
        tickvals=_whole_ticks(max(numbers)),
        showgrid=False,
    )
    known = [refit.factor for refit in view.refits if refit.factor is not None]
    top = max([*known, view.goal or 1.0, 1.2])
    figure.layout.yaxis2 = axis(
        "95 % interval at the target",
        domain=down,
        anchor="x2",
        range=[1, 1 + 1.08 * (top - 1)],
        tickprefix="×/÷ ",
    )


def _refits(refits: Sequence[Refit]) -> list[dict[str, Any]]:
    known = [refit for refit in refits if refit.factor is not None]
    return [
        {
            "type": "scatter",
            "x": [refit.number for refit in known],
            "y": [refit.factor for refit in known],
            "text": [
                f"law {refit.number}, {refit.runs} runs<br>95 % within {amounts.factor(refit.factor)}"
                for refit in known
            ],
            "mode": "lines+markers",
            "line": {"color": ACCENT, "width": 2},
            "marker": {"size": 7},
            "hovertemplate": "%{text}<extra></extra>",
            "xaxis": "x2",
            "yaxis": "y2",
            "name": "interval at the target",
            "cliponaxis": False,
        }
    ]


def _mark(at: float, text: str, xref: str, yref: str, colour: str) -> dict[str, Any]:
    """A dotted line across a panel, with its meaning."""
    return {
        "type": "line",
        "xref": xref,
        "yref": yref,
        "x0": 0,
        "x1": 1,
        "y0": at,
        "y1": at,
        "line": {"color": colour, "dash": "dot", "width": 1.5},
        "label": {"text": text, "textposition": "end", "font": {"size": 10}},
    }
