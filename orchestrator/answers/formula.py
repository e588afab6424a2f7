"""A law as a formula: η* as a power law of N, D and B, with its reference point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import expit

from orchestrator import amounts
from orchestrator.law import Coefficient, Law
from orchestrator.law.features import CRITICAL_EXPONENT, FEATURES, SHARPNESS, log_critical_over_batch, matrix

AXES: Final = (("params", "N"), ("tokens", "D"), ("batch_tokens", "B"))
"""The fields of a target and their symbols in a formula."""

_MAIN: Final = ("1", *(f"ln {symbol}" for _, symbol in AXES))
_AT_CRITICAL_BATCH: Final = {feature.name for feature in FEATURES if feature.at_critical_batch}
_REFERENCE_DIGITS: Final = 4
_LEAST: Final = 5e-4
"""Smaller coefficients of bends, and those below their own uncertainty, are not written."""
_EQUAL: Final = 1.02
"""A formula within this factor of its law in all of its cells is written with =."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """A law as a formula.

    Attributes:
        head: η* at the reference point.
        powers: the main terms as (base, exponent): ``(N / 49 k)`` to the power of ``−0.43`` and so on.
        bent: whether further terms that the runs determine bend the power law away from the reference point.
        logarithm: the right side of ``ln η* = …``: the main terms, and those others that the runs determine.
        where: the definitions of the terms w and s; empty where they are not written.
        reference: N₀, D₀ and B₀ in words.
        off: the largest factor, at least 1, by which ``logarithm`` differs from the law in the law's cells: the sum of
            the omitted terms and of the shifts that cells of one size share.
        terms: every coefficient.
        from_prior: the number of coefficients that come from a prior.
    """

    head: str
    powers: tuple[tuple[str, str], ...]
    bent: bool
    logarithm: str
    where: str
    reference: str
    off: float
    terms: tuple[Coefficient, ...]
    from_prior: int

    @property
    def sign(self) -> str:
        """``=`` where the power law is within 2 % of the law in its cells, else ``≈``."""
        return "≈" if self.bent or self.off > _EQUAL else "="

    @property
    def power_law(self) -> str:
        """The right side of ``η* = …`` as plain text that breaks between its factors only."""
        powers = (f"({base})^{exponent}".replace(" ", amounts.SPACE) for base, exponent in self.powers)
        return f" ·{amounts.SPACE}".join([self.head, *powers])

    @property
    def lines(self) -> tuple[str, ...]:
        """The law in two lines that a person can use, and the point they count from."""
        return (
            f"η* {self.sign} {self.power_law}",
            f"ln η* ≈ {self.logarithm}",
            *([f"with {self.where}"] if self.where else []),
            f"{self.reference}: the geometric mean of the cells. "
            f"In these cells the law itself is within {amounts.percent(self.off - 1)} of the second line.",
        )

    def __str__(self) -> str:
        return "\n".join(self.lines)


def formula(law: Law) -> Formula:
    """Write a law as ``ln η* = …`` and as a power law, at its reference point."""
    by_name = {term.name: term for term in law.coefficients}
    counted = {
        symbol: amounts.count(getattr(law.reference, name), _REFERENCE_DIGITS) for name, symbol in AXES
    }
    bent = [
        term
        for term in law.coefficients
        if term.name not in _MAIN and not term.from_prior and abs(term.value) >= max(_LEAST, term.sd)
    ]
    main = [name for name in _MAIN if name not in law.without]
    shown = [*(by_name[name] for name in main), *bent]
    constant = shown[0].value
    pieces = [f"{constant:.3g}".replace("-", "−")]
    pieces += [f"{_signed(term.value)}·{_from_reference(term.name)}" for term in shown[1:]]
    return Formula(
        head=amounts.rate(math.exp(constant), 3),
        powers=tuple(
            (f"{symbol} / {counted[symbol]}", _signed(by_name[f"ln {symbol}"].value).replace(" ", ""))
            for _, symbol in AXES
            if f"ln {symbol}" in main
        ),
        bent=bool(bent),
        logarithm=" ".join(pieces),
        where=_where(law) if _AT_CRITICAL_BATCH & {term.name for term in bent} else "",
        reference=f"N₀ = {counted['N']} parameters, D₀ = {counted['D']} tokens, B₀ = {counted['B']} tokens a batch",
        off=_off(law, {term.name for term in shown}),
        terms=law.coefficients,
        from_prior=sum(term.from_prior for term in law.coefficients),
    )


def _where(law: Law) -> str:
    """Definitions of w and s: the batch over the critical one, and the bend there (orchestrator/law/features.py)."""
    sharp = SHARPNESS * log_critical_over_batch(law.reference)
    return (
        f"w = ln(B/B₀) − {CRITICAL_EXPONENT}·ln(D/D₀), "
        f"s = {np.logaddexp(0.0, sharp) / SHARPNESS:.4g} − ln(1 + exp({sharp:.4g} − {SHARPNESS:g}·w))/{SHARPNESS:g} − "
        f"{expit(sharp):.4g}·w"
    )


def _from_reference(term: str) -> str:
    """A term relative to the reference: ``ln D·ln B`` as ``ln(D/D₀)·ln(B/B₀)``."""
    for _, symbol in AXES:
        term = term.replace(f"ln {symbol}", f"ln({symbol}/{symbol}₀)")
    return term


def _off(law: Law, shown: set[str]) -> float:
    """The largest factor between the shown terms and the law in its cells."""
    kept = np.array([term.value if term.name in shown else 0.0 for term in law.coefficients])
    written = matrix(law.reference.coordinates(law.points), law.reference) @ kept
    return float(np.exp(np.abs(written - law.band(law.points)[0]).max()))


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {abs(value):.3g}"
