"""One run's learning curve: the trunk it shares, its own branch, and where they part."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from api.figures.style import ACCENT, COUNTS, LINE, PLAIN, TARGET, canvas, empty, log_axis
from api.figures.traces import line_trace, marks_trace, on_log_axes
from orchestrator import amounts
from orchestrator.cells import Cell
from orchestrator.states import RUN_FINAL, RunState
from orchestrator.store.records import LossPoint, Run


def draw_run(run: Run, cell: Cell, points: Sequence[LossPoint], *, no_curves: str | None = None) -> go.Figure:
    """Draw a learning curve.

    Args:
        run: the run.
        cell: its cell.
        points: the trunk's first, then its own; those that logarithmic axes cannot show are left out.
        no_curves: why runs of its trainer have no learning curves; None if they have.
    """
    shown = on_log_axes(points)
    if not shown:
        return empty(no_curves or _why_no_curve(run))
    losses = [point.loss for point in shown] + ([run.loss] if run.loss is not None else [])
    figure = canvas(
        400,
        xaxis=log_axis(shown[0].tokens, cell.tokens, "tokens", ticks=COUNTS),
        yaxis=log_axis(min(losses), max(losses), "loss", ticks=PLAIN, most=6),
    )
    trunk = [point for point in shown if point.curve != run.id]
    own = [point for point in shown if point.curve == run.id]
    for name, part, colour in (("trunk", trunk, LINE), ("branch", trunk[-1:] + own if own else [], ACCENT)):
        if part:
            tokens, losses = [point.tokens for point in part], [point.loss for point in part]
            look, hover = {"color": colour, "width": 2}, "loss %{y:.4f} after %{x:.3s} tokens"
            label = f"training loss, {name}" if trunk else "training loss"
            figure.add_trace(line_trace(label, tokens, losses, look, hover=hover))
    if run.loss is not None:
        diamond = {"symbol": "diamond", "size": 11, "color": TARGET}
        text = f"held-out loss {amounts.loss(run.loss)}"
        figure.add_trace(marks_trace("held-out loss", [cell.tokens], [run.loss], [text], diamond))
    return figure


def _why_no_curve(run: Run) -> str:
    """The reason why there is no curve, and when one will come, if any."""
    if run.state is RunState.PRUNED:
        return "The run was ruled out before it started."
    if run.state in RUN_FINAL:
        return "The run ended without a training loss."
    return "The learning curve appears here when the run reports its first loss."
