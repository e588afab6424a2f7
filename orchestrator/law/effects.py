"""Random effects on ln η*: departures from the power law, in a basis that is evaluated without the runs.

    size     one shift per N of several cells            (a new N draws a new one)
    path     a Gaussian process over n, length 0.55: shifts of neighbouring N are alike, of N a factor two apart hardly
    pair     one shift per (N, D) of several cells
    smooth   a Gaussian process over (n, d, b), length 1

Both processes have a Matérn-5/2 kernel. Each effect is φ(x)·w with w ~ N(0, sd²·I); `missing` is the share of the effect's variance at a point that the basis does not
span, and that is independent there. Pivoted Cholesky on the cells gives a compact basis.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist

from orchestrator.cells import CLOSE
from orchestrator.law.features import Reference, matrix
from orchestrator.law.grouped_runs import numbered
from orchestrator.law.observations import Array
from orchestrator.law.scales import Scales

MOST_SIZES = 32
MOST_PAIRS = 32
MOST_CENTRES = 40
LENGTH = 1.0  # of the smooth effect's kernel, in ln N, ln D and ln B
PATH_LENGTH = 0.55  # of the path's, in ln N
RESIDUAL = 1e-3  # share of the smooth effect's variance below which no further centre is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """The basis; coordinates are logarithms over the law's reference.

    Attributes:
        sizes: n of each size with a shift of its own, shape [s].
        path: n of every size, shape [l].
        path_factor: Lower Cholesky factor of the path's kernel between them, shape [l, l].
        pairs: (n, d) of each pair with a shift of its own, shape [p, 2].
        centres: (n, d, b) of the centres of the smooth effect, shape [r, 3].
        factor: Lower Cholesky factor of the kernel between the centres, shape [r, r].
    """

    sizes: Array
    path: Array
    path_factor: Array
    pairs: Array
    centres: Array
    factor: Array

    @property
    def counts(self) -> dict[str, int]:
        """Number of columns of each effect, in their order."""
        return {
            "size": self.sizes.size,
            "path": self.path.size,
            "pair": len(self.pairs),
            "smooth": len(self.centres),
        }

    def column_sds(self, scales: Scales) -> Array:
        """Prior sd of w, shape [s + l + p + r]."""
        return np.repeat(scales.effects, list(self.counts.values()))

    def matrix(self, coordinates: Array) -> tuple[Array, Array]:
        """The basis at coordinates (n, d, b), shape [m, 3].

        Returns:
            (columns [m, s + l + p + r], missing [m, 4]: share of each effect's variance outside the basis).
        """
        size = np.abs(coordinates[:, None, 0] - self.sizes) < CLOSE
        pair = (np.abs(coordinates[:, None, :2] - self.pairs) < CLOSE).all(axis=2)
        there = coordinates[:, :1]
        path = solve_triangular(
            self.path_factor, kernel(self.path[:, None], there, PATH_LENGTH), lower=True
        ).T
        smooth = solve_triangular(self.factor, kernel(self.centres, coordinates), lower=True).T
        missing = np.column_stack([1 - block.sum(axis=1) for block in (size, path**2, pair, smooth**2)])
        return np.column_stack([size, path, pair, smooth]), np.maximum(missing, 0.0)

    def rows(self, coordinates: Array, reference: Reference, scales: Scales) -> tuple[Array, Array]:
        """Features and basis at coordinates (n, d, b) over `reference`, shape [m, 3].

        Returns:
            (rows of ln η* on (θ, w), shape [m, q]; variance of ln η* that a cell there adds, shape [m]).
        """
        columns, missing = self.matrix(coordinates)
        outside = missing @ np.square(scales.effects) + scales.cell**2
        return np.column_stack([matrix(coordinates, reference), columns]), outside

    def to_document(self) -> dict[str, Any]:
        """The centres as JSON-able lists; the factor is recomputed from them."""
        return {
            "sizes": self.sizes.tolist(),
            "path": self.path.tolist(),
            "pairs": self.pairs.tolist(),
            "centres": self.centres.tolist(),
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_document`."""
        return cls.at(
            np.array(document["sizes"], dtype=np.float64),
            np.array(document["path"], dtype=np.float64),
            np.array(document["pairs"], dtype=np.float64).reshape(-1, 2),
            np.array(document["centres"], dtype=np.float64).reshape(-1, 3),
        )

    @classmethod
    def at(cls, sizes: Array, path: Array, pairs: Array, centres: Array) -> Self:
        """The basis with given centres."""
        along = path[:, None]
        return cls(
            sizes=sizes,
            path=path,
            path_factor=cholesky(kernel(along, along, PATH_LENGTH)),
            pairs=pairs,
            centres=centres,
            factor=cholesky(kernel(centres, centres)),
        )


def cholesky(covariance: Array) -> Array:
    """The lower Cholesky factor, the diagonal raised against rounding."""
    return np.asarray(np.linalg.cholesky(covariance + 1e-10 * np.eye(len(covariance))))


def kernel(one: Array, other: Array, length: float = LENGTH) -> Array:
    """The Matérn-5/2 kernel of unit variance between coordinates, shapes [m, axes] and [k, axes] -> [m, k]."""
    r = np.sqrt(5) / length * cdist(one, other)
    return np.asarray((1 + r + r**2 / 3) * np.exp(-r))


def basis(coordinates: Array) -> Effects:
    """The basis for cells at coordinates (n, d, b), shape [cells, 3]."""
    sizes = shared(coordinates[:, :1], MOST_SIZES)[:, 0]
    path = different(coordinates[:, :1], MOST_SIZES)[:, 0]
    return Effects.at(sizes, path, shared(coordinates[:, :2], MOST_PAIRS), coordinates[pivots(coordinates)])


def shared(coordinates: Array, most: int) -> Array:
    """The rows that several cells share, as `different`.

    A row of a single cell needs no column: its shift is part of the cell's own and counts as missing from the basis.
    """
    return different(coordinates, most, fewest_cells=2)


def different(coordinates: Array, most: int, *, fewest_cells: int = 1) -> Array:
    """The different rows of `coordinates` of so many cells, at most `most`: those of the most cells, sorted."""
    number, first = numbered(coordinates)
    cells = np.bincount(number)
    chosen = np.lexsort((-np.arange(first.size), -cells))[:most]  # ties: the largest first
    return np.asarray(coordinates[first[np.sort(chosen[cells[chosen] >= fewest_cells])]])


def pivots(coordinates: Array) -> list[int]:
    """Greedy pivots of the kernel's Cholesky factorisation: the cells that best predict the others."""
    left = np.ones(len(coordinates))
    columns = np.zeros((min(MOST_CENTRES, len(coordinates)), len(coordinates)))
    chosen: list[int] = []
    while len(chosen) < len(columns) and left.max() > RESIDUAL:
        pivot = int(np.argmax(np.round(left, 9)))
        known = columns[: len(chosen)]
        apart = kernel(coordinates[[pivot]], coordinates)[0] - known[:, pivot] @ known
        column = apart / np.sqrt(left[pivot])
        columns[len(chosen)] = column
        left = left - column**2
        chosen.append(pivot)
    return chosen
