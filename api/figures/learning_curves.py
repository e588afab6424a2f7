"""Learning curves: loss against tokens, trunks faint and once each, branches in the colour of their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.entry import FigureRequest, SweepFigure
from api.figures.labels import cell_name
from api.figures.snapshot import FigureSnapshot
from api.figures.style import COUNTS, PLAIN, canvas, empty, footnote, log_axis, params_colours
from api.figures.traces import line_trace, on_log_axes
from orchestrator import amounts
from orchestrator.store.records import LossPoint, Run

HEADROOM: Final = 1.1
"""Losses above this times the median first loss belong to divergences and are left off the scale."""

SAMPLE: Final = {"max_points": 120, "max_curves": 60}
"""Of the curves: enough to see their shape, few enough to draw at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """One curve: a trunk, shared by horizons, or the branch of one run.

    Attributes:
        params: N of its cell, for its colour.
        trunk: whether it is a trunk.
        tokens, loss: ascending in tokens, equally long.
        text: hover text.
    """

    params: float
    trunk: bool
    tokens: tuple[float, ...]
    loss: tuple[float, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurves:
    """The curves to draw, the ends of the loss axis, and how many of the started runs are shown."""

    curves: tuple[LearningCurve, ...]
    low: float
    high: float
    runs_shown: int
    runs_total: int


def learning_curves(
    snapshot: FigureSnapshot, points: Mapping[str, Sequence[LossPoint]]
) -> LearningCurves | None:
    """Split the sampled curves into trunks and branches; None before the first loss.

    Args:
        snapshot: the sweep.
        points: by run id, the trunk's part first (``curve`` is then the trunk's id), then the run's own.
    """
    runs = {run.id: run for run in snapshot.runs}
    trunks: dict[str, LearningCurve] = {}
    branches: list[LearningCurve] = []
    for run_id, line in points.items():
        run = runs.get(run_id)
        if run is None:
            continue
        shown = on_log_axes(line)
        shared = [point for point in shown if point.curve == run.trunk_id]
        own = [point for point in shown if point.curve != run.trunk_id]
        if shared:
            _keep_longest(trunks, str(run.trunk_id), _curve(snapshot, run, shared, trunk=True))
        if own:
            branches.append(_curve(snapshot, run, shared[-1:] + own, trunk=False))
    curves = (*trunks.values(), *branches)
    if not curves:
        return None
    low, high = _range(curves)
    return LearningCurves(
        curves=curves,
        low=low,
        high=high,
        runs_shown=sum(1 for line in points.values() if line),
        runs_total=sum(1 for run in snapshot.runs if run.started_at is not None),
    )


def why_no_curves(snapshot: FigureSnapshot) -> str:
    """The reason why there is no curve, and when some will come, if any."""
    return snapshot.sweep.spec.training.no_curves or snapshot.when_empty(
        "Learning curves appear here when a run reports its first loss.",
        "none of its runs reported a training loss",
    )


def _keep_longest(trunks: dict[str, LearningCurve], trunk_id: str, curve: LearningCurve) -> None:
    known = trunks.get(trunk_id)
    if known is None or curve.tokens[-1] > known.tokens[-1]:
        trunks[trunk_id] = curve


def _curve(snapshot: FigureSnapshot, run: Run, points: Sequence[LossPoint], *, trunk: bool) -> LearningCurve:
    cell = snapshot.cells[run.cell]
    what = f"trunk of N {amounts.count(cell.params)}" if trunk else cell_name(cell, with_batch=False)
    return LearningCurve(
        params=cell.params,
        trunk=trunk,
        tokens=tuple(float(point.tokens) for point in points),
        loss=tuple(point.loss for point in points),
        text=f"{what} · η {amounts.rate(run.learning_rate, 3)}",
    )


def _range(curves: Sequence[LearningCurve]) -> tuple[float, float]:
    """From just under the lowest loss to the highest that is not a divergence's."""
    first = median(curve.loss[0] for curve in curves if curve.trunk or not any(c.trunk for c in curves))
    low = min(min(curve.loss) for curve in curves)
    high = min(max(max(curve.loss) for curve in curves), HEADROOM * first)
    return 0.98 * low, max(1.02 * high, 1.05 * low)


def draw_losses(view: LearningCurves) -> go.Figure:
    """Draw the curves in one panel."""
    tokens = [token for curve in view.curves for token in curve.tokens]
    figure = canvas(
        420,
        xaxis=log_axis(min(tokens), max(tokens), "tokens", ticks=COUNTS),
        yaxis=log_axis(view.low, view.high, "training loss", ticks=PLAIN, most=6),
    )
    for params, colour in params_colours([curve.params for curve in view.curves]).items():
        curves = [curve for curve in view.curves if curve.params == params]
        figure.add_traces(_size(params, colour, curves))
    if view.runs_total > view.runs_shown:
        footnote(figure, f"{view.runs_shown} of {view.runs_total} runs, spread over the cells")
    return figure


def _size(params: float, colour: str, curves: Sequence[LearningCurve]) -> list[dict[str, Any]]:
    """The curves of one size as two traces, trunks and branches, with gaps between the curves."""
    name = f"N {amounts.count(params)}"
    trunks = [curve for curve in curves if curve.trunk]
    branches = [curve for curve in curves if not curve.trunk]
    found = [
        _joined(name, group, {"color": colour, "width": width}, opacity)
        for group, width, opacity in ((trunks, 1.0, 0.45), (branches, 1.8, 0.95))
        if group
    ]
    return [
        {**trace, "legendgroup": name, "showlegend": index == len(found) - 1}
        for index, trace in enumerate(found)
    ]


def _joined(
    name: str, curves: Sequence[LearningCurve], look: dict[str, Any], opacity: float
) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for curve in curves:
        x += [*curve.tokens, None]
        y += [*curve.loss, None]
        text += [curve.text] * (len(curve.tokens) + 1)
    hover = "%{text}<br>loss %{y:.4f} after %{x:.3s} tokens"
    return line_trace(name, x, y, look, hover=hover, text=text, opacity=opacity, connectgaps=False)


def _figure(request: FigureRequest) -> go.Figure:
    points = request.store.losses.of_sweep(request.snapshot.sweep.id, **SAMPLE)
    view = learning_curves(request.snapshot, points)
    return empty(why_no_curves(request.snapshot)) if view is None else draw_losses(view)


FIGURE: Final = SweepFigure(
    name="losses",
    title="Learning curves",
    link="Curves",
    caption="A sample of runs from all cells.",
    trunks_caption="Thin lines are trunks at a constant rate, thick lines the branches with the decay.",
    draw=_figure,
    needs="grid",
)
