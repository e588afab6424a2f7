"""A prediction as a page shows it: a ruler of rates, how far it reaches, what other laws say beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator import amounts
from orchestrator.answers.formula import AXES
from orchestrator.documents.predictions import Interval, PredictionDocument, Valley

FAR: Final = 1.05
"""A target this far beyond the runs is called an extrapolation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruler:
    """A logarithmic ruler of rates; every place is a percentage from its left end.

    Attributes:
        rate: where the answer is.
        interval, valley: (left, width).
        published: (place, law) of the published laws on it.
        ticks: (place, label).
    """

    rate: float
    interval: tuple[float, float]
    valley: tuple[float, float] | None
    published: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]


def ruler(answer: PredictionDocument) -> Ruler:
    """Lay out a prediction on a ruler that holds its interval, its valley and most published laws."""
    interval, valley, rate = answer.interval, answer.valley, answer.learning_rate
    low = min(interval.low, valley.low, rate / 2)
    high = max(interval.high, valley.high, rate * 2)
    near = [item for item in answer.published if rate / 12 <= item.learning_rate <= rate * 12]
    low = min([low, *(item.learning_rate for item in near)]) / 1.15
    high = max([high, *(item.learning_rate for item in near)]) * 1.15

    def place(value: float) -> float:
        return round(100 * math.log(value / low) / math.log(high / low), 2)

    def span(ends: Interval | Valley) -> tuple[float, float]:
        return place(ends.low), round(place(ends.high) - place(ends.low), 2)

    ticks = amounts.rate_ticks(low, high, 5)
    return Ruler(
        rate=place(rate),
        interval=span(interval),
        valley=span(valley) if valley.high > valley.low else None,
        published=tuple((place(item.learning_rate), item.law) for item in near),
        ticks=tuple((place(value), label) for value, label in zip(*ticks, strict=True)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far the target lies from the runs on one axis, in words."""

    symbol: str
    text: str
    beyond: bool


def reaches(extrapolation: Mapping[str, float]) -> tuple[Reach, ...]:
    """Tell the extrapolation per axis: ``2.5× the largest N tried``."""
    found = []
    for name, symbol in AXES:
        ratio = extrapolation[name]
        beyond = ratio > FAR
        text = f"{_ratio(ratio)} the largest {symbol} tried" if beyond else f"{symbol} within what was tried"
        found.append(Reach(symbol=symbol, text=text, beyond=beyond))
    return tuple(found)


def beside(learning_rate: float, other: float) -> str:
    """How another law's rate compares with the answer: ``1.7× higher``."""
    ratio = other / learning_rate
    if 0.97 <= ratio <= 1.03:
        return "the same"
    return f"{_ratio(ratio)} higher" if ratio > 1 else f"{_ratio(1 / ratio)} lower"


def _ratio(value: float) -> str:
    return f"{amounts.count(value, 2)}×"
