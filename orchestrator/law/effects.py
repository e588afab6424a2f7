"""Random effects on ln η*: what a power law misses, smooth or not, in a basis that needs no runs to be evaluated.

    size     one shift per N of several cells            (a new N draws a new one)
    pair     one shift per (N, D) of several cells
    smooth   a Gaussian process over (n, d, b) with a Matérn-5/2 kernel of length 1.5

Each is written φ(x)·w with w ~ N(0, sd²·I); what the basis does not span at a point is `missing`, the share of the
effect's variance that is independent there. A compact basis comes from pivoted Cholesky on the cells.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.linalg import solve_triangular

from orchestrator.cells import CLOSE
from orchestrator.law.grouped_runs import numbered
from orchestrator.law.observations import Array

MOST_SIZES = 32
MOST_PAIRS = 32
MOST_CENTRES = 40
LENGTH = 1.5  # of the kernel, in ln N, ln D and ln B
RESIDUAL = 1e-3  # share of the smooth effect's variance below which no further centre is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """The basis: places are logarithms over the law's reference.

    Attributes:
        sizes: n of each size with a shift of its own, shape [s].
        pairs: (n, d) of each pair with a shift of its own, shape [p, 2].
        centres: (n, d, b) of the centres of the smooth effect, shape [r, 3].
        factor: Lower Cholesky factor of the kernel between the centres, shape [r, r].
    """

    sizes: Array
    pairs: Array
    centres: Array
    factor: Array

    GROUPS = ("size", "pair", "smooth")

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many columns each group has."""
        return self.sizes.size, len(self.pairs), len(self.centres)

    def matrix(self, points: Array) -> tuple[Array, Array]:
        """The basis at points (n, d, b), shape [m, 3].

        Returns:
            (columns [m, s + p + r], missing [m, 3]: share of each group's variance outside the basis).
        """
        size = np.abs(points[:, None, 0] - self.sizes) < CLOSE
        pair = (np.abs(points[:, None, :2] - self.pairs) < CLOSE).all(axis=2)
        smooth = solve_triangular(self.factor, kernel(self.centres, points), lower=True).T
        missing = np.column_stack([1 - block.sum(axis=1) for block in (size, pair, smooth**2)])
        return np.column_stack([size, pair, smooth]), np.maximum(missing, 0.0)

    def to_document(self) -> dict[str, Any]:
        """The centres as JSON-able lists; the factor is computed again from them."""
        return {
            "sizes": self.sizes.tolist(),
            "pairs": self.pairs.tolist(),
            "centres": self.centres.tolist(),
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_document`."""
        return cls.at(
            np.array(document["sizes"], dtype=np.float64),
            np.array(document["pairs"], dtype=np.float64).reshape(-1, 2),
            np.array(document["centres"], dtype=np.float64).reshape(-1, 3),
        )

    @classmethod
    def at(cls, sizes: Array, pairs: Array, centres: Array) -> Self:
        """The basis with given places."""
        factor = np.asarray(np.linalg.cholesky(kernel(centres, centres) + 1e-10 * np.eye(len(centres))))
        return cls(sizes=sizes, pairs=pairs, centres=centres, factor=factor)


def kernel(one: Array, other: Array) -> Array:
    """The Matérn-5/2 kernel of unit variance between places [m, 3] and [k, 3]."""
    apart = one[:, None, :] - other
    r = np.sqrt(5 * (apart**2).sum(axis=2)) / LENGTH
    return np.asarray((1 + r + r**2 / 3) * np.exp(-r))


def basis(points: Array) -> Effects:
    """The basis for cells at points (n, d, b), shape [cells, 3]."""
    sizes = shared(points[:, :1], MOST_SIZES)[:, 0]
    return Effects.at(sizes, shared(points[:, :2], MOST_PAIRS), points[pivots(points)])


def shared(places: Array, most: int) -> Array:
    """The different rows of `places` that several cells have, those of most cells first chosen, then sorted.

    What one cell alone has is that cell's own: it needs no column, and counts as missing from the basis.
    """
    number, first = numbered(places)
    cells = np.bincount(number)
    chosen = np.lexsort((-np.arange(first.size), -cells))[:most]  # of as many cells the largest
    return np.asarray(places[first[np.sort(chosen[cells[chosen] > 1])]])


def pivots(points: Array) -> list[int]:
    """Greedy pivots of the kernel's Cholesky factorisation: the cells that the others are best told from."""
    left = np.ones(len(points))
    columns = np.zeros((min(MOST_CENTRES, len(points)), len(points)))
    chosen: list[int] = []
    while len(chosen) < len(columns) and left.max() > RESIDUAL:
        pivot = int(np.argmax(np.round(left, 9)))
        known = columns[: len(chosen)]
        column = (kernel(points[pivot : pivot + 1], points)[0] - known[:, pivot] @ known) / np.sqrt(
            left[pivot]
        )
        columns[len(chosen)] = column
        left = left - column**2
        chosen.append(pivot)
    return chosen
