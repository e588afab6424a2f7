"""Losses too low to believe: a slip of the pen or of the unit, which would make every other run of its cell diverged."""

import numpy as np
from numpy.typing import NDArray

from orchestrator.law.observations import Array
from orchestrator.law.surface import fit_surface

LEVEL_SD = 0.05  # of the best ln loss of a cell round its bottom


def doubted(coordinates: Array, cell: NDArray[np.int64], loss: Array, reach: float) -> NDArray[np.bool_]:
    """Which runs have a loss far below all others of their cell, and below what the other cells lead one to expect.

    A best run may well be alone: where all other rates diverged, or the lattice is coarser than the bowl is wide. So it
    is doubted only if the second best lies, by more than its uncertainty, nearer to the loss surface through the cells
    whose best run has company. Where no cell has company, every run is believed.

    Args:
        coordinates: (ln N, ln D, ln B) of the cells, shape [cells, 3].
        cell: The cell of each run, shape [runs].
        loss: Its ln loss, NaN where it has none, shape [runs].
        reach: Difference in ln loss up to which two runs are company.
    """
    points = coordinates - coordinates.mean(axis=0)
    wrong = np.zeros(loss.size, dtype=np.bool_)
    while True:
        best, second = two_best(cell, np.where(wrong, np.nan, loss))
        lone = loss[second] - loss[best] > reach
        if not lone.any() or lone.all():
            return wrong
        company, best, second = best[~lone], best[lone], second[lone]
        surface = fit_surface(points[cell[company]], loss[company], np.full(company.size, LEVEL_SD**2))
        expected, sd = surface.at(points[cell[best]])
        found = best[expected - sd > (loss[best] + loss[second]) / 2]
        if not found.size:
            return wrong
        wrong[found] = True


def two_best(cell: NDArray[np.int64], loss: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The best and the second best run of every cell that has two with a loss."""
    order = np.lexsort((loss, cell))
    order = order[~np.isnan(loss[order])]
    first = np.concatenate([[True], np.diff(cell[order]) != 0])[: order.size]
    at = np.flatnonzero(first[:-1] & ~first[1:])
    return order[at], order[at + 1]
