"""A prediction as a page shows it: a ruler of rates, the extrapolation in words, and other laws beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator import amounts
from orchestrator.answers.formula import AXES
from orchestrator.documents.predictions import Interval, PredictionDocument, Valley

FAR: Final = 1.05
"""Target over the largest value tried above which it is an extrapolation."""

WIDE: Final = 40.0
"""High over low end above which a ruler has ticks at 1 and 3 of each decade, not at 1, 2 and 5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRuler:
    """A logarithmic ruler of rates; every position is a percentage from its left end.

    Attributes:
        rate: the prediction.
        interval, valley: (left, width).
        published: (position, law) of the published laws on it.
        ticks: (position, label).
    """

    rate: float
    interval: tuple[float, float]
    valley: tuple[float, float] | None
    published: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]


def ruler(answer: PredictionDocument) -> RateRuler:
    """Lay out a prediction on a ruler that holds its interval, its valley and the published laws within ×/÷ 12."""
    interval, valley, rate = answer.interval, answer.valley, answer.learning_rate
    near = [item for item in answer.published if rate / 12 <= item.learning_rate <= rate * 12]
    others = [item.learning_rate for item in near]
    low = min(interval.low, valley.low, rate / 2, *others) / 1.15
    high = max(interval.high, valley.high, rate * 2, *others) * 1.15

    def position(value: float) -> float:
        return round(100 * math.log(value / low) / math.log(high / low), 2)

    def span(ends: Interval | Valley) -> tuple[float, float]:
        return position(ends.low), round(position(ends.high) - position(ends.low), 2)

    return RateRuler(
        rate=position(rate),
        interval=span(interval),
        valley=span(valley) if valley.high > valley.low else None,
        published=tuple((position(item.learning_rate), item.law) for item in near),
        ticks=tuple((position(tick), amounts.rate(tick)) for tick in _ticks(low, high)),
    )


def _ticks(low: float, high: float) -> list[float]:
    digits = (1, 3) if high > WIDE * low else (1, 2, 5)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
    return [tick for tick in ticks if low <= tick <= high]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extrapolation:
    """The target against the largest value tried, on one axis, in words."""

    text: str
    beyond: bool


def extrapolations(ratios: Mapping[str, float]) -> tuple[Extrapolation, ...]:
    """The extrapolation on each axis: ``2.5× the largest N tried``."""
    found = []
    for name, symbol in AXES:
        beyond = ratios[name] > FAR
        text = (
            f"{_ratio(ratios[name])} the largest {symbol} tried"
            if beyond
            else f"{symbol} within what was tried"
        )
        found.append(Extrapolation(text=text, beyond=beyond))
    return tuple(found)


def beside(learning_rate: float, other: float) -> str:
    """Another law's rate compared with the prediction: ``1.7× higher``."""
    ratio = other / learning_rate
    if 0.97 <= ratio <= 1.03:
        return "the same"
    return f"{_ratio(ratio)} higher" if ratio > 1 else f"{_ratio(1 / ratio)} lower"


def _ratio(value: float) -> str:
    return f"{amounts.count(value, 2)}×"
