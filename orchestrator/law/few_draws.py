"""The scales that few draws determine, integrated out: those of the sizes.

A sweep has three to six sizes. Their shifts hardly tell how large shifts are, and recipes differ: 0.03 to 0.05 in ln η* for
Step Law's sizes (arXiv 2503.04715), 0.1 to 0.25 for OpenEuroLLM's (arXiv 2608.28308). An estimate of such a scale s would
be overconfident. So the pooled unknowns are averaged over a grid of scales, each weighted by its half-Cauchy prior
(Gelman 2006, Bayesian Analysis 1, 515) and by the evidence. With z the unknowns whose priors the scales set, all others
eliminated,

    z | s ~ N((S + P_s)⁻¹ b, (S + P_s)⁻¹)      ln p(runs | s) = ½ (ln|P_s| − ln|S + P_s| + bᵀ(S + P_s)⁻¹ b) + constant

| symbol | shape | what |
|---|---|---|
| S, b | [z, z], [z] | information of the runs on z, and its vector |
| P_s | [grid, z] | prior precision of z; its prior mean is 0 |
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from orchestrator.law.observations import Array, Index
from orchestrator.law.pooled import PooledModel, PooledSystem
from orchestrator.law.scales import Scales

NEGLIGIBLE = 1e-4  # weight of a grid point, relative to the largest, below which it is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class UncertainScale:
    """A scale with a half-Cauchy prior, cut off where no recorded recipe is.

    Attributes:
        name: In `Scales`.
        width: Of the prior: half of the mass of one without a cut lies below it.
        low, high: Ends of the grid, over the width; `high` is the cut.
        points: Of the grid, which is logarithmic.
    """

    name: str
    width: float
    low: float
    high: float
    points: int

    @property
    def grid(self) -> Array:
        """The values, shape [points]."""
        return self.width * np.geomspace(self.low, self.high, self.points)

    @property
    def log_prior(self) -> Array:
        """The prior of each value, per unit of ln s, shape [points]."""
        ratio = self.grid / self.width
        return np.asarray(np.log(ratio) - np.log1p(ratio**2))


UNCERTAIN: Final = (
    UncertainScale(name="size", width=0.02, low=0.2, high=8.0, points=5),
    UncertainScale(name="path", width=0.3, low=0.08, high=1.7, points=7),
    UncertainScale(name="size_bend", width=0.6, low=0.2, high=12.0, points=5),
)
"""They stay at their default in the iterations of a fit and are integrated out at its end."""
GRID: Final = np.array(list(product(*(scale.grid for scale in UNCERTAIN))))
LOG_PRIOR: Final = np.array(list(product(*(scale.log_prior for scale in UNCERTAIN)))).sum(axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eliminated:
    """The information on z, and the other unknowns given z.

    Attributes:
        at, rest: Where z and the others stand in the pooled unknowns, shape [z] and [rest].
        information, vector: S and b.
        covariance: Of the others given z, shape [rest, rest].
        offset, slope: Their mean given z is offset − slope·z, shape [rest] and [rest, z].
    """

    at: Index
    rest: Index
    information: Array
    vector: Array
    covariance: Array
    offset: Array
    slope: Array

    @classmethod
    def of(cls, system: PooledSystem, at: Index) -> Self:
        """Eliminates all unknowns but those at `at`."""
        rest = np.setdiff1d(np.arange(system.right.size), at)
        prior = system.prior[rest]
        factor = cho_factor(system.normal[np.ix_(rest, rest)] + np.diag(prior), lower=True)
        cross = system.normal[np.ix_(rest, at)]
        offset = cho_solve(factor, system.right[rest] + prior * system.mean[rest])
        slope = cho_solve(factor, cross)
        return cls(
            at=at,
            rest=rest,
            information=system.normal[np.ix_(at, at)] - cross.T @ slope,
            vector=system.right[at] - cross.T @ offset,
            covariance=cho_solve(factor, np.eye(rest.size)),
            offset=offset,
            slope=slope,
        )

    def posterior(self, precision: Array) -> tuple[Array, Array, Array]:
        """The posterior of z at each of some prior precisions, shape [grid, z].

        Returns:
            (covariance [grid, z, z], mean [grid, z], ln evidence up to a constant [grid]).
        """
        whole = self.information + precision[:, :, None] * np.eye(self.at.size)
        covariance = np.linalg.inv(whole)
        mean = covariance @ self.vector
        evidence = np.log(precision).sum(axis=1) - np.linalg.slogdet(whole)[1] + mean @ self.vector
        return np.asarray(covariance), np.asarray(mean), np.asarray(evidence / 2)

    def whole_mean(self, mean: Array) -> Array:
        """The mean of all unknowns from that of z."""
        found = np.empty(self.at.size + self.rest.size)
        found[self.at], found[self.rest] = mean, self.offset - self.slope @ mean
        return found

    def whole_covariance(self, covariance: Array) -> Array:
        """The covariance of all unknowns from that of z."""
        found = np.empty((self.at.size + self.rest.size,) * 2)
        cross = -self.slope @ covariance
        found[np.ix_(self.at, self.at)] = covariance
        found[np.ix_(self.rest, self.at)], found[np.ix_(self.at, self.rest)] = cross, cross.T
        found[np.ix_(self.rest, self.rest)] = self.covariance - cross @ self.slope.T
        return np.asarray((found + found.T) / 2)


def integrated(
    model: PooledModel, plain: PooledSystem, careful: PooledSystem, scales: Scales
) -> tuple[Array, Array, Scales]:
    """The pooled unknowns with the uncertain scales integrated out.

    Args:
        model: The pooled rows and their priors.
        plain: The system at the fitted noise: determines means and weights.
        careful: The system at a cautious noise: determines covariances.
        scales: The other scales.

    Returns:
        (mean [q], covariance [q, q], the scales with the root mean squares of the uncertain ones: a new size draws its
        shift with that variance).
    """
    at, column, unit = model.scaled_by([scale.name for scale in UNCERTAIN])
    precision = (GRID[:, column] * unit) ** -2.0
    runs = Eliminated.of(plain, at)
    _, mean, evidence = runs.posterior(precision)
    log_weight = LOG_PRIOR + evidence
    kept = log_weight > log_weight.max() + np.log(NEGLIGIBLE)
    weight = np.exp(log_weight[kept] - log_weight.max())
    weight /= weight.sum()
    centre = weight @ mean[kept]
    apart = mean[kept] - centre
    cautious = Eliminated.of(careful, at)
    within, _, _ = cautious.posterior(precision[kept])
    spread = np.tensordot(weight, within, axes=1) + (weight[:, None] * apart).T @ apart
    squares = dict(zip((scale.name for scale in UNCERTAIN), weight @ np.square(GRID[kept]), strict=True))
    return (
        runs.whole_mean(centre),
        cautious.whole_covariance(spread),
        replace(scales, **{name: float(np.sqrt(square)) for name, square in squares.items()}),
    )
