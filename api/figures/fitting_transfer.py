"""Fitting and Transfer at the held-out scale: the reference bowl with each contender, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from api.figures.entry import FigureRequest, SweepFigure
from api.figures.labels import cell_name
from api.figures.style import ACCENT, LINE, RATES, TARGET, axis, canvas, empty, footnote, log_axis, panel_grid
from api.figures.traces import line_trace, marks_trace
from orchestrator import amounts
from orchestrator.documents.comparisons import (
    FITTING,
    MODULE_WISE,
    SAME_RATE,
    TRANSFER,
    BestDocument,
    ComparisonDocument,
    ContenderDocument,
)
from orchestrator.heldout.stages import comparison_document
from orchestrator.law.bowl_shape import rise
from orchestrator.spec import CellRole
from orchestrator.states import ComparisonStage

SAMPLES: Final = 81
ROOM: Final = 1.25
"""Height of the panels over the largest loss of a paradigm; what loses more is drawn at the edge."""

LEAST_TOP: Final = 0.01
OURS: Final = (FITTING, TRANSFER, SAME_RATE, MODULE_WISE)
"""The paradigms and their variants; all other contenders are published laws."""

WAITS: Final = {
    ComparisonStage.WAITING: "Both paradigms are compared at the held-out scale after the search.",
    ComparisonStage.TUNING: "Rates by module are being searched at the base; the held-out scale is next.",
    ComparisonStage.RUNNING: "The runs at the held-out scale are under way; scores appear here when all have ended.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParadigmsView:
    """The comparison in numbers.

    Attributes:
        contenders: in their order.
        curve: (η, excess loss) of the reference bowl.
        reference: the same of its further runs, the mean over their seeds.
        top: excess loss at the upper edge.
        least, most: differences at the left and the right edge.
        note: the held-out scale, and which paradigm to trust.
    """

    contenders: tuple[ContenderDocument, ...]
    curve: tuple[tuple[float, float], ...]
    reference: tuple[tuple[float, float], ...]
    top: float
    least: float
    most: float
    note: str


def paradigms_view(compared: ComparisonDocument) -> ParadigmsView | None:
    """A comparison in numbers; None before there are scores."""
    if compared.best is None:
        return None
    contenders = tuple(compared.contenders)
    reference = tuple(
        (item.learning_rate, item.excess_loss) for item in compared.reference if item.excess_loss is not None
    )
    top = _top(contenders, [excess for _, excess in reference])
    least, most = _span(contenders)
    rates = [item.learning_rate for item in contenders if not _has_base_units(item)]
    return ParadigmsView(
        contenders=contenders,
        curve=_curve(compared.best, [*rates, *(rate for rate, _ in reference)], top),
        reference=reference,
        top=top,
        least=least,
        most=most,
        note=f"At {cell_name(compared.held_out)}. {compared.verdict or ''}",
    )


def why_nothing(compared: ComparisonDocument | None) -> str:
    """The reason why there are no scores, and when some will come, if any."""
    if compared is None:
        return "This sweep has no comparison at a held-out scale: its specification has no `comparison`."
    return WAITS.get(compared.state, f"Nothing was compared: {compared.reason or 'no run completed'}.")


def _has_base_units(item: ContenderDocument) -> bool:
    """Whether the rate is in units of the base, so that it is not on the reference bowl."""
    return item.arm is CellRole.TRANSFER


def _text(item: ContenderDocument) -> str:
    excess, apart = item.excess_loss, item.difference
    units = " in the base's units" if _has_base_units(item) else ""
    lines = [item.name, f"η {amounts.rate(item.learning_rate, 3)}{units}"]
    if item.module_rates:
        lines.append(amounts.multipliers(item.module_rates))
    if item.diverged:
        lines.append("diverged")
    if excess is not None:
        error = amounts.percent(excess.standard_error)
        lines.append(f"excess loss {amounts.percent(excess.value)} ± {error} (standard error)")
    if apart is not None:
        half_width = amounts.percent(apart.half_width)
        lines.append(f"to Fitting {amounts.percent(apart.value)} ± {half_width} (95 %)")
    return "<br>".join(lines)


def _top(contenders: Sequence[ContenderDocument], reference: Sequence[float]) -> float:
    ours = [item.excess_loss for item in contenders if item.name in OURS and item.excess_loss is not None]
    return ROOM * max([LEAST_TOP, *(excess.value + excess.standard_error for excess in ours), *reference])


def _span(contenders: Sequence[ContenderDocument]) -> tuple[float, float]:
    """The range of differences shown: those of the paradigms, with some room."""
    ours = [item.difference for item in contenders if item.name in OURS and item.difference is not None]
    low, high = min([0.0, *(apart.low for apart in ours)]), max([0.0, *(apart.high for apart in ours)])
    room = (ROOM - 1) * max(LEAST_TOP, high - low)
    return low - room, high + room


def _curve(best: BestDocument, rates: Sequence[float], top: float) -> tuple[tuple[float, float], ...]:
    """The bowl between the outermost rates, cut at the panel's top."""
    x = np.geomspace(min(rates), max(rates), SAMPLES)
    y = np.expm1(best.curvature * rise(np.log(x / best.learning_rate), best.asymmetry))
    return tuple((float(rate), float(excess)) for rate, excess in zip(x, y, strict=True) if excess <= top)


BOWL: Final = "reference bowl"
ROW: Final = 26
"""Pixels of a row of the forest plot."""

PUBLISHED: Final = "#6d7683"
COLOURS: Final = {FITTING: ACCENT, TRANSFER: TARGET, SAME_RATE: "#1fa396", MODULE_WISE: "#1fa396"}


def draw_paradigms(view: ParadigmsView) -> go.Figure:
    """Draw both panels side by side."""
    rows = [item for item in view.contenders if item.name != FITTING]
    rates = [item.learning_rate for item in view.contenders] + [rate for rate, _ in view.reference]
    height = max(380, 150 + ROW * len(rows))
    figure = canvas(
        height,
        showlegend=False,
        grid=panel_grid(2, 2, xgap=0.3),
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
    traces = [_bowl_line(view), _reference_marks(view)]
    traces += [_point(item, view.top) for item in view.contenders]
    traces += [_difference(item, view) for item in reversed(rows)]
    figure.add_traces([{"type": "scatter", **trace} for trace in traces])
    figure.add_vline(0, xref="x2", yref="y2", line={"color": LINE, "dash": "dot"})
    footnote(figure, view.note)
    return figure


def _bowl_line(view: ParadigmsView) -> dict[str, Any]:
    rates, excess = [rate for rate, _ in view.curve], [excess for _, excess in view.curve]
    return line_trace(BOWL, rates, excess, {"color": LINE, "width": 2})


def _reference_marks(view: ParadigmsView) -> dict[str, Any]:
    rates, excess = [rate for rate, _ in view.reference], [excess for _, excess in view.reference]
    hover = f"{BOWL}<br>η %{{x:.3g}}<br>excess loss %{{y:.2%}}<extra></extra>"
    ring = {"size": 7, "symbol": "circle-open", "color": LINE, "line": {"width": 1.5}}
    return marks_trace(BOWL, rates, excess, (), ring, hovertemplate=hover)


def _point(item: ContenderDocument, top: float) -> dict[str, Any]:
    """A contender on the bowl; diverged or beyond the panel, at the upper edge."""
    excess = item.excess_loss
    shown = None if excess is None or excess.value > top else excess
    symbol = (
        "x-thin"
        if item.diverged
        else "triangle-up"
        if shown is None
        else "diamond"
        if _has_base_units(item)
        else "circle"
    )
    error = 0.0 if shown is None else shown.standard_error
    return _mark(item, symbol) | {
        "x": [item.learning_rate],
        "y": [0.97 * top if shown is None else shown.value],
        "error_y": {"type": "data", "array": [error], "thickness": 1.4, "width": 3},
        "mode": "markers+text" if item.name in OURS else "markers",
        "text": [item.name],
        "textposition": "bottom center" if shown is None or item.name == MODULE_WISE else "top center",
    }


def _difference(item: ContenderDocument, view: ParadigmsView) -> dict[str, Any]:
    """A row of the forest plot; beyond the panel at its edge, without a difference at zero."""
    apart = item.difference
    value = 0.0 if apart is None else apart.value
    shown = max(view.least, min(view.most, value))
    inside = apart if shown == value else None
    text = "diverged" if item.diverged else "shares Fitting's runs" if apart is None else ""
    symbol = "square" if shown == value else "triangle-right" if value > 0 else "triangle-left"
    return _mark(item, symbol) | {
        "x": [shown],
        "y": [item.name],
        "xaxis": "x2",
        "yaxis": "y2",
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [0.0 if inside is None else inside.high - value],
            "arrayminus": [0.0 if inside is None else value - inside.low],
            "thickness": 1.6,
            "width": 4,
        },
        "mode": "text" if text else "markers",
        "text": [text],
        "textposition": "middle right",
    }


def _mark(item: ContenderDocument, symbol: str) -> dict[str, Any]:
    """The properties that both marks of a contender share."""
    colour = COLOURS.get(item.name, PUBLISHED)
    return {
        "textfont": {"size": 10, "color": colour},
        "marker": {"size": 9, "symbol": symbol, "color": colour, "line": {"width": 2, "color": colour}},
        "customdata": [_text(item)],
        "hovertemplate": "%{customdata}<extra></extra>",
        "name": item.name,
        "cliponaxis": False,
    }


def _figure(request: FigureRequest) -> go.Figure:
    sweep = request.snapshot.sweep
    compared = None if sweep.spec.comparison is None else comparison_document(request.store, sweep)
    view = None if compared is None else paradigms_view(compared)
    return empty(why_nothing(compared)) if view is None else draw_paradigms(view)


FIGURE: Final = SweepFigure(
    name="comparison",
    title="Fitting and Transfer",
    link="Comparison",
    caption="The excess loss of each way to set the rate at a scale that the law was not fitted to.",
    draw=_figure,
    needs="comparison",
)
