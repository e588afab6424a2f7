"""Savings: what a sweep has spent of its full grid, batch by batch, and how the interval at the target shrank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.entry import FigureRequest, SweepFigure
from api.figures.snapshot import FigureSnapshot
from api.figures.style import ACCENT, TARGET, UNTOUCHED, axis, canvas, empty, level_line, panel_grid
from api.figures.traces import marks_trace
from orchestrator import amounts
from orchestrator.documents.predictions import PredictionDocument
from orchestrator.states import RUN_MEASURED, RUN_OPEN, SWEEP_LIVE, RunState
from orchestrator.store.records import LawRecord, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class GridShares:
    """The FLOPs of the full grid of independent runs, in four parts that add up to it.

    Attributes:
        spent: actually spent.
        shared: saved because horizons share the constant-rate part of a run, and divergences end early.
        open: of rates requested but not finished and, while the sweep is live, of rates not decided yet.
        never_run: saved because the rate was ruled out or not needed.
    """

    spent: float
    shared: float
    open: float
    never_run: float

    @property
    def full(self) -> float:
        """The sum."""
        return self.spent + self.shared + self.open + self.never_run


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCost:
    """One batch of runs: its number, its runs, its own FLOPs and those of all batches up to it."""

    number: int
    runs: int
    flops: float
    cumulative: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LawInterval:
    """One law: the runs it was fitted to and the factor of its 95 % interval at the target; None if it refused."""

    number: int
    runs: int
    factor: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """Cost and interval over the life of a sweep.

    Attributes:
        goal: the factor at which the sweep stops; None without one.
    """

    full_grid_flops: float
    batches: tuple[BatchCost, ...]
    intervals: tuple[LawInterval, ...]
    goal: float | None


def savings(snapshot: FigureSnapshot, laws: Sequence[LawRecord]) -> Savings:
    """Add up a sweep's cost and follow its interval over all its ``laws``, oldest first."""
    return Savings(
        full_grid_flops=snapshot.sweep.full_grid_flops,
        batches=_batches(snapshot.runs),
        intervals=tuple(_interval(record) for record in laws),
        goal=snapshot.sweep.spec.search.stop.interval_factor,
    )


def grid_shares(snapshot: FigureSnapshot) -> GridShares:
    """Split the cost of the full grid."""
    full = snapshot.sweep.full_grid_flops
    spent = sum(run.flops for run in snapshot.runs)
    done = _independent_flops(snapshot, RUN_MEASURED)
    waiting = _independent_flops(snapshot, RUN_OPEN)
    shared = max(done - spent, 0.0)
    left = max(full - spent - shared - waiting, 0.0)
    if snapshot.sweep.state not in SWEEP_LIVE:
        return GridShares(spent=spent, shared=shared, open=waiting, never_run=left)
    never_run = min(_independent_flops(snapshot, frozenset({RunState.PRUNED})), left)
    return GridShares(spent=spent, shared=shared, open=waiting + left - never_run, never_run=never_run)


def _independent_flops(snapshot: FigureSnapshot, states: frozenset[RunState]) -> float:
    """The cost of the runs in these states as independent runs."""
    return sum(snapshot.cells[run.cell].flops for run in snapshot.runs if run.state in states)


def _batches(runs: Sequence[Run]) -> tuple[BatchCost, ...]:
    counts: dict[int, tuple[int, float]] = {}
    for run in runs:
        if run.batch is not None and run.state is not RunState.PRUNED:
            known, flops = counts.get(run.batch, (0, 0.0))
            counts[run.batch] = known + 1, flops + run.flops
    numbers = sorted(counts)
    cumulative = accumulate(counts[number][1] for number in numbers)
    return tuple(
        BatchCost(number=number, runs=counts[number][0], flops=counts[number][1], cumulative=total)
        for number, total in zip(numbers, cumulative, strict=True)
    )


def _interval(record: LawRecord) -> LawInterval:
    answer = record.prediction
    interval = answer.interval if isinstance(answer, PredictionDocument) else None
    factor = None if interval is None else math.sqrt(interval.high / interval.low)
    return LawInterval(number=record.number, runs=record.runs, factor=factor)


def draw_savings(view: Savings) -> go.Figure:
    """Draw both panels side by side."""
    whole = view.full_grid_flops or 1.0
    known = [law.factor for law in view.intervals if law.factor is not None]
    dearest = max([1.0, *(batch.cumulative / whole for batch in view.batches)])
    widest = max([1.2, view.goal or 1.0, *known])
    figure = canvas(
        340,
        grid=panel_grid(2, 2),
        barmode="stack",
        bargap=0.35,
        showlegend=True,
        xaxis=_numbers("batch of runs", [batch.number for batch in view.batches], 0.4),
        yaxis=axis("share of the full grid", range=[0, 1.12 * dearest], tickformat=".0%"),
        xaxis2=_numbers("law", [law.number for law in view.intervals], 0.5),
        yaxis2=axis("95 % interval at the target", range=[1, 1 + 1.08 * (widest - 1)], tickprefix="×/÷ "),
    )
    figure.add_traces([*_bars(view.batches, whole), _interval_line(view.intervals)])
    if view.intervals and not known:
        figure.add_annotation(
            text="no law could predict<br>at the target yet",
            xref="x2 domain",
            yref="y2 domain",
            x=0.5,
            y=0.5,
            showarrow=False,
        )
    figure.add_shape(level_line(1.0, "full grid of independent runs"))
    if view.goal is not None:
        figure.add_shape(level_line(view.goal, "goal", TARGET, number="2"))
    return figure


def _numbers(title: str, numbers: Sequence[int], room: float) -> dict[str, Any]:
    """An axis of whole numbers from 1 on, with at most eight ticks."""
    last = max(numbers, default=1)
    return axis(title, range=[room, last + 1 - room], tick0=1, dtick=math.ceil(last / 8), showgrid=False)


def _bars(batches: Sequence[BatchCost], whole: float) -> list[dict[str, Any]]:
    """For each batch what had been spent before, and what it added."""
    look = {
        "type": "bar",
        "x": [batch.number for batch in batches],
        "text": [
            f"batch {batch.number}: {batch.runs} runs, {amounts.flops(batch.flops)}"
            f"<br>{amounts.percent(batch.cumulative / whole)} of the full grid so far"
            for batch in batches
        ],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
    }
    before = [(batch.cumulative - batch.flops) / whole for batch in batches]
    added = [batch.flops / whole for batch in batches]
    return [
        {**look, "y": before, "marker": {"color": UNTOUCHED}, "name": "spent before"},
        {**look, "y": added, "marker": {"color": ACCENT}, "name": "this batch"},
    ]


def _interval_line(intervals: Sequence[LawInterval]) -> dict[str, Any]:
    known = [law for law in intervals if law.factor is not None]
    texts = [
        f"law {law.number}, {law.runs} runs<br>95 % within {amounts.factor(law.factor)}" for law in known
    ]
    return marks_trace(
        "interval at the target",
        [law.number for law in known] or [None],  # without a point Plotly draws no axes
        [law.factor for law in known] or [None],
        texts,
        {"size": 7},
        mode="lines+markers",
        line={"color": ACCENT, "width": 2},
        xaxis="x2",
        yaxis="y2",
    )


def _figure(request: FigureRequest) -> go.Figure:
    view = savings(request.snapshot, request.store.laws.of_sweep(request.snapshot.sweep.id))
    if not view.batches and not view.intervals:
        return empty(
            request.snapshot.when_empty(
                "Cost and interval appear here when the first batch of runs is requested.",
                "none of its runs was requested",
            )
        )
    return draw_savings(view)


FIGURE: Final = SweepFigure(
    name="savings",
    title="Cost and interval",
    link="Cost",
    caption="What each batch of runs cost as a share of the full grid of independent runs, and how the interval at "
    "the target shrank with each law.",
    draw=_figure,
    needs="grid",
)
