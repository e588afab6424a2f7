"""A prediction and a law as a page shows them: a ruler of rates, what other laws say, the formula in numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator import amounts
from orchestrator.law import Coefficient, Law

AXES: Final = (("params", "N", "ln N"), ("tokens", "D", "ln D"), ("batch_tokens", "B", "ln B"))
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


def ruler(answer: Mapping[str, Any]) -> Ruler:
    """Lay out a prediction on a ruler that holds its interval, its valley and most published laws."""
    interval, valley = answer["interval"], answer["valley"]
    rate = answer["learning_rate"]
    low = min(interval["low"], valley["low"], rate / 2)
    high = max(interval["high"], valley["high"], rate * 2)
    near = [item for item in answer["published"] if rate / 12 <= item["learning_rate"] <= rate * 12]
    low = min([low, *(item["learning_rate"] for item in near)]) / 1.15
    high = max([high, *(item["learning_rate"] for item in near)]) * 1.15

    def place(value: float) -> float:
        return round(100 * math.log(value / low) / math.log(high / low), 2)

    def span(ends: Mapping[str, float]) -> tuple[float, float]:
        return place(ends["low"]), round(place(ends["high"]) - place(ends["low"]), 2)

    ticks = amounts.rate_ticks(low, high, 5)
    return Ruler(
        rate=place(rate),
        interval=span(interval),
        valley=span(valley) if valley["high"] > valley["low"] else None,
        published=tuple((place(item["learning_rate"]), item["law"]) for item in near),
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
    for name, symbol, _ in AXES:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """A law in numbers.

    Attributes:
        head: η* at the reference point.
        powers: the main terms as a power law, ``(N / 49 k)`` to the power of ``−0.43`` and so on.
        bent: whether further terms that the runs know bend the power law away from the reference point.
        logarithm: ``ln η* = …``, the terms that are a prior's alone left out beyond the main ones.
        terms: every coefficient.
        from_prior: how many of them come from a prior.
    """

    head: str
    powers: tuple[tuple[str, str], ...]
    bent: bool
    logarithm: str
    terms: tuple[Coefficient, ...]
    from_prior: int


def formula(law: Law) -> Formula:
    """Write a law as ``ln η* = …`` and as a power law, at its reference point."""
    by_name = {term.name: term for term in law.coefficients}
    reference = {symbol: amounts.count(getattr(law.reference, name)) for name, symbol, _ in AXES}
    constant = by_name["1"].value
    main = [(symbol, by_name[name]) for _, symbol, name in AXES]
    pieces = [f"{_signed(constant)[1:] if constant >= 0 else _signed(constant)}"]
    pieces += [f"{_signed(term.value)}·ln(N/N₀)".replace("N", symbol) for symbol, term in main]
    straight = {"1", *(name for _, _, name in AXES)}
    bent = [term for term in law.coefficients if term.name not in straight and not term.from_prior]
    pieces += [f"{_signed(term.value)}·{term.name}" for term in bent]
    return Formula(
        head=amounts.rate(math.exp(constant), 3),
        powers=tuple(
            (f"{symbol} / {reference[symbol]}", _signed(term.value).replace(" ", "")) for symbol, term in main
        ),
        bent=bool(bent),
        logarithm=" ".join(pieces),
        terms=law.coefficients,
        from_prior=sum(term.from_prior for term in law.coefficients),
    )


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {abs(value):.3g}"
