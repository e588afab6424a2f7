"""Draws residuals: predicted against observed rates, and what the difference costs in loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from api.figures.drawing.style import (
    LINE,
    TARGET,
    axis,
    axis_domains,
    canvas,
    empty,
    footnote,
    for_width,
    is_narrow,
    params_colours,
    power_axis,
    rate_axis,
)
from api.figures.numbers.residuals import Residual, Residuals
from orchestrator import amounts
from orchestrator.law import HeldOut


def draw_residuals(view: Residuals | None, columns: int | None = None, *, otherwise: str) -> go.Figure:
    """Draw both panels side by side, or one under the other where ``columns`` is 1 or 2.

    Args:
        view: the residuals; None where there are none.
        columns: how much room there is.
        otherwise: what stands in the place of residuals.
    """
    if view is None:
        return empty(otherwise)
    stacked = is_narrow(columns)
    figure = canvas(700 if stacked else 380)
    for_width(figure, columns)
    figure.update_layout(margin={"t": 44}, showlegend=True)
    cells = view.cells
    rates = [rate for cell in cells for rate in (cell.predicted, cell.observed)]
    colours = params_colours([cell.params for cell in cells])
    _axes(figure, cells, rates, stacked=stacked)
    groups = (
        ("held out", [cell for cell in cells if cell.held_out], True),
        ("fitted", [cell for cell in cells if not cell.held_out], False),
    )
    traces = [_identity(rates)]
    for name, group, held_out in groups:
        if group:
            traces += _group(name, group, colours, held_out=held_out)
    figure.add_traces([{"type": "scatter", **trace} for trace in traces])
    if view.heldout is not None:
        footnote(figure, _summary(view.heldout), columns)
    return figure


def _summary(error: HeldOut) -> str:
    others = "".join(f"; {other.name} {amounts.percent(other.mean)}" for other in error.alternatives)
    return (
        f"Fitted without the {error.left_out.in_words}: mean excess loss {amounts.percent(error.mean)}, "
        f"worst {amounts.percent(error.worst)}{others}"
    )


def _axes(figure: go.Figure, cells: Sequence[Residual], rates: Sequence[float], *, stacked: bool) -> None:
    across, down = axis_domains(0, stacked=stacked)
    figure.layout.xaxis = rate_axis(min(rates), max(rates), "predicted η*", most=6, domain=across, anchor="y")
    figure.layout.yaxis = rate_axis(min(rates), max(rates), "observed η*", most=6, domain=down, anchor="x")
    across, down = axis_domains(1, stacked=stacked)
    costs = [cell.flops for cell in cells]
    figure.layout.xaxis2 = power_axis(
        min(costs), max(costs), "FLOPs of one run in the cell", domain=across, anchor="y2"
    )
    figure.layout.yaxis2 = axis(
        "excess loss", domain=down, anchor="x2", rangemode="tozero", tickformat="~%", nticks=6
    )


def _identity(rates: Sequence[float]) -> dict[str, Any]:
    ends = [min(rates) / 1.2, max(rates) * 1.2]
    return {
        "x": ends,
        "y": ends,
        "mode": "lines",
        "line": {"color": LINE, "width": 1, "dash": "dot"},
        "hoverinfo": "skip",
        "name": "equal",
        "showlegend": False,
    }


def _group(
    name: str, cells: Sequence[Residual], colours: dict[float, str], *, held_out: bool
) -> list[dict[str, Any]]:
    ring = {"width": 2, "color": TARGET} if held_out else {"width": 0.5, "color": "rgba(255,255,255,0.7)"}
    look = {
        "mode": "markers",
        "marker": {"size": 9, "color": [colours[cell.params] for cell in cells], "line": ring},
        "text": [cell.text for cell in cells],
        "hovertemplate": "%{text}<extra></extra>",
        "name": name,
        "legendgroup": name,
        "cliponaxis": False,
    }
    observed = {
        **look,
        "x": [cell.predicted for cell in cells],
        "y": [cell.observed for cell in cells],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [cell.high - cell.observed for cell in cells],
            "arrayminus": [cell.observed - cell.low for cell in cells],
            "color": LINE,
            "thickness": 1.2,
            "width": 0,
        },
    }
    cost = {
        **look,
        "x": [cell.flops for cell in cells],
        "y": [cell.excess_loss for cell in cells],
        "xaxis": "x2",
        "yaxis": "y2",
        "showlegend": False,
    }
    return [observed, cost]
