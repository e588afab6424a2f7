"""The batch: what any batch costs at the target's N and D, each at its best rate, and that rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from api.figures.bowls import OFF_THE_SCALE
from api.figures.entry import FigureRequest, SweepFigure
from api.figures.labels import cell_name
from api.figures.law_curves import drawn_at, even_steps, recorded_answer, target_star
from api.figures.snapshot import FigureSnapshot
from api.figures.style import (
    ACCENT,
    BAND,
    COUNTS,
    PERCENT,
    RATES,
    STAR,
    axis,
    canvas,
    empty,
    footnote,
    level_line,
    log_axis,
    panel_grid,
    panel_title,
)
from api.figures.traces import band_trace, line_trace, marks_trace, minimum_traces
from orchestrator import amounts
from orchestrator.answers.batch_costs import batch_answer, batch_choices
from orchestrator.cells import CLOSE, Point
from orchestrator.documents.predictions import BatchAnswer, BatchChoice, Interval, PredictionDocument
from orchestrator.law import Law
from orchestrator.law.batch_cost import BestBatch
from orchestrator.law.best_batch import best_batch
from orchestrator.law.bowl import Z95

LINE_POINTS: Final = 181

TALLEST: Final = 0.03
"""The panel shows excess losses up to this; those of batches that cost more are drawn at its top edge."""

LEAST_ROOM: Final = 0.0125
"""It shows at least this much, so that both levels are in it."""

MOST_BEYOND: Final = 4.0
"""Factor beyond the batches offered to which the best one's interval and the largest that cost little stretch the axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandedLine:
    """A line over the batch with its 95 % band."""

    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """Cost and rate over the batch at one N and D.

    Attributes:
        at: the N and D, of the target or, where that was refused, of the costliest cell; and the batch of either.
        batch_tokens: x of the lines.
        excess_loss: of the best rate at each batch (0.001 is 0.1 %).
        learning_rate: that rate.
        tried: the batches that were run, at any N and D.
        best, interval: the best batch, whose expected cost is above zero as it is not known exactly, and its 95 % interval.
        own: the batch of the target where that is another; None where it is the best, or the target was refused.
        within: the levels of excess loss, each with the largest batch within it; None where there is none.
        answer: the prediction at the sweep's target; None if it was refused.
    """

    at: Point
    batch_tokens: tuple[float, ...]
    excess_loss: BandedLine
    learning_rate: BandedLine
    tried: tuple[BatchChoice, ...]
    best: BatchChoice
    interval: Interval
    own: BatchChoice | None
    within: tuple[tuple[float, float | None], ...]
    answer: PredictionDocument | None


def batch_view(snapshot: FigureSnapshot) -> BatchView | str | None:
    """The newest law over the batch; the reason where its runs show no best batch, and None before the first law."""
    law = snapshot.law
    if law is None or not law.bowls:
        return None
    answer = recorded_answer(snapshot.record)
    place = drawn_at(law, answer)
    at = Point(params=place.params, tokens=place.tokens, batch_tokens=place.batch_tokens)
    found, best = batch_answer(law, at)[0], best_batch(law.bowls, at.params, at.tokens)
    if found.best is None or found.interval is None or isinstance(best, str):
        return found.reason or "The runs do not show which batch is best."
    return _view(law, at, best, found, found.interval, answer)


def _view(
    law: Law,
    at: Point,
    best: BestBatch,
    found: BatchAnswer,
    interval: Interval,
    answer: PredictionDocument | None,
) -> BatchView:
    tried = set(law.points[:, 2].tolist())
    batches = _batches(found, best.batch_tokens, interval, at)
    costs, low, high = best.excess_loss(batches)
    points = np.column_stack([np.full_like(batches, at.params), np.full_like(batches, at.tokens), batches])
    rate, sd = law.prediction_band(points)
    here, own = batch_choices(law, at, best, [best.batch_tokens, at.batch_tokens])
    another = answer is not None and abs(math.log(own.batch_tokens / here.batch_tokens)) > CLOSE
    return BatchView(
        at=at,
        batch_tokens=tuple(batches.tolist()),
        excess_loss=_banded(costs, low, high),
        learning_rate=_banded(*(np.exp(rate + side * Z95 * sd) for side in (0, -1, 1))),
        tried=tuple(choice for choice in found.choices if choice.batch_tokens in tried),
        best=here,
        interval=interval,
        own=own if another else None,
        within=tuple((item.excess_loss, item.batch_tokens) for item in found.largest_within),
        answer=answer,
    )


def _batches(found: BatchAnswer, best: float, interval: Interval, at: Point) -> NDArray[np.float64]:
    """Even steps over the batches offered, the best one and the target's, and over others as far as `MOST_BEYOND`."""
    offered = [choice.batch_tokens for choice in found.choices]
    largest = [item.batch_tokens for item in found.largest_within if item.batch_tokens is not None]
    low, high = min(offered) / MOST_BEYOND, max(offered) * MOST_BEYOND
    others = np.clip([interval.low, interval.high, *largest], low, high).tolist()
    return even_steps([*offered, *others, best, at.batch_tokens], LINE_POINTS)


def _banded(y: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> BandedLine:
    return BandedLine(y=tuple(y.tolist()), low=tuple(low.tolist()), high=tuple(high.tolist()))


def draw_batch(view: BatchView) -> go.Figure:
    """Draw the cost above the rate."""
    first, last = view.batch_tokens[0], view.batch_tokens[-1]
    rates = [*view.learning_rate.low, *view.learning_rate.high]
    if view.answer is not None:
        rates += [view.answer.interval.low, view.answer.interval.high]
    top = min(max(LEAST_ROOM, *(choice.high for choice in view.tried)), TALLEST)
    figure = canvas(
        560,
        grid=panel_grid(2, 1, ygap=0.1, head=0.05),
        showlegend=True,
        xaxis=log_axis(first, last, ticks=COUNTS, most=6, showticklabels=False, matches="x2"),
        yaxis=axis("excess loss of the best rate", range=[-0.04 * top, 1.06 * top], **PERCENT),
        xaxis2=log_axis(first, last, "batch B, tokens a step", ticks=COUNTS, most=6),
        yaxis2=log_axis(min(rates), max(rates), "its peak learning rate η*", ticks=RATES, most=6),
    )
    figure.add_annotation(panel_title(cell_name(view.at, with_batch=False), ""))
    for level, largest in view.within:
        figure.add_shape(level_line(level, "" if _is_marked(view, largest) else _level_text(level, largest)))
    lower = {"xaxis": "x2", "yaxis": "y2"}
    figure.add_traces(
        [
            *_lines(view, view.excess_loss, "%{y:.2~%} at %{x:.3~s}"),
            *({**trace, **lower, "showlegend": False} for trace in _lines(view, view.learning_rate, _RATE)),
            *_costs(view, top),
            *({**trace, **lower} for trace in _rates(view)),
        ]
    )
    if view.answer is None:
        footnote(
            figure, "The law does not predict at the target: this is the size and horizon that cost most."
        )
    return figure


_RATE: Final = "η* %{y:.2e} at %{x:.3~s}"


def _level_text(level: float, largest: float | None) -> str:
    return f"{amounts.percent(level)}: {'none for sure' if largest is None else f'up to {amounts.count(largest)}'}"


def _lines(view: BatchView, line: BandedLine, hover: str) -> list[dict[str, Any]]:
    band, best = "95 % band", "with the best rate"
    return [
        band_trace(band, view.batch_tokens, line.low, line.high, BAND, legendgroup=band),
        line_trace(best, view.batch_tokens, line.y, _LINE, hover=hover, legendgroup=best),
    ]


_LINE: Final = {"color": ACCENT, "width": 2, "simplify": False}


def _costs(view: BatchView, top: float) -> list[dict[str, Any]]:
    """Marks of the upper panel: the batches tried, the largest within each level, the best one, and the target's own."""
    inside = [choice for choice in view.tried if choice.excess_loss <= top]
    above = [choice for choice in view.tried if choice.excess_loss > top]
    traces = [_tried(inside, [choice.excess_loss for choice in inside])]
    if above:
        look = {"symbol": "triangle-up-open", "size": 8, "color": ACCENT}
        traces.append({**_tried(above, [top] * len(above)), "name": OFF_THE_SCALE, "marker": look})
    traces += _largest_within(view)
    ends, at = (view.interval.low, view.interval.high), view.best.batch_tokens
    text = f"best batch {amounts.count(at)}<br>95 %: {amounts.count(ends[0])} – {amounts.count(ends[1])}"
    traces += minimum_traces("best batch", at, ends, view.best.excess_loss, text)
    if view.own is not None:
        height, text = min(view.own.excess_loss, top), f"the target's batch<br>{_choice_text(view.own)}"
        traces.append(
            marks_trace("target", [view.own.batch_tokens], [height], [text], STAR, showlegend=False)
        )
    return traces


def _is_marked(view: BatchView, largest: float | None) -> bool:
    """Whether the largest batch within a level is known and on the axis."""
    return largest is not None and largest <= view.batch_tokens[-1]


def _largest_within(view: BatchView) -> list[dict[str, Any]]:
    """A stroke at the largest batch within each level; labels stand inside the valley, clear of its line."""
    reached = [(level, batch) for level, batch in view.within if batch and _is_marked(view, batch)]
    if not reached:
        return []
    levels, batches = zip(*reached, strict=True)
    stroke = {"symbol": "line-ns", "size": 14, "line": {"color": ACCENT, "width": 2}}
    return [
        marks_trace(
            "largest within",
            batches,
            levels,
            [f"{amounts.percent(level)}: {amounts.count(batch)}" for level, batch in reached],
            stroke,
            mode="markers+text",
            textposition="top left",
            textfont={"size": 10},
            hovertemplate="the largest batch within %{text}<extra></extra>",
        )
    ]


def _rates(view: BatchView) -> list[dict[str, Any]]:
    """Marks of the lower panel: the batches tried, and the target."""
    rates = [choice.learning_rate for choice in view.tried]
    traces = [{**_tried(view.tried, rates), "showlegend": False}]
    if view.answer is not None:
        traces.append(target_star(view.answer, view.answer.target.batch_tokens))
    return traces


def _tried(choices: Sequence[BatchChoice], y: Sequence[float]) -> dict[str, Any]:
    texts = [_choice_text(choice) for choice in choices]
    look = {"size": 8, "color": ACCENT, "line": {"width": 1, "color": "rgba(255,255,255,0.7)"}}
    x = [choice.batch_tokens for choice in choices]
    return marks_trace("batches tried", x, y, texts, look, legendgroup="tried")


def _choice_text(choice: BatchChoice) -> str:
    costs = (amounts.percent(round(cost, 5)) for cost in (choice.excess_loss, choice.low, choice.high))
    return (
        f"B {amounts.count(choice.batch_tokens)}<br>η* {amounts.rate(choice.learning_rate, 3)}"
        "<br>excess loss {}, 95 %: {} – {}".format(*costs)
    )


def _figure(request: FigureRequest) -> go.Figure:
    view = batch_view(request.snapshot)
    if isinstance(view, BatchView):
        return draw_batch(view)
    return empty(
        view
        or request.snapshot.when_empty(
            "The batch appears here after the first batch of runs, once a bowl shows a minimum.",
            "there is no law to show",
        )
    )


FIGURE: Final = SweepFigure(
    name="batch",
    title="The batch",
    link="Batch",
    caption="At the target's size and horizon: what a batch costs, each with its best rate, and that rate. The diamond "
    "is the best batch, the bar its 95 % interval; strokes are the largest batches within 0.5 and 1 %.",
    draw=_figure,
)
