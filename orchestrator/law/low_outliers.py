"""Losses too low to believe, such as slips of the unit: each would make all other runs of its cell count as diverged."""

import numpy as np

from orchestrator.law.observations import Array, Index, Mask
from orchestrator.law.surface import fit_surface

BEST_SD = 0.05  # sd of the best ln loss of a cell round its bottom


def low_outliers(coordinates: Array, cell: Index, loss: Array, radius: float) -> Mask:
    """Whether each run has a loss far below all others of its cell and below the loss surface through the other cells.

    A best run may be alone in its cell: if all other rates diverged, or if the lattice is coarser than the bowl is wide.
    So it counts as an outlier only if the second best lies, by more than its uncertainty, nearer to the loss surface
    through the cells whose best run is not alone. If all best runs are alone, there is no outlier.

    Args:
        coordinates: (ln N, ln D, ln B) of the cells, shape [cells, 3].
        cell: The cell of each run, shape [runs].
        loss: Its ln loss, NaN if it has none, shape [runs].
        radius: Difference in ln loss up to which two runs are neighbours.

    Returns:
        Shape [runs].
    """
    points = coordinates - coordinates.mean(axis=0)
    wrong = np.zeros(loss.size, dtype=np.bool_)
    while True:
        best, second = two_best(cell, np.where(wrong, np.nan, loss))
        lone = loss[second] - loss[best] > radius
        if not lone.any() or lone.all():
            return wrong
        believed, best, second = best[~lone], best[lone], second[lone]
        surface = fit_surface(points[cell[believed]], loss[believed], np.full(believed.size, BEST_SD**2))
        expected, sd = surface.at(points[cell[best]])
        found = best[expected - sd > (loss[best] + loss[second]) / 2]
        if not found.size:
            return wrong
        wrong[found] = True


def two_best(cell: Index, loss: Array) -> tuple[Index, Index]:
    """The best and the second best run of every cell that has two runs with a loss."""
    order = np.lexsort((loss, cell))
    order = order[~np.isnan(loss[order])]
    first = np.concatenate([[True], np.diff(cell[order]) != 0])[: order.size]
    at = np.flatnonzero(first[:-1] & ~first[1:])
    return order[at], order[at + 1]
