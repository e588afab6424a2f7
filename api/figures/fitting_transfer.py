"""Fitting and Transfer at the held-out scale: the reference bowl with each contender, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from api.figures.entry import FigureRequest, SweepFigure
from api.figures.labels import cell_name
from api.figures.style import ACCENT, LINE, RATES, TARGET, axis, canvas, empty, footnote, log_axis, panel_grid
from orchestrator import amounts
from orchestrator.heldout.document import Found, verdict_of
from orchestrator.heldout.module_rates import told
from orchestrator.heldout.reference import Reference
from orchestrator.heldout.scores import Score
from orchestrator.heldout.stages import comparison_of
from orchestrator.heldout.values import FITTING, MODULE_WISE, SAME_RATE, TRANSFER
from orchestrator.law.shape import rise
from orchestrator.spec import CellRole
from orchestrator.states import ComparisonStage

SAMPLES: Final = 81
ROOM: Final = 1.25
"""Height of the panels over the largest loss of a paradigm; what loses more is drawn at the edge."""

LEAST_TOP: Final = 0.01
OURS: Final = (FITTING, TRANSFER, SAME_RATE, MODULE_WISE)

WAITS: Final = {
    ComparisonStage.WAITING: "Both paradigms are compared at the held-out scale after the search.",
    ComparisonStage.TUNING: "Rates by module are being searched at the base; the held-out scale is next.",
    ComparisonStage.RUNNING: "The runs at the held-out scale are under way; scores appear here when all have ended.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One contender.

    Attributes:
        kind: ``ours`` for the paradigms and their variants, ``published`` for a published law.
        learning_rate: of its runs.
        module_wise: whether its modules have different rates.
        own_units: whether that rate is in units of the base, so that it is not on the reference bowl.
        excess_loss: None if it diverged or no run completed.
        error: standard error of the excess loss.
        difference: to Fitting's loss with the same seeds; None for Fitting and contenders that share its runs.
        low, high: the 95 % interval of that difference.
        diverged: whether a seed diverged.
        text: hover text.
    """

    name: str
    kind: str
    learning_rate: float
    module_wise: bool
    own_units: bool
    excess_loss: float | None
    error: float
    difference: float | None
    low: float
    high: float
    diverged: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParadigmsView:
    """The comparison in numbers.

    Attributes:
        contestants: in their order.
        curve: (η, excess loss) of the reference bowl.
        reference: the same of its further runs, the mean over their seeds.
        best_rate: at the bowl's bottom.
        top: excess loss at the upper edge.
        least, most: differences at the left and the right edge.
        verdict: a sentence on which paradigm to trust.
        scale: the name of the held-out scale.
    """

    contestants: tuple[Contestant, ...]
    curve: tuple[tuple[float, float], ...]
    reference: tuple[tuple[float, float], ...]
    best_rate: float
    top: float
    least: float
    most: float
    verdict: str
    scale: str


def paradigms_view(found: Found, verdict: str | None) -> ParadigmsView | None:
    """A comparison in numbers; None before there are scores.

    Args:
        found: the comparison.
        verdict: its verdict, once there is one.
    """
    if found.best is None or not found.scores:
        return None
    contestants = tuple(_contestant(score) for score in found.scores)
    reference = _reference(found, found.best)
    top = _top(contestants, [excess for _, excess in reference])
    rates = [item.learning_rate for item in contestants if not item.own_units] + [
        rate for rate, _ in reference
    ]
    cell, (least, most) = found.setting.standard, _span(contestants)
    return ParadigmsView(
        contestants=contestants,
        curve=_curve(found.best, rates, top),
        reference=reference,
        best_rate=found.best.learning_rate,
        top=top,
        least=least,
        most=most,
        verdict=verdict or "",
        scale=cell_name(cell),
    )


def _contestant(score: Score) -> Contestant:
    item, excess, apart = score.contender, score.excess_loss, score.difference
    return Contestant(
        name=item.name,
        kind="ours" if item.name in OURS else "published",
        learning_rate=item.learning_rate,
        module_wise=item.name == MODULE_WISE,
        own_units=item.arm is CellRole.TRANSFER,
        excess_loss=None if excess is None else excess.value,
        error=0.0 if excess is None else excess.standard_error,
        difference=None if apart is None else apart.value,
        low=0.0 if apart is None else apart.value - apart.reach,
        high=0.0 if apart is None else apart.value + apart.reach,
        diverged=score.has_diverged,
        text=_text(score),
    )


def _text(score: Score) -> str:
    item, excess, apart = score.contender, score.excess_loss, score.difference
    units = " in the base's units" if item.arm is CellRole.TRANSFER else ""
    lines = [item.name, f"η {amounts.rate(item.learning_rate, 3)}{units}"]
    if item.module_rates:
        lines.append(told(item.module_rates))
    if score.has_diverged:
        lines.append("diverged")
    if excess is not None:
        lines.append(
            f"excess loss {amounts.percent(excess.value)} ± {amounts.percent(excess.standard_error)} (standard error)"
        )
    if apart is not None:
        lines.append(f"to Fitting {amounts.percent(apart.value)} ± {amounts.percent(apart.reach)} (95 %)")
    return "<br>".join(lines)


def _reference(found: Found, best: Reference) -> tuple[tuple[float, float], ...]:
    """The further rates of the bowl: the mean over seeds of their excess loss."""
    rates = () if found.plan is None else found.plan.line_up.reference
    cell = found.setting.standard.number
    points = []
    for rate in rates:
        logs = [
            math.log(run.loss / best.loss) - best.effects.get(run.seed, 0.0)
            for run in found.runs
            if run.cell == cell
            and run.learning_rate == rate
            and not run.module_rates
            and run.loss is not None
        ]
        if logs:
            points.append((rate, math.expm1(sum(logs) / len(logs))))
    return tuple(points)


def _top(contestants: Sequence[Contestant], reference: Sequence[float]) -> float:
    ours = [
        item.excess_loss + item.error
        for item in contestants
        if item.kind == "ours" and item.excess_loss is not None
    ]
    return ROOM * max([LEAST_TOP, *ours, *reference])


def _span(contestants: Sequence[Contestant]) -> tuple[float, float]:
    """The range of differences shown: those of the paradigms, with some room."""
    ours = [item for item in contestants if item.kind == "ours" and item.difference is not None]
    low, high = min([0.0, *(item.low for item in ours)]), max([0.0, *(item.high for item in ours)])
    room = (ROOM - 1) * max(LEAST_TOP, high - low)
    return low - room, high + room


def _curve(best: Reference, rates: Sequence[float], top: float) -> tuple[tuple[float, float], ...]:
    """The bowl between the outermost rates, cut at the panel's top."""
    x = np.geomspace(min(rates), max(rates), SAMPLES)
    y = np.expm1(best.curvature * rise(np.log(x / best.learning_rate), best.asymmetry))
    return tuple((float(rate), float(excess)) for rate, excess in zip(x, y, strict=True) if excess <= top)


ROW: Final = 26
"""Pixels of a row of the forest plot."""

PUBLISHED: Final = "#6d7683"
COLOURS: Final = {FITTING: ACCENT, TRANSFER: TARGET}
OTHER: Final = "#1fa396"


def draw_paradigms(view: ParadigmsView, *, narrow: bool = False) -> go.Figure:
    """Draw both panels side by side, or one under the other on a telephone."""
    rows = [item for item in view.contestants if item.name != FITTING]
    rates = [item.learning_rate for item in view.contestants] + [rate for rate, _ in view.reference]
    height = max(380, 150 + ROW * len(rows))
    figure = canvas(
        2 * height if narrow else height,
        showlegend=False,
        grid=panel_grid(2, 1 if narrow else 2, xgap=0.3),
        xaxis=log_axis(min(rates), max(rates), "learning rate η", ticks=RATES),
        yaxis=axis("excess loss", range=[-0.12 * view.top, view.top], tickformat="~%", nticks=6),
        xaxis2=axis(
            "loss over Fitting's, same seeds (95 %)", range=[view.least, view.most], tickformat="~%", nticks=5
        ),
        yaxis2=axis(
            type="category",
            categoryorder="array",
            categoryarray=[item.name for item in reversed(rows)],
            showgrid=False,
            ticks="",
        ),
    )
    traces = [
        _bowl_line(view),
        _reference_marks(view),
        *(_point(item, view.top) for item in view.contestants),
    ]
    traces += [_difference(item, view) for item in reversed(rows)]
    figure.add_traces([{"type": "scatter", **trace} for trace in traces])
    figure.add_vline(0, xref="x2", yref="y2", line={"color": LINE, "dash": "dot"})
    footnote(figure, f"At {view.scale}. {view.verdict}", narrow=narrow)
    return figure


def _colour(item: Contestant) -> str:
    return PUBLISHED if item.kind == "published" else COLOURS.get(item.name, OTHER)


def _bowl_line(view: ParadigmsView) -> dict[str, Any]:
    return {
        "x": [rate for rate, _ in view.curve],
        "y": [excess for _, excess in view.curve],
        "mode": "lines",
        "line": {"color": LINE, "width": 2},
        "hoverinfo": "skip",
        "name": "reference bowl",
    }


def _reference_marks(view: ParadigmsView) -> dict[str, Any]:
    return {
        "x": [rate for rate, _ in view.reference],
        "y": [excess for _, excess in view.reference],
        "mode": "markers",
        "marker": {"size": 7, "symbol": "circle-open", "color": LINE, "line": {"width": 1.5}},
        "hovertemplate": "reference bowl<br>η %{x:.3g}<br>excess loss %{y:.2%}<extra></extra>",
        "name": "reference bowl",
    }


def _point(item: Contestant, top: float) -> dict[str, Any]:
    """A contender on the bowl; diverged or beyond the panel, at the upper edge."""
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
    """A row of the forest plot; beyond the panel at its edge, without a difference at zero."""
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


def why_nothing(found: Found | None) -> str:
    """Why there are no scores: whether some will come, and when."""
    if found is None:
        return "This sweep has no comparison at a held-out scale: its specification has no `comparison`."
    return WAITS.get(found.stage, f"Nothing was compared: {found.reason or 'no run completed'}.")


def _figure(request: FigureRequest) -> go.Figure:
    found = comparison_of(request.store, request.snapshot.sweep)
    view = None if found is None else paradigms_view(found, verdict_of(found))
    return empty(why_nothing(found)) if view is None else draw_paradigms(view, narrow=request.narrow)


FIGURE: Final = SweepFigure(
    name="comparison",
    title="Fitting and Transfer",
    link="Comparison",
    caption="The excess loss of each way to set the rate at a scale that the law was not fitted to.",
    draw=_figure,
    needs="comparison",
)
