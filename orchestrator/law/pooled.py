"""The pooled system of the joint fit, the unknowns of the cells eliminated (legend in joint.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri

from orchestrator.law.cell_information import (
    ASYMMETRY,
    ASYMMETRY_SPREAD,
    UNKNOWNS,
    CellInformation,
    CellUnknowns,
)
from orchestrator.law.grouped_runs import GroupedRuns
from orchestrator.law.observations import Array, Index
from orchestrator.law.scales import Scales

LONGEST_STEP = np.array([1.0, 0.6, 0.4])  # of (ℓ, μ, a) in one iteration
ASYMMETRY_SD = 0.4  # of the prior of a: wide enough for symmetric bowls
ASYMMETRY_RANGE = (-1.5, 2.5)
"""No recorded bowl is more lopsided; beyond it the shape overflows far from its bottom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledModel:
    """The fixed parts of a fit: the cells, the pooled rows and their prior.

    Attributes:
        cells: The runs.
        curvature: W, shape [cells, k].
        optimum: (Z φ), shape [cells, q − k − 1].
        missing: Variance share of (size, path, pair, smooth) outside the basis, shape [cells, 4].
        mean: Prior mean of v, shape [q].
        fixed_sd: Prior sd of κ and θ, shape [k + features].
        scaled_terms: By scale, the positions of the θ whose prior sd it multiplies.
        counts: Number of columns of each random effect, by its scale.
    """

    cells: GroupedRuns
    curvature: Array
    optimum: Array
    missing: Array
    mean: Array
    fixed_sd: Array
    scaled_terms: Mapping[str, Index]
    counts: Mapping[str, int]

    def precision(self, scales: Scales) -> Array:
        """Prior precision of v (diagonal), shape [q]."""
        sds = np.repeat(scales.effects, list(self.counts.values()))
        fixed = self.fixed_sd.copy()
        for name, at in self.scaled_terms.items():
            fixed[at] *= getattr(scales, name)
        return np.concatenate([fixed, sds, [ASYMMETRY_SD]]) ** -2.0

    @property
    def rows(self) -> tuple[Array, Array, Array]:
        """The pooled rows of ℓ, μ and a, shape [cells, columns] each."""
        return self.curvature, self.optimum, np.ones((self.cells.size, 1))

    @property
    def blocks(self) -> tuple[slice, slice, slice]:
        """The positions of their unknowns in v."""
        k, q = self.curvature.shape[1], self.mean.size
        return slice(0, k), slice(k, q - 1), slice(q - 1, q)

    @property
    def effects(self) -> dict[str, slice]:
        """The positions of each random effect in v."""
        ends = self.fixed_sd.size + np.cumsum(list(self.counts.values()))
        return {
            name: slice(int(end) - count, int(end))
            for (name, count), end in zip(self.counts.items(), ends, strict=True)
        }

    def scaled_by(self, names: Sequence[str]) -> tuple[Index, Index, Array]:
        """The unknowns whose prior sd is set by one of these scales.

        Returns:
            (positions in v, which of the scales, prior sd per unit of it), shape [z] each.
        """
        at, column, unit = [], [], []
        for number, name in enumerate(names):
            terms = self.scaled_terms.get(name, np.empty(0, dtype=np.int64))
            effects = np.arange(self.mean.size)[self.effects.get(name, slice(0))]
            at += [terms, effects]
            column += [np.full(terms.size + effects.size, number)]
            unit += [self.fixed_sd[terms], np.ones(effects.size)]
        return np.concatenate(at), np.concatenate(column), np.concatenate(unit)

    def outside(self, scales: Scales) -> Array:
        """Variance of ln η* in each cell that the basis does not span, shape [cells]."""
        return np.asarray(self.missing @ np.square(scales.effects))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """A cell's own unknowns with the pool known: T, shape [cells, 3], and (A + T)⁻¹, shape [cells, 3, 3]."""

    own: Array
    covariance: Array

    @classmethod
    def of(cls, information: CellInformation, own: Array) -> Self:
        """From the information of the runs and the precision of the cells' own parts."""
        return cls(
            own=own,
            covariance=inverted(information.information + own[:, :, None] * np.eye(UNKNOWNS)),
        )


def inverted(symmetric: Array) -> Array:
    """Inverses of many symmetric 3×3 matrices by their cofactors, shape [cells, 3, 3]."""
    (a, b, c), (_, d, e), (_, _, f) = symmetric.transpose(1, 2, 0)
    cofactors = np.array(
        [
            [d * f - e * e, c * e - b * f, b * e - c * d],
            [c * e - b * f, a * f - c * c, b * c - a * e],
            [b * e - c * d, b * c - a * e, a * d - b * b],
        ]
    )
    determinant = a * cofactors[0, 0] + b * cofactors[0, 1] + c * cofactors[0, 2]
    return np.ascontiguousarray((cofactors / determinant).transpose(2, 0, 1))


def own_precision(model: PooledModel, scales: Scales) -> Array:
    """T: precision of a cell's own part of (ℓ, μ, a), shape [cells, 3]."""
    optimum = scales.cell**2 + model.outside(scales)
    variance = np.broadcast_arrays(scales.curvature**2, optimum, ASYMMETRY_SPREAD**2)
    return 1 / np.column_stack(variance)


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledSystem:
    """The pooled unknowns, those of the cells eliminated.

    Attributes:
        normal, right: Information of the runs on v and its vector, shape [q, q] and [q].
        prior: Prior precision of v (diagonal), shape [q].
        mean: Its prior mean, shape [q].
    """

    normal: Array
    right: Array
    prior: Array
    mean: Array

    def solved(self) -> tuple[Array, Array]:
        """The pooled unknowns v and their covariance."""
        covariance = inverted_whole(self.normal + np.diag(self.prior))
        return covariance @ (self.right + self.prior * self.mean), covariance


def pooled_system(
    model: PooledModel, information: CellInformation, scales: Scales, cells: Shrunk
) -> PooledSystem:
    """The system of v, the unknowns of the cells eliminated."""
    shrink = cells.own[:, :, None] * cells.covariance
    reduced = shrink @ information.information
    vector = (shrink @ information.vector[:, :, None])[:, :, 0]
    normal, right = np.zeros((model.mean.size, model.mean.size)), np.zeros(model.mean.size)
    for one, rows, at in zip(range(UNKNOWNS), model.rows, model.blocks, strict=True):
        right[at] += rows.T @ vector[:, one]
        for other, columns, to in zip(range(UNKNOWNS), model.rows, model.blocks, strict=True):
            if other >= one:
                block = rows.T @ (reduced[:, one, other, None] * columns)
                normal[at, to] += block
                if other > one:
                    normal[to, at] = block.T
    return PooledSystem(normal=normal, right=right, prior=model.precision(scales), mean=model.mean)


def inverted_whole(symmetric: Array) -> Array:
    """The inverse of one positive definite matrix, through its Cholesky factor."""
    factor, wrong = dpotrf(symmetric, lower=True)
    if wrong:
        raise np.linalg.LinAlgError("the pooled system is not positive definite")
    lower, _ = dpotri(factor, lower=True)
    below = np.tril(lower, -1)
    return np.asarray(below + below.T + np.diag(np.diag(lower)))


def pooled_rows(model: PooledModel, pooled: Array, covariance: Array) -> tuple[Array, Array]:
    """Pooled (ℓ, μ, a) in each cell: mean [cells, 3] and covariance [cells, 3, 3]."""
    mean = np.column_stack([rows @ pooled[at] for rows, at in zip(model.rows, model.blocks, strict=True)])
    spread = np.empty((len(mean), UNKNOWNS, UNKNOWNS))
    for one, rows, at in zip(range(UNKNOWNS), model.rows, model.blocks, strict=True):
        for other, columns, to in zip(range(UNKNOWNS), model.rows, model.blocks, strict=True):
            if other >= one:
                shared = np.einsum("ij,ij->i", rows @ covariance[at, to], columns)
                spread[:, one, other] = spread[:, other, one] = shared
    return mean, spread


def solve_locals(
    information: CellInformation, cells: Shrunk, pool: tuple[Array, Array], here: CellUnknowns
) -> tuple[CellUnknowns, Array]:
    """The unknowns of the cells given all runs, one bounded step from `here`, and the covariance of (ℓ, μ, a)."""
    mean, spread = pool
    goal = (cells.covariance @ (information.vector + cells.own * mean)[:, :, None])[:, :, 0]
    shape = here.shape + np.clip(goal - here.shape, -LONGEST_STEP, LONGEST_STEP)
    shape[:, ASYMMETRY] = np.clip(shape[:, ASYMMETRY], *ASYMMETRY_RANGE)
    carried = cells.covariance * cells.own[:, None, :]
    full = cells.covariance + carried @ spread @ carried.transpose(0, 2, 1)
    return CellUnknowns(bottom=information.bottom(shape), shape=shape, noise_ratio=here.noise_ratio), full
