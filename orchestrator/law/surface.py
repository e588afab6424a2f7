"""The loss at the bottom of a cell as a smooth function of N, D and B, to predict losses of other cells.

ln L_min is a quadratic with Gaussian priors in b and in s(n), s(d), s(x) = (1 − e^{−0.3 x}) / 0.3: the gain from N and D
shrinks as a power of them (Chinchilla, arXiv 2203.15556, whose exponents are 0.34 and 0.28), and B has little effect.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from orchestrator.law.features import Feature, monomials
from orchestrator.law.observations import Array

TERMS = (
    Feature(name="1", powers=(0, 0, 0), mean=0.0, sd=30.0),
    Feature(name="s(N)", powers=(1, 0, 0), mean=-0.06, sd=0.06),
    Feature(name="s(D)", powers=(0, 1, 0), mean=-0.06, sd=0.06),
    Feature(name="ln B", powers=(0, 0, 1), mean=0.0, sd=0.05),
    Feature(name="s(N)²", powers=(2, 0, 0), mean=0.0, sd=0.004),
    Feature(name="s(D)²", powers=(0, 2, 0), mean=0.0, sd=0.004),
    Feature(name="s(N)·s(D)", powers=(1, 1, 0), mean=0.0, sd=0.004),
    Feature(name="(ln B)²", powers=(0, 0, 2), mean=0.005, sd=0.01),
    Feature(name="s(D)·ln B", powers=(0, 1, 1), mean=0.0, sd=0.01),
    Feature(name="s(N)·ln B", powers=(1, 0, 1), mean=0.0, sd=0.01),
)
RESIDUAL_PRIOR, RESIDUAL_WEIGHT = 0.005, 3.0
ROUNDS = 8
SATURATION = 0.3  # exponent of the gain from N and from D


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """ln L_min: coefficients of TERMS, their covariance [terms, terms], and the scatter of cells round the surface."""

    coefficients: Array
    covariance: Array
    scatter: float

    def at(self, coordinates: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of ln L_min at coordinates (n, d, b), shape [m, 3] -> [m], [m]."""
        rows = features(coordinates)
        variance = ((rows @ self.covariance) * rows).sum(axis=1) + self.scatter**2
        return rows @ self.coefficients, np.sqrt(variance)

    def to_document(self) -> dict[str, Any]:
        """As a JSON-able mapping."""
        return {
            "terms": [term.name for term in TERMS],
            "coefficients": self.coefficients.tolist(),
            "covariance": self.covariance.tolist(),
            "scatter": self.scatter,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_document`."""
        return cls(
            coefficients=np.array(document["coefficients"]),
            covariance=np.array(document["covariance"]),
            scatter=float(document["scatter"]),
        )


def features(coordinates: Array) -> Array:
    """The terms at coordinates (n, d, b), shape [m, 3] -> [m, terms]."""
    saved = -np.expm1(-SATURATION * np.clip(coordinates[:, :2], -20.0, None)) / SATURATION
    return monomials(np.column_stack([saved, coordinates[:, 2]]), TERMS)


def fit_surface(coordinates: Array, log_loss: Array, variance: Array) -> Surface:
    """Fits the surface to the bottoms of cells, robustly.

    Args:
        coordinates: (n, d, b) of the cells, shape [cells, 3].
        log_loss: ln of the loss at each bottom, shape [cells].
        variance: Its variance from the bowl, shape [cells].
    """
    rows = features(coordinates)
    level = float(np.median(log_loss))
    prior = np.array([term.sd for term in TERMS]) ** -2.0
    mean = np.array([term.mean for term in TERMS])
    mean[0] = level
    scatter2 = RESIDUAL_PRIOR**2
    robust = np.ones(len(rows))
    for _ in range(ROUNDS):
        weight = robust / (variance + scatter2)
        normal = rows.T @ (weight[:, None] * rows) + np.diag(prior)
        factor = cho_factor(normal, lower=True)
        coefficients = cho_solve(factor, rows.T @ (weight * log_loss) + prior * mean)
        covariance = cho_solve(factor, np.eye(len(TERMS)))
        residual = log_loss - rows @ coefficients
        robust = 5 / (4 + residual**2 / (variance + scatter2))
        square = residual**2 + ((rows @ covariance) * rows).sum(axis=1)
        scatter2 = (RESIDUAL_WEIGHT * RESIDUAL_PRIOR**2 + (robust * square).sum()) / (
            RESIDUAL_WEIGHT + len(rows)
        )
    return Surface(coefficients=coefficients, covariance=covariance, scatter=float(np.sqrt(scatter2)))
