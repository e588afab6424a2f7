"""The law in numbers: η* against N and against D, measured and fitted, with bands and the target.

A line holds everything but its own axis fixed: slices at the cells' horizons (or sizes), all at one batch; the
target's line at the target's own horizon (or size) and batch, so that it passes through the prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from api.figures.numbers.snapshot import Snapshot, place
from api.figures.numbers.thinning import evenly
from orchestrator import amounts
from orchestrator.cells import Point
from orchestrator.knowledge import target_of
from orchestrator.law import Bowl, BowlStatus, Law
from orchestrator.law.bowl import Z95

AxisName = Literal["params", "tokens"]
Array = NDArray[np.float64]

LINE_POINTS: Final = 60
MOST_LINES: Final = 5

STATUSES: Final = (BowlStatus.INTERIOR, BowlStatus.EDGE_LOW, BowlStatus.EDGE_HIGH)
"""Bowls that say something of their optimum: where it is, or on which side of the rates tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The optimum of one cell.

    Attributes:
        x: the cell's N or D.
        other: its D or N: the slice it belongs to.
        learning_rate, low, high: η* and its 95 % interval.
        status: a minimum, or a bound on an edge of the rates tried.
        held_out: whether the law's error was judged on it.
        on_slice: whether its batch is the slices' batch.
        text: what the pointer tells.
    """

    x: float
    other: float
    learning_rate: float
    low: float
    high: float
    status: BowlStatus
    held_out: bool
    on_slice: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """η* along an axis at a fixed other value; ``other`` is that value."""

    other: float
    x: tuple[float, ...]
    learning_rate: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The target's line with its two 95 % bands: of the law itself, and of the optimum a new cell will show."""

    line: Line
    low: tuple[float, ...]
    high: tuple[float, ...]
    outer_low: tuple[float, ...]
    outer_high: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The prediction at the target: rate and interval of the level it was recorded with."""

    target: Point
    learning_rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisView:
    """η* against one axis."""

    name: AxisName
    measured: tuple[Measured, ...]
    lines: tuple[Line, ...]
    band: Band
    target: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LawView:
    """The law seen along N and along D.

    Attributes:
        batch_tokens: B of the slices.
        several_batches: whether the cells have more than one.
        answer: the prediction at the sweep's target; None where it was refused.
    """

    params: AxisView
    tokens: AxisView
    batch_tokens: float
    several_batches: bool
    answer: Answer | None


def law_view(snapshot: Snapshot) -> LawView | None:
    """Look at the newest law along both axes; None before the first law."""
    law = snapshot.law
    if law is None or not law.bowls:
        return None
    target = _target(snapshot)
    answer = _answer(snapshot, target)
    batches = sorted({bowl.batch_tokens for bowl in law.bowls})
    batch = min(batches, key=lambda value: abs(math.log(value / target.batch_tokens)))
    return LawView(
        params=_axis_view(law, "params", batch, target, answer),
        tokens=_axis_view(law, "tokens", batch, target, answer),
        batch_tokens=batch,
        several_batches=len(batches) > 1,
        answer=answer,
    )


def _target(snapshot: Snapshot) -> Point:
    """Where the recorded prediction was asked: a sweep that names no target aims at its costliest cell, bowl or not."""
    told = snapshot.record.prediction.get("target") if snapshot.record is not None else None
    if told is not None:
        return Point(params=told["params"], tokens=told["tokens"], batch_tokens=told["batch_tokens"])
    return target_of(snapshot.sweep.spec, snapshot.cells)


def _answer(snapshot: Snapshot, target: Point) -> Answer | None:
    """The recorded prediction; None where the record holds a refusal."""
    prediction = snapshot.record.prediction if snapshot.record is not None else {}
    if "learning_rate" not in prediction:
        return None
    interval = prediction["interval"]
    return Answer(
        target=target,
        learning_rate=prediction["learning_rate"],
        low=interval["low"],
        high=interval["high"],
    )


def _axis_view(law: Law, name: AxisName, batch: float, target: Point, answer: Answer | None) -> AxisView:
    other_name: AxisName = "tokens" if name == "params" else "params"
    values = [getattr(bowl, name) for bowl in law.bowls]
    aim = getattr(target, name)
    x = _steps([*values, aim] if answer is not None else values)
    others = evenly(
        sorted({getattr(b, other_name) for b in law.bowls if b.batch_tokens == batch}), MOST_LINES
    )
    at = target if answer is not None else _largest(law.bowls)
    return AxisView(
        name=name,
        measured=_measured(law, name, other_name, batch),
        lines=tuple(_line(law, name, x, other, batch) for other in others),
        band=_band(law, name, x, getattr(at, other_name), at.batch_tokens),
        target=aim if answer is not None else None,
    )


def _largest(bowls: Sequence[Bowl]) -> Point:
    """The costliest cell: what the band is drawn for where the target has no answer."""
    bowl = max(bowls, key=lambda b: (b.params * b.tokens, b.batch_tokens))
    return Point(params=bowl.params, tokens=bowl.tokens, batch_tokens=bowl.batch_tokens)


def _steps(values: Sequence[float]) -> Array:
    """Even steps in the logarithm, a little beyond both ends."""
    low, high = min(values), max(values)
    pad = max((high / low) ** 0.04, 1.05)
    # Uneven ends: a step that met a cell's own N would show that cell's own shift as a kink.
    return np.geomspace(low / pad, high * pad * 1.0007, LINE_POINTS)


def _coordinates(name: AxisName, x: Array, other: float, batch: float) -> tuple[Array, Array, Array]:
    fixed, batches = np.full_like(x, other), np.full_like(x, batch)
    return (x, fixed, batches) if name == "params" else (fixed, x, batches)


def _line(law: Law, name: AxisName, x: Array, other: float, batch: float) -> Line:
    mean, _ = law.band(*_coordinates(name, x, other, batch))
    return Line(other=other, x=tuple(x.tolist()), learning_rate=tuple(np.exp(mean).tolist()))


def _band(law: Law, name: AxisName, x: Array, other: float, batch: float) -> Band:
    mean, sd = law.band(*_coordinates(name, x, other, batch))
    _, outer = law.prediction_band(*_coordinates(name, x, other, batch))

    def rates(offset: Array) -> tuple[float, ...]:
        return tuple(np.exp(mean + offset).tolist())

    return Band(
        line=Line(other=other, x=tuple(x.tolist()), learning_rate=rates(0 * sd)),
        low=rates(-Z95 * sd),
        high=rates(Z95 * sd),
        outer_low=rates(-Z95 * outer),
        outer_high=rates(Z95 * outer),
    )


def _measured(law: Law, name: AxisName, other_name: AxisName, batch: float) -> tuple[Measured, ...]:
    cells = law.heldout.cells if law.heldout is not None else ()
    held_out = {place(cell.params, cell.tokens, cell.batch_tokens) for cell in cells}
    return tuple(
        Measured(
            x=getattr(bowl, name),
            other=getattr(bowl, other_name),
            learning_rate=bowl.learning_rate,
            low=bowl.low,
            high=bowl.high,
            status=bowl.status,
            held_out=place(bowl.params, bowl.tokens, bowl.batch_tokens) in held_out,
            on_slice=bowl.batch_tokens == batch,
            text=bowl_text(bowl),
        )
        for bowl in law.bowls
        if bowl.status in STATUSES
    )


def bowl_text(bowl: Bowl) -> str:
    """What the pointer tells of a cell's optimum."""
    cell = f"N {amounts.count(bowl.params)} · D {amounts.count(bowl.tokens)} · B {amounts.count(bowl.batch_tokens)}"
    if bowl.status is not BowlStatus.INTERIOR:
        side = "below" if bowl.status is BowlStatus.EDGE_LOW else "above"
        return f"{cell}<br>no minimum yet: it lies {side} the rates tried"
    interval = f"{amounts.rate(bowl.low)} – {amounts.rate(bowl.high)}"
    return f"{cell}<br>η* {amounts.rate(bowl.learning_rate, 3)}, 95 % {interval}<br>{bowl.runs} runs"
