"""The loss that a run at any (N, D, B) will have at its best rate, with an interval that holds in cells without runs.

    ln L_min = quadratic in s(n), s(d) + batch terms + shift of the size + smooth departure of (N, D) + scatter of the cell

with s(x) = (1 − e^{−0.3 x}) / 0.3, in which a power law is straight (Chinchilla, arXiv 2203.15556, whose exponents are 0.34
and 0.28); the logarithm then bends it as the priors of second degree say. The batch enters through v(w), w = b − 0.5 d, a
valley that is steep where few steps are left. Departures from so simple a surface run on from one horizon to the next: a
Gaussian process over (n, d) carries them a little beyond the runs, and makes the interval grow there.

`surface.py` is the same without departures: the planner's, kept in a law's document. Here everything follows from the bowls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from orchestrator.cells import CLOSE
from orchestrator.law.best_batch import sizes_of
from orchestrator.law.bottoms import Bottoms
from orchestrator.law.bowl import Bowl
from orchestrator.law.bowl_shape import rise
from orchestrator.law.features import Feature, monomials
from orchestrator.law.observations import Array, rows_among
from orchestrator.law.surface import SATURATION

SLOPE = -0.06  # of ln L in s(n) and in s(d)
TERMS = (
    Feature(name="1", powers=(0, 0, 0, 0, 0, 0), mean=0.0, sd=30.0),
    Feature(name="s(N)", powers=(1, 0, 0, 0, 0, 0), mean=SLOPE, sd=0.06),
    Feature(name="s(D)", powers=(0, 1, 0, 0, 0, 0), mean=SLOPE, sd=0.06),
    # A loss that is a sum of power laws: what its logarithm has of second degree.
    Feature(name="s(N)²", powers=(2, 0, 0, 0, 0, 0), mean=-(SLOPE**2) / 2, sd=0.004),
    Feature(name="s(D)²", powers=(0, 2, 0, 0, 0, 0), mean=-(SLOPE**2) / 2, sd=0.004),
    Feature(name="s(N)·s(D)", powers=(1, 1, 0, 0, 0, 0), mean=-(SLOPE**2), sd=0.004),
    Feature(name="ln B", powers=(0, 0, 0, 0, 1, 0), mean=0.0, sd=0.05),
    Feature(name="ln N·ln B", powers=(0, 0, 1, 0, 1, 0), mean=0.0, sd=0.01),
    Feature(name="ln D·ln B", powers=(0, 0, 0, 1, 1, 0), mean=0.0, sd=0.01),
    Feature(name="v(w)", powers=(0, 0, 0, 0, 0, 1), mean=0.0025, sd=0.005),
    # The valley is flatter at long horizons: more steps are left at any batch.
    Feature(name="s(D)·v(w)", powers=(0, 1, 0, 0, 0, 1), mean=-0.0007, sd=0.001),
    Feature(name="s(N)·v(w)", powers=(1, 0, 0, 0, 0, 1), mean=0.0, sd=0.001),
)
"""Terms in the columns s(n), s(d), n, d, b, v(w)."""
TERMS_END = len(TERMS)
VALLEY = [at for at, term in enumerate(TERMS) if term.powers[5]]
MISFIT_GROWTH = 0.12  # of the rise of the valley
MEAN, SD = (np.array(column) for column in zip(*((term.mean, term.sd) for term in TERMS), strict=True))
BATCH_EXPONENT, STEEPER = 0.5, 0.5  # w = b − 0.5 d, and the asymmetry of the valley in it
PRIOR_SDS, PRIOR_WEIGHTS = np.array([0.0015, 0.004, 0.003]), np.array([3.0, 2.0, 3.0])
"""Prior modes of the standard deviations of ln L, of a cell, of the shift of a size and of the smooth departure; and the
weight of each, in observations."""
LENGTHS = np.array([1.0, 2.0])  # of the smooth departure, in ln N and ln D
JITTER = 1e-4
MOST_GROUPS = 256  # (N, D); of more, this many are fitted, evenly chosen: the work grows with their cube
TAIL = 4.0  # degrees of freedom of the residuals
ROUNDS, SETTLED = 15, 1e-2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LossLevel:
    """Posterior of ln L_min over (N, D, B).

    Attributes:
        bottoms: All cells.
        places: ln N and ln D of the groups that it was fitted to, shape [groups, 2].
        middle: Where n, d and b are zero, shape [3].
        sizes: ln N of the sizes that have a shift, shape [sizes].
        precision: Inverse of the kernel between the groups, shape [groups, groups].
        mean: Posterior mean of (terms, shifts of sizes, departures of groups), shape [q].
        covariance: Its covariance, shape [q, q].
        cell, size, smooth: Learned variances.
    """

    bottoms: Bottoms
    places: Array
    middle: Array
    sizes: Array
    precision: Array
    mean: Array
    covariance: Array
    cell: float
    size: float
    smooth: float

    def at(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of ln L_min at (N, D, B), shape [m, 3] -> [m] each; a cell with runs keeps its own."""
        logs = np.log(points)
        size = np.abs(logs[:, :1] - self.sizes) < CLOSE
        near = kernel(logs[:, :2], self.places)
        smooth = near @ self.precision
        rows = np.column_stack([columns(logs - self.middle), size, smooth])
        outside = self.smooth * np.maximum(1 - (smooth * near).sum(axis=1), 0.0)
        if self.sizes.size:
            outside += self.size * ~size.any(axis=1)
        mean, variance = rows @ self.mean, ((rows @ self.covariance) * rows).sum(axis=1) + outside
        own = rows_among(self.bottoms.points, points)
        known, own = np.flatnonzero(own >= 0), own[own >= 0]
        total = variance + self.cell + valley_misfit(rows[:, :TERMS_END], self.mean)
        share = total[known] / (total[known] + self.bottoms.variance[own])
        mean[known] += share * (self.bottoms.log_loss[own] - mean[known])
        total[known] = share * self.bottoms.variance[own]
        return mean, np.sqrt(total)


def columns(coordinates: Array) -> Array:
    """The terms at coordinates (n, d, b), shape [m, 3] -> [m, terms]."""
    n, d, b = coordinates.T
    saved = -np.expm1(-SATURATION * np.clip(coordinates[:, :2], -20.0, None)) / SATURATION
    return monomials(np.column_stack([saved, n, d, b, rise(b - BATCH_EXPONENT * d, STEEPER)]), TERMS)


def valley_misfit(terms: Array, mean: Array) -> Array:
    """Variance by which the valley of the batch misses far from its bottom, shape [m].

    Args:
        terms: The columns of cells, shape [m, terms].
        mean: Posterior mean of the unknowns, shape [q].
    """
    return np.asarray((MISFIT_GROWTH * (terms[:, VALLEY] @ mean[VALLEY])) ** 2)


def kernel(one: Array, other: Array) -> Array:
    """Correlation of the departures at (ln N, ln D), shapes [m, 2] and [k, 2] -> [m, k]: Gaussian in N, Matérn-3/2 in D."""
    n, d = np.moveaxis((one[:, None, :] - other) / LENGTHS, -1, 0)
    r = np.sqrt(3) * np.abs(d)
    return np.asarray(np.exp(-(n**2) / 2 - r) * (1 + r))


def loss_level(bowls: Sequence[Bowl]) -> LossLevel | None:
    """Fits the level of the loss to the bottoms of bowls, one per cell, robustly; None if no run finished."""
    bottoms = Bottoms.of(bowls)
    if not bottoms.log_loss.size:
        return None
    groups = bottoms.start.size
    chosen = np.linspace(0, groups - 1, min(groups, MOST_GROUPS)).round()
    fit = LevelFit.of(bottoms.where(np.isin(np.arange(groups), chosen)))
    for _ in range(ROUNDS):
        before = fit.variances
        mean, covariance = fit.solve()
        fit.learn(mean, covariance)
        if np.abs(np.log(fit.variances / before)).max() < SETTLED:
            break
    cell, size, smooth = fit.variances.tolist()
    return LossLevel(
        bottoms=bottoms,
        places=fit.bottoms.places,
        middle=fit.middle,
        sizes=fit.sizes,
        precision=fit.precision,
        mean=mean,
        covariance=covariance,
        cell=cell,
        size=size,
        smooth=smooth,
    )


@dataclass(slots=True, kw_only=True)
class LevelFit:
    """The state of the fit: unknowns are the terms, the shifts of sizes and the departures of groups, q in all.

    Attributes:
        bottoms: The cells.
        middle: Where n, d and b are zero, shape [3].
        sizes: ln N of the sizes that have a shift, shape [sizes].
        terms: Of the cells, shape [cells, terms].
        groups: Columns of shifts and departures, shape [groups, sizes + groups].
        precision: Inverse of the kernel between the groups, shape [groups, groups].
        variances: Of a cell, a size and the departures, as learned so far, shape [3].
        robust: Weights of the cells, shape [cells].
        misfit: Variance of each cell by the shape of the valley, shape [cells].
    """

    bottoms: Bottoms
    middle: Array
    sizes: Array
    terms: Array
    groups: Array
    precision: Array
    variances: Array
    robust: Array
    misfit: Array

    @classmethod
    def of(cls, bottoms: Bottoms) -> Self:
        """The starting point."""
        middle, places = bottoms.logs.mean(axis=0), bottoms.places
        terms = columns(bottoms.logs - middle)
        sizes = sizes_of(places)
        return cls(
            bottoms=bottoms,
            middle=middle,
            sizes=sizes,
            terms=terms,
            groups=np.column_stack([np.abs(places[:, :1] - sizes) < CLOSE, np.eye(len(places))]).astype(
                np.float64
            ),
            precision=np.asarray(
                np.linalg.inv(kernel(places, places) + JITTER * np.eye(len(places))), dtype=np.float64
            ),
            variances=PRIOR_SDS**2,
            robust=np.ones_like(bottoms.log_loss),
            misfit=valley_misfit(terms, MEAN),
        )

    def solve(self) -> tuple[Array, Array]:
        """Posterior mean [q] and covariance [q, q] under the present variances."""
        terms, groups, start = self.terms, self.groups, self.bottoms.start
        cell, size, smooth = self.variances.tolist()
        weight = (self.robust / (self.bottoms.variance + cell + self.misfit))[:, None]
        weighted = weight * terms
        shared = np.add.reduceat(weighted, start).T @ groups
        own = np.add.reduceat(weight, start) * groups
        precision = np.block([[terms.T @ weighted, shared], [shared.T, groups.T @ own]])
        line, ends = TERMS_END + self.sizes.size, len(precision)
        precision[range(TERMS_END), range(TERMS_END)] += SD**-2.0
        precision[range(TERMS_END, line), range(TERMS_END, line)] += 1 / size
        precision[line:ends, line:ends] += self.precision / smooth
        prior = MEAN / SD**2
        prior[0] = np.median(self.bottoms.log_loss) / SD[0] ** 2
        told = weight[:, 0] * self.bottoms.log_loss
        vector = np.concatenate([terms.T @ told + prior, np.add.reduceat(told, start) @ groups])
        factor = cho_factor(precision, lower=True)
        return cho_solve(factor, vector), cho_solve(factor, np.eye(len(precision)))

    def learn(self, mean: Array, covariance: Array) -> None:
        """Updates the variances and the weights of the cells from a posterior."""
        group, line = self.bottoms.group, TERMS_END + self.sizes.size
        self.misfit = valley_misfit(self.terms, mean)
        variance = self.bottoms.variance + self.variances[0] + self.misfit
        residual = (
            self.bottoms.log_loss - self.terms @ mean[:TERMS_END] - (self.groups @ mean[TERMS_END:])[group]
        )
        self.robust = np.minimum((TAIL + 1) / (TAIL + residual**2 / variance), 1.0)
        share = self.variances[0] / variance  # of a residual's variance that is not noise (MacKay's evidence)
        scatter = (self.robust * share**2) @ (residual**2 + self._spread(covariance))
        shifts = mean[TERMS_END:line] ** 2 + np.diag(covariance)[TERMS_END:line]
        smooth = (
            mean[line:] @ self.precision @ mean[line:] + (self.precision * covariance[line:, line:]).sum()
        )
        squares = scatter, shifts.sum(), smooth
        counts = np.array([self.robust @ share, self.sizes.size, len(self.precision)])
        self.variances = (PRIOR_WEIGHTS * PRIOR_SDS**2 + np.array(squares)) / (PRIOR_WEIGHTS + counts)

    def _spread(self, covariance: Array) -> Array:
        """Variance of the fitted ln loss, shape [cells]."""
        groups, group = self.groups, self.bottoms.group
        own, cross = covariance[:TERMS_END, :TERMS_END], groups @ covariance[TERMS_END:, :TERMS_END]
        shared = ((groups @ covariance[TERMS_END:, TERMS_END:]) * groups).sum(axis=1)
        return np.asarray(((self.terms @ own + 2 * cross[group]) * self.terms).sum(axis=1) + shared[group])
