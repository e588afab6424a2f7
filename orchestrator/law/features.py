"""The terms of ln η* and their priors: a power law in N, D and B that bends at the critical batch.

A further term is one line in `FEATURES`, and its column in `matrix` unless it is a product of powers of the columns there.

n, d, b = ln N, ln D, ln B over a reference (the geometric mean of the cells), so a coefficient is an exponent at the
reference. Every prior is Gaussian and stated here; a notice names the exponents that come from it. The sds of the
second-degree terms are in units of a scale: `drift`, which is fitted (scales.py), or for (ln N)² a scale of its own, which
is integrated out (few_draws.py): sweeps have few sizes, and recipes that are straight in D and B are not so in N
(arXiv 2606.29158).

    w = ln(B / B_c(D)) over its value at the reference      B_c(D) = 0.58·D^0.571 tokens (Step Law, arXiv 2503.04715, eq. 1)
    s = −ln(1 + (B_c / B)^k) / k without its value and slope there      k = 3

Below the critical batch the optimal rate rises with the batch, above it hardly: η ∝ (1 + (B_c / B)^k)^(−ρ/k), with
ρ = k = 1 for gradient descent (McCandlish et al., arXiv 1812.06162, section 2.2), ρ less and the bend sharper under Adam. A longer horizon moves B_c, so
the exponent of D at a fixed batch rises with the batch, and batches tried at one horizon are informative about another.
ρ is the coefficient of s and is fitted.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import expit

from orchestrator.cells import Point
from orchestrator.law.observations import Array, point_array
from orchestrator.law.scales import Scales

CRITICAL_BATCH, CRITICAL_EXPONENT = 0.58, 0.571
"""B_c(D) = 0.58·D^0.571 tokens: the best batch of Step Law's runs; measured critical batches grow as D^0.47 and more
(arXiv 2410.21676)."""

SHARPNESS = 3.0
"""k: recorded dense runs bend within a factor of about four in B; 1 to 4 predict them alike (docs/experiments.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One term: a product of powers of the columns, in their order, with a prior N(mean, sd²) on its coefficient.

    `scale` names the scale whose units the sd is in (scales.py).
    """

    name: str
    powers: tuple[int, ...]
    mean: float
    sd: float
    scale: str | None = None

    @property
    def degree(self) -> int:
        """The total degree: 1 for an exponent, 2 for the drift of exponents."""
        return sum(self.powers)

    @property
    def at_critical_batch(self) -> bool:
        """Whether it is a power of w or s."""
        return any(self.powers[3:])

    @property
    def bends(self) -> bool:
        """Whether it bends the power law away from the reference."""
        return self.degree > 1 or self.at_critical_batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """One coefficient of ln η*, at the reference point.

    Attributes:
        name: "1", "ln N", "ln D", "ln B", "ln D·ln B", …
        value, sd: Posterior mean and standard deviation.
        prior_sd: Standard deviation of its prior.
        from_prior: Whether its sd is hardly less than the prior's.
    """

    name: str
    value: float
    sd: float
    prior_sd: float
    from_prior: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference(Point):
    """The point whose logarithms n, d, b count from: the geometric mean of the cells."""

    @classmethod
    def amid(cls, points: Array) -> Self:
        """The geometric mean of cells at these (N, D, B), shape [cells, 3]."""
        params, tokens, batch_tokens = np.exp(np.log(points).mean(axis=0)).tolist()
        return cls(params=params, tokens=tokens, batch_tokens=batch_tokens)

    def coordinates(self, points: Array) -> Array:
        """(n, d, b) at points (N, D, B), shape [m, 3] each."""
        return np.asarray(np.log(points) - np.log(point_array([self])))


LEVEL_SD = 3.0
"""Prior sd of ln η* itself round the middle of the rates tried: deliberately wide."""

FEATURES = (
    Feature(name="1", powers=(0, 0, 0, 0, 0), mean=0.0, sd=LEVEL_SD),
    # Published exponents run from -0.71 to -0.22 in N and, by batch policy, from -0.35 to +0.31 in D.
    Feature(name="ln N", powers=(1, 0, 0, 0, 0), mean=-0.5, sd=0.3),
    Feature(name="ln D", powers=(0, 1, 0, 0, 0), mean=0.0, sd=0.3),
    Feature(name="ln B", powers=(0, 0, 1, 0, 0), mean=0.25, sd=0.3),
    # Gradient descent has 1; 0 is a straight power law.
    Feature(name="s", powers=(0, 0, 0, 0, 1), mean=0.0, sd=1.0),
    Feature(name="w²", powers=(0, 0, 0, 2, 0), mean=0.0, sd=0.05, scale="drift"),
    Feature(name="ln D·ln B", powers=(0, 1, 1, 0, 0), mean=0.0, sd=0.03, scale="drift"),
    Feature(name="ln N·ln B", powers=(1, 0, 1, 0, 0), mean=0.0, sd=0.05, scale="drift"),
    Feature(name="ln N·ln D", powers=(1, 1, 0, 0, 0), mean=0.0, sd=0.03, scale="drift"),
    Feature(name="(ln D)²", powers=(0, 2, 0, 0, 0), mean=0.0, sd=0.04, scale="drift"),
    Feature(name="(ln N)²", powers=(2, 0, 0, 0, 0), mean=0.0, sd=0.01, scale="size_bend"),
)


LEFT_OUT_SD = 1e-6  # prior sd of a term that is left out


def prior_sds(scales: Scales, without: Collection[str] = ()) -> Array:
    """Prior sds of the coefficients at these scales, shape [features]."""
    return np.array(
        [
            LEFT_OUT_SD
            if feature.name in without
            else feature.sd * (1.0 if feature.scale is None else getattr(scales, feature.scale))
            for feature in FEATURES
        ]
    )


def matrix(coordinates: Array, reference: Reference) -> Array:
    """The features at coordinates (n, d, b) over `reference`, shape [m, 3] -> [m, features]."""
    above = coordinates[:, 2] - CRITICAL_EXPONENT * coordinates[:, 1]
    sharp = SHARPNESS * log_critical_over_batch(reference)
    bend = (np.logaddexp(0.0, sharp) - np.logaddexp(0.0, sharp - SHARPNESS * above)) / SHARPNESS
    columns = np.column_stack([coordinates, above, bend - above * expit(sharp)])
    return monomials(columns, FEATURES)


def log_critical_over_batch(reference: Reference) -> float:
    """ln(B_c / B) at the reference: far below zero, the optimal rate hardly depends on the batch."""
    return math.log(CRITICAL_BATCH / reference.batch_tokens) + CRITICAL_EXPONENT * math.log(reference.tokens)


def monomials(columns: Array, features: Sequence[Feature]) -> Array:
    """Products of powers of the columns, shape [m, columns] -> [m, features]."""
    found = np.ones((len(columns), len(features)))
    for term, feature in enumerate(features):
        for column, power in enumerate(feature.powers):
            for _ in range(power):
                found[:, term] *= columns[:, column]
    return found
