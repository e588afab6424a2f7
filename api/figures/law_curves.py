"""The law: η* against N and against D, with slices, bands, measured optima and the target.

A line varies one axis and fixes the others: slices at the cells' horizons (or sizes), all at one batch; the target's
line at the target's own horizon (or size) and batch, so that it passes through the prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from api.figures.entry import FigureRequest, SweepFigure
from api.figures.labels import cell_name
from api.figures.selection import evenly
from api.figures.snapshot import FigureSnapshot, Located, rounded
from api.figures.style import (
    ACCENT,
    BAND,
    COUNTS,
    OUTER_BAND,
    RATES,
    STAR,
    TARGET,
    axis_number,
    canvas,
    empty,
    error_bars,
    footnote,
    log_axis,
    panel_grid,
    params_colours,
    tokens_colours,
)
from api.figures.traces import band_trace, line_trace, marks_trace
from orchestrator import amounts
from orchestrator.cells import Point
from orchestrator.documents.predictions import PredictionDocument
from orchestrator.knowledge import target_of
from orchestrator.law import Bowl, BowlStatus, Law
from orchestrator.law.bowl import Z95
from orchestrator.store.records import LawRecord

AxisName = Literal["params", "tokens"]
Array = NDArray[np.float64]

LINE_POINTS: Final = 60
MOST_LINES: Final = 5

SYMBOLS: Final = {
    BowlStatus.INTERIOR: "circle",
    BowlStatus.EDGE_LOW: "triangle-down-open",
    BowlStatus.EDGE_HIGH: "triangle-up-open",
}
"""Bowls that locate their optimum, or say on which side of the rates tried it lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredOptimum:
    """The optimum of one cell.

    Attributes:
        x: the cell's N or D.
        other: its D or N: the slice it belongs to.
        bowl: the cell's bowl: η*, its 95 % interval and status.
        held_out: whether the law's error was judged on it.
        on_slice: whether its batch is the slices' batch.
    """

    x: float
    other: float
    bowl: Bowl
    held_out: bool
    on_slice: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LawLine:
    """η* along an axis at one value, ``other``, of the other axis."""

    other: float
    x: tuple[float, ...]
    learning_rate: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetBand:
    """The target's line with two 95 % bands: of the law, and (outer) of the optimum that a new cell would show."""

    line: LawLine
    low: tuple[float, ...]
    high: tuple[float, ...]
    outer_low: tuple[float, ...]
    outer_high: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisView:
    """η* against one axis; ``target`` is the target's value there, None if it was refused."""

    name: AxisName
    measured: tuple[MeasuredOptimum, ...]
    lines: tuple[LawLine, ...]
    band: TargetBand
    target: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LawView:
    """The law along N and along D.

    Attributes:
        batch_tokens: B of the slices.
        answer: the prediction at the sweep's target; None if it was refused.
    """

    params: AxisView
    tokens: AxisView
    batch_tokens: float
    answer: PredictionDocument | None


def law_view(snapshot: FigureSnapshot) -> LawView | None:
    """The newest law along both axes; None before the first law."""
    law, record = snapshot.law, snapshot.record
    if law is None or not law.bowls:
        return None
    answer = recorded_answer(record)
    target = _own_target(snapshot) if record is None else record.prediction.target
    batches = {bowl.batch_tokens for bowl in law.bowls}
    batch = min(sorted(batches), key=lambda value: abs(math.log(value / target.batch_tokens)))
    at = drawn_at(law, answer)
    return LawView(
        params=_axis_view(law, "params", batch, at, answer),
        tokens=_axis_view(law, "tokens", batch, at, answer),
        batch_tokens=batch,
        answer=answer,
    )


def recorded_answer(record: LawRecord | None) -> PredictionDocument | None:
    """The prediction at the sweep's target that was recorded with a law; None if it was refused, or without a record."""
    recorded = None if record is None else record.prediction
    return recorded if isinstance(recorded, PredictionDocument) else None


def drawn_at(law: Law, answer: PredictionDocument | None) -> Located:
    """Where a law is drawn: at the target, or without an answer there in its costliest cell."""
    if answer is not None:
        return answer.target
    return max(law.bowls, key=lambda bowl: (bowl.params * bowl.tokens, bowl.batch_tokens))


def _own_target(snapshot: FigureSnapshot) -> Point:
    """The sweep's target; without one, its costliest cell."""
    return target_of(snapshot.sweep.spec, snapshot.cells, law=snapshot.law)


def _axis_view(
    law: Law, name: AxisName, batch: float, at: Located, answer: PredictionDocument | None
) -> AxisView:
    """One axis; the band is drawn at ``at``: the target, or without an answer the costliest cell."""
    other_name: AxisName = "tokens" if name == "params" else "params"
    values = [getattr(bowl, name) for bowl in law.bowls]
    target = None if answer is None else getattr(answer.target, name)
    x = even_steps(values if target is None else [*values, target])
    others = evenly(
        sorted({getattr(b, other_name) for b in law.bowls if b.batch_tokens == batch}), MOST_LINES
    )
    held_out = {rounded(cell) for cell in law.heldout.cells} if law.heldout is not None else set()
    return AxisView(
        name=name,
        measured=tuple(
            MeasuredOptimum(
                x=getattr(bowl, name),
                other=getattr(bowl, other_name),
                bowl=bowl,
                held_out=rounded(bowl) in held_out,
                on_slice=bowl.batch_tokens == batch,
            )
            for bowl in law.bowls
            if bowl.status in SYMBOLS
        ),
        lines=tuple(_law_line(law, name, x, other, batch) for other in others),
        band=_band(law, name, x, getattr(at, other_name), at.batch_tokens),
        target=target,
    )


def even_steps(values: Sequence[float], points: int = LINE_POINTS) -> Array:
    """Even steps in the logarithm, a little beyond both ends."""
    low, high = min(values), max(values)
    pad = max((high / low) ** 0.04, 1.05)
    # Uneven ends: a step at exactly a cell's own N would show that cell's own shift as a kink.
    return np.geomspace(low / pad, high * pad * 1.0007, points)


def _along(name: AxisName, x: Array, other: float, batch: float) -> Array:
    fixed, batches = np.full_like(x, other), np.full_like(x, batch)
    return np.column_stack((x, fixed, batches) if name == "params" else (fixed, x, batches))


def _law_line(law: Law, name: AxisName, x: Array, other: float, batch: float) -> LawLine:
    mean, _ = law.band(_along(name, x, other, batch))
    return LawLine(other=other, x=tuple(x.tolist()), learning_rate=tuple(np.exp(mean).tolist()))


def _band(law: Law, name: AxisName, x: Array, other: float, batch: float) -> TargetBand:
    mean, sd = law.band(_along(name, x, other, batch))
    _, outer = law.prediction_band(_along(name, x, other, batch))

    def rates(offset: Array) -> tuple[float, ...]:
        return tuple(np.exp(mean + offset).tolist())

    return TargetBand(
        line=LawLine(other=other, x=tuple(x.tolist()), learning_rate=rates(0 * sd)),
        low=rates(-Z95 * sd),
        high=rates(Z95 * sd),
        outer_low=rates(-Z95 * outer),
        outer_high=rates(Z95 * outer),
    )


def bowl_text(bowl: Bowl) -> str:
    """Hover text of a cell's optimum."""
    if bowl.status is not BowlStatus.INTERIOR:
        side = "below" if bowl.status is BowlStatus.EDGE_LOW else "above"
        return f"{cell_name(bowl)}<br>no minimum yet: it lies {side} the rates tried"
    interval = f"{amounts.rate(bowl.low)} – {amounts.rate(bowl.high)}"
    return (
        f"{cell_name(bowl)}<br>η* {amounts.rate(bowl.learning_rate, 3)}, 95 % {interval}<br>{bowl.runs} runs"
    )


TITLES: Final = {"params": "parameters N", "tokens": "tokens D"}


def draw_law(view: LawView) -> go.Figure:
    """Draw both axes side by side."""
    figure = canvas(430, grid=panel_grid(2, 2))
    sides = (view.params, view.tokens)
    rates = [rate for side in sides for line in side.lines for rate in line.learning_rate]
    rates += [rate for side in sides for rate in (*side.band.low, *side.band.high)]
    rates += [measured.bowl.learning_rate for side in sides for measured in side.measured]
    rates += [] if view.answer is None else [view.answer.interval.low, view.answer.interval.high]
    for index, side in enumerate(sides):
        number, x = axis_number(index), side.band.line.x
        shared = "y" if index else None
        figure.layout[f"xaxis{number}"] = log_axis(x[0], x[-1], TITLES[side.name], ticks=COUNTS)
        figure.layout[f"yaxis{number}"] = log_axis(
            min(rates), max(rates), "peak learning rate η*", ticks=RATES, most=6, matches=shared
        )
        figure.add_traces(
            [
                {**trace, "xaxis": f"x{number}", "yaxis": f"y{number}"}
                for trace in _traces(side, view, first=index == 0)
            ]
        )
    return figure


def _traces(side: AxisView, view: LawView, *, first: bool) -> list[dict[str, Any]]:
    others = [line.other for line in side.lines] + [m.other for m in side.measured]
    colours = tokens_colours(others) if side.name == "params" else params_colours(others)
    traces = _bands(side.band, "law, largest cell" if view.answer is None else "law at the target")
    lines = [_slice(line, side, colours[line.other]) for line in side.lines]
    points = _points(side.measured, colours)
    if view.answer is not None and side.target is not None:
        points.append(target_star(view.answer, side.target))
    shared = [{**trace, "legendgroup": trace["name"], "showlegend": first} for trace in (*traces, *points)]
    return [*shared[: len(traces)], *lines, *shared[len(traces) :]]


def _bands(band: TargetBand, name: str) -> list[dict[str, Any]]:
    x, dashed = band.line.x, {"color": ACCENT, "width": 2, "dash": "dash"}
    return [
        band_trace("95 % of new cells", x, band.outer_low, band.outer_high, OUTER_BAND),
        band_trace("95 % of the law", x, band.low, band.high, BAND),
        line_trace(name, x, band.line.learning_rate, dashed, hover=f"{name}<br>η* %{{y:.2e}}"),
    ]


def _slice(line: LawLine, side: AxisView, colour: str) -> dict[str, Any]:
    name = f"{'D' if side.name == 'params' else 'N'} {amounts.count(line.other)}"
    return line_trace(name, line.x, line.learning_rate, {"color": colour, "width": 1.5})


def _points(measured: Sequence[MeasuredOptimum], colours: dict[float, str]) -> list[dict[str, Any]]:
    """Measured optima: at the slices' batch in full colour, at others faint, held-out cells ringed."""
    groups = (
        ("measured", [m for m in measured if m.on_slice], 1.0),
        ("at another batch", [m for m in measured if not m.on_slice], 0.35),
    )
    traces = [_cloud(name, group, colours, opacity) for name, group, opacity in groups if group]
    held_out = [m for m in measured if m.held_out]
    if held_out:
        ring = {"symbol": "circle-open", "size": 15, "color": TARGET, "line": {"width": 1.4}}
        x, y = [m.x for m in held_out], [m.bowl.learning_rate for m in held_out]
        traces.append(marks_trace("held out", x, y, (), ring, hoverinfo="skip", hovertemplate=None))
    return traces


def _cloud(
    name: str, measured: Sequence[MeasuredOptimum], colours: dict[float, str], opacity: float
) -> dict[str, Any]:
    bowls = [m.bowl for m in measured]
    rates = [bowl.learning_rate for bowl in bowls]
    ends = [(b.low, b.high) if b.status is BowlStatus.INTERIOR else (b.learning_rate,) * 2 for b in bowls]
    marker = {
        "symbol": [SYMBOLS[bowl.status] for bowl in bowls],
        "size": 8,
        "color": [colours[m.other] for m in measured],
        "line": {"width": 1, "color": "rgba(255,255,255,0.7)"},
    }
    return marks_trace(
        name,
        [m.x for m in measured],
        rates,
        [bowl_text(bowl) for bowl in bowls],
        marker,
        error_y=error_bars(rates, ends),
        opacity=opacity,
    )


def target_star(answer: PredictionDocument, x: float) -> dict[str, Any]:
    """The predicted rate with its interval, at the target's place on the x axis."""
    rate, low, high = answer.learning_rate, answer.interval.low, answer.interval.high
    text = f"target: η* {amounts.rate(rate, 3)}<br>95 % {amounts.rate(low)} – {amounts.rate(high)}"
    bar = error_bars([rate], [(low, high)]) | {"color": TARGET, "thickness": 2, "width": 5}
    return marks_trace("target", [x], [rate], [text], STAR, error_y=bar)


def _figure(request: FigureRequest) -> go.Figure:
    view, note = law_view(request.snapshot), request.snapshot.note
    if view is None:
        otherwise = request.snapshot.when_empty(
            "The law appears here after the first batch of runs, once a bowl shows a minimum.",
            "there is no law to show",
        )
        return empty(note or otherwise)
    figure = draw_law(view)
    if note is not None:
        footnote(figure, note)
    return figure


FIGURE: Final = SweepFigure(
    name="law",
    title="The law",
    link="Law",
    caption="The best rate against model size and against training tokens. The dashed line and its bands are at the "
    "target's other values.",
    draw=_figure,
    stable=True,
)
