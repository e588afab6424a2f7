"""Residuals: the rate that the law predicts for a cell against the one measured there, and what the difference costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from api.figures.bowls import bowl_excess
from api.figures.entry import FigureRequest, SweepFigure
from api.figures.labels import cell_name
from api.figures.snapshot import FigureSnapshot, rounded
from api.figures.style import (
    FLOPS,
    LINE,
    RATES,
    TARGET,
    axis,
    canvas,
    empty,
    error_bars,
    footnote,
    log_axis,
    panel_grid,
    params_colours,
)
from api.figures.traces import line_trace, marks_trace
from orchestrator import amounts
from orchestrator.cells import TRAINING_FLOPS_PER_PARAM_TOKEN
from orchestrator.law import Bowl, BowlStatus, HeldOut, HeldOutCell, Law
from orchestrator.law.observations import point_array


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """One cell, predicted and observed.

    Attributes:
        params: N of the cell.
        flops: of one run there, 6·N·D, N the active parameters if the sweep knows them.
        predicted: η* by the law; for a held-out cell by a law fitted without it.
        observed, low, high: η* of the cell's own runs and its 95 % interval.
        excess_loss: loss at the predicted rate over the best one, minus one (0.001 is 0.1 %).
        held_out: whether the law was fitted without the cell.
        text: hover text.
    """

    params: float
    flops: float
    predicted: float
    observed: float
    low: float
    high: float
    excess_loss: float
    held_out: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Residuals:
    """All cells with an interior minimum, and the law's own held-out error."""

    cells: tuple[Residual, ...]
    heldout: HeldOut | None


def residuals(snapshot: FigureSnapshot) -> Residuals | None:
    """Compare the newest law with the cells; None without a law or a cell with a minimum."""
    law = snapshot.law
    bowls = [] if law is None else [bowl for bowl in law.bowls if bowl.status is BowlStatus.INTERIOR]
    if law is None or not bowls:
        return None
    held_out = {} if law.heldout is None else {rounded(cell): cell for cell in law.heldout.cells}
    costs = {rounded(cell): cell.flops for cell in snapshot.cells}
    cells = tuple(
        _residual(bowl, rate, held_out.get(rounded(bowl)), costs.get(rounded(bowl)))
        for bowl, rate in zip(bowls, _fitted_rates(law, bowls), strict=True)
    )
    return Residuals(cells=cells, heldout=law.heldout)


def _fitted_rates(law: Law, bowls: list[Bowl]) -> list[float]:
    """η* of the law in the bowls' cells, without the cells' own shifts."""
    mean, _ = law.band(point_array(bowls))
    return [float(value) for value in np.exp(mean)]


def _residual(bowl: Bowl, fitted: float, held_out: HeldOutCell | None, flops: float | None) -> Residual:
    predicted = fitted if held_out is None else held_out.learning_rate
    excess = bowl_excess(bowl, predicted) if held_out is None else held_out.excess_loss
    known = "fitted without this cell" if held_out is not None else "fitted with this cell"
    return Residual(
        params=bowl.params,
        flops=TRAINING_FLOPS_PER_PARAM_TOKEN * bowl.params * bowl.tokens if flops is None else flops,
        predicted=predicted,
        observed=bowl.learning_rate,
        low=bowl.low,
        high=bowl.high,
        excess_loss=excess,
        held_out=held_out is not None,
        text=(
            f"{cell_name(bowl)}<br>predicted {amounts.rate(predicted, 3)} ({known})"
            f"<br>observed {amounts.rate(bowl.learning_rate, 3)}<br>excess loss {amounts.percent(excess)}"
        ),
    )


def draw_residuals(view: Residuals) -> go.Figure:
    """Draw both panels side by side."""
    cells = view.cells
    rates = [rate for cell in cells for rate in (cell.predicted, cell.observed)]
    costs = [cell.flops for cell in cells]
    figure = canvas(
        380,
        grid=panel_grid(2, 2),
        showlegend=True,
        xaxis=log_axis(min(rates), max(rates), "predicted η*", ticks=RATES),
        yaxis=log_axis(min(rates), max(rates), "observed η*", ticks=RATES, most=6),
        xaxis2=log_axis(min(costs), max(costs), "FLOPs of one run in the cell", ticks=FLOPS),
        yaxis2=axis("excess loss", rangemode="tozero", tickformat="~%", nticks=6),
    )
    colours = params_colours([cell.params for cell in cells])
    groups = (
        ("held out", [cell for cell in cells if cell.held_out], {"width": 2, "color": TARGET}),
        ("fitted", [cell for cell in cells if not cell.held_out], {"width": 0.5, "color": _PALE}),
    )
    traces = [_identity(rates)]
    for name, group, ring in groups:
        if group:
            traces += _group(name, group, colours, ring)
    figure.add_traces(traces)
    if view.heldout is not None:
        footnote(figure, _summary(view.heldout))
    return figure


_PALE: Final = "rgba(255,255,255,0.7)"


def _summary(error: HeldOut) -> str:
    others = "".join(f"; {other.name} {amounts.percent(other.mean)}" for other in error.alternatives)
    return (
        f"Fitted without the {error.left_out.in_words}: mean excess loss {amounts.percent(error.mean)}, "
        f"worst {amounts.percent(error.worst)}{others}; {amounts.cells_in_words(len(error.cells), error.groups)}"
    )


def _identity(rates: Sequence[float]) -> dict[str, Any]:
    ends = [min(rates) / 1.2, max(rates) * 1.2]
    return line_trace("equal", ends, ends, {"color": LINE, "width": 1, "dash": "dot"}, showlegend=False)


def _group(
    name: str, cells: Sequence[Residual], colours: dict[float, str], ring: dict[str, Any]
) -> list[dict[str, Any]]:
    marker = {"size": 9, "color": [colours[cell.params] for cell in cells], "line": ring}
    texts, rates = [cell.text for cell in cells], [cell.observed for cell in cells]
    bars = error_bars(rates, [(cell.low, cell.high) for cell in cells])
    predicted, costs = [cell.predicted for cell in cells], [cell.flops for cell in cells]
    lost = [cell.excess_loss for cell in cells]
    second = {"xaxis": "x2", "yaxis": "y2", "showlegend": False, "legendgroup": name}
    return [
        marks_trace(name, predicted, rates, texts, marker, error_y=bars, legendgroup=name),
        marks_trace(name, costs, lost, texts, marker, **second),
    ]


def _figure(request: FigureRequest) -> go.Figure:
    view = residuals(request.snapshot)
    if view is None:
        return empty(
            request.snapshot.when_empty(
                "Predicted and observed rates appear here once the law has a cell with a minimum.",
                "no law of it has a cell with a minimum",
            )
        )
    return draw_residuals(view)


FIGURE: Final = SweepFigure(
    name="residuals",
    title="Predicted and observed",
    link="Residuals",
    caption="The law's rate for each cell against the minimum of the cell's own bowl, and the excess loss of the "
    "law's rate there.",
    draw=_figure,
)
