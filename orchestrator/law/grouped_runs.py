"""Runs grouped into cells: one (N, D, B) each, with the rates tried there and the bounds of its bowl."""

from dataclasses import dataclass

import numpy as np

from orchestrator.cells import CLOSE
from orchestrator.law.low_outliers import low_outliers
from orchestrator.law.observations import Array, Index, Mask, Observations

SHARED_NOISE = 0.8  # correlation of the noise of the branches of one trunk, as recorded runs have it (0.84)
BLOWN = 0.35  # ln(loss / best loss of the cell) above which a finished run is too far from the bottom to fit


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedRuns:
    """All runs, sorted and grouped; the loss enters as its logarithm, so its unit cancels.

    A point is one rate of one cell: repeated runs enter as their mean, because the misfit of the bowl's shape is the
    same in all of them.

    Attributes:
        points: N, D, B of each cell, the medians of its runs, shape [cells, 3].
        coordinates: Their logarithms, shape [cells, 3].
        cell: The cell of each point that has a usable loss, shape [points].
        x: ln η of those points, shape [points].
        y: Mean ln loss of their runs over that of the cell's best point, shape [points].
        repeats: Number of those runs, shape [points].
        fresh: Number of independent runs that are worth as much: branches of a trunk share noise, shape [points].
        scatter: Sum of their squared distances from the mean, shape [points].
        best_loss: The loss of each cell's best point in the table's unit, NaN if none finished, shape [cells].
        bound_cell: The cell of each run that bounds its bowl, shape [bounds].
        bound_x: ln η of those runs, shape [bounds].
        bound_side: 1 if the bottom is below that rate, −1 if it is above, shape [bounds].
        floor, ceiling: The nearest ln η that bounds each bowl from below and from above, infinite if there is none,
            shape [cells] each.
        runs: All runs of each cell, shape [cells].
        diverged: Those without a usable loss, shape [cells].
        doubted: Low outliers, which are left out, shape [cells].
    """

    points: Array
    coordinates: Array
    cell: Index
    x: Array
    y: Array
    repeats: Array
    fresh: Array
    scatter: Array
    best_loss: Array
    bound_cell: Index
    bound_x: Array
    bound_side: Array
    floor: Array
    ceiling: Array
    runs: Index
    diverged: Index
    doubted: Index

    @property
    def size(self) -> int:
        """The number of cells."""
        return int(self.runs.size)

    def total(self, values: Array) -> Array:
        """Sums over the points of each cell: [points] -> [cells]."""
        return np.bincount(self.cell, weights=values, minlength=self.size).astype(np.float64, copy=False)


def group(observations: Observations) -> GroupedRuns:
    """Groups runs, in the order of `Observations.sorted`, into cells and classifies each: usable, bounding, or neither.

    A run that diverged bounds the bowl from above if no usable run of the cell has a higher rate; a crash in the middle
    of a bowl is ignored. A loss far above the best of its cell bounds the bowl on its side. Low outliers are ignored and
    are not the best.
    """
    cell, _ = numbered(np.log(observations.points))
    cell_points = np.column_stack([medians(cell, column) for column in observations.points.T])
    x, loss = np.log(observations.learning_rate), np.log(observations.loss)
    order = np.lexsort((loss, x, cell))
    cell, x, loss, trunk = cell[order], x[order], loss[order], observations.trunks[order]
    count = int(cell[-1]) + 1
    wrong = low_outliers(np.log(cell_points), cell, loss, BLOWN)
    loss = np.where(wrong, np.nan, loss)
    best = np.full(count, np.nan)
    np.fmin.at(best, cell, loss)
    usable = loss - best[cell] <= BLOWN  # NaN compares false: a run without a loss is not usable
    low, high = extremes(cell[usable], x[usable], count)
    above = ~usable & ~wrong & (x > high[cell])
    below = ~usable & ~np.isnan(loss) & (x < low[cell])
    bounding = above | below
    _, floor = extremes(cell[below], x[below], count)
    ceiling, _ = extremes(cell[above], x[above], count)
    worth = worth_of_runs(trunk[usable])
    point_cell, point_x, mean, repeats, fresh, scatter = points(cell[usable], x[usable], loss[usable], worth)
    bottom = np.full(count, np.nan)
    np.fmin.at(bottom, point_cell, mean)
    return GroupedRuns(
        points=cell_points,
        coordinates=np.log(cell_points),
        cell=point_cell,
        x=point_x,
        y=mean - bottom[point_cell],
        repeats=repeats,
        fresh=fresh,
        scatter=scatter,
        best_loss=np.exp(bottom),
        bound_cell=cell[bounding],
        bound_x=x[bounding],
        bound_side=np.where(below[bounding], -1.0, 1.0),
        floor=floor,
        ceiling=ceiling,
        runs=np.bincount(cell, minlength=count),
        diverged=np.bincount(cell[~usable & ~wrong], minlength=count),
        doubted=np.bincount(cell[wrong], minlength=count),
    )


def numbered(coordinates: Array) -> tuple[Index, Index]:
    """The cell of each row of logarithms, numbered in their order, [rows], and the first row of each cell, [cells]."""
    labels = np.column_stack([clustered(column) for column in coordinates.T])
    _, first, number = np.unique(labels, axis=0, return_index=True, return_inverse=True)
    return number.ravel(), first


def clustered(values: Array) -> Index:
    """The rank of each logarithm; logarithms closer than `CLOSE` share a rank."""
    order = np.argsort(values)
    rank = np.empty(values.size, dtype=np.int64)
    rank[order] = np.cumsum(beginnings(values[order], np.zeros(values.size - 1, dtype=np.bool_))) - 1
    return rank


def extremes(cell: Index, x: Array, cells: int) -> tuple[Array, Array]:
    """Lowest and highest ln η per cell, infinite if there is none: [m], [m] -> [cells] each."""
    low, high = np.full(cells, np.inf), np.full(cells, -np.inf)
    np.minimum.at(low, cell, x)
    np.maximum.at(high, cell, x)
    return low, high


def medians(cell: Index, values: Array) -> Array:
    """The median value of each cell, itself one of its values: [runs], [runs] -> [cells]."""
    after = np.cumsum(np.bincount(cell))
    first = np.concatenate([[0], after[:-1]])
    return np.asarray(values[np.lexsort((values, cell))][(first + after - 1) // 2])


def beginnings(values: Array, apart: Mask) -> Mask:
    """Whether each of some sorted logarithms begins a group: it is `apart` from the one before, or beyond a gap.

    A chain of close neighbours that is longer than `CLOSE` is cut, from its lowest value on.
    """
    chained = np.concatenate([[True], apart | (np.diff(values) > CLOSE)])[: values.size]
    step = np.floor((values - values[chained][np.cumsum(chained) - 1]) / CLOSE)
    return np.asarray(chained | np.concatenate([[False], np.diff(step) > 0])[: values.size])


def worth_of_runs(trunk: Index) -> Array:
    """The share of an independent run that each run is worth, by the number of branches of its trunk.

    The mean of k values whose noise has the correlation ρ is worth k / (1 + (k − 1)·ρ) independent ones.

    Args:
        trunk: Label of each run as `Observations.counting` numbers it, shape [runs].

    Returns:
        A share for each, 1 for a run that shares no trunk, shape [runs].
    """
    branches = np.bincount(trunk[trunk >= 0], minlength=1)
    shared = np.where(trunk >= 0, branches[np.maximum(trunk, 0)], 1)
    return 1 / (1 + (shared - 1) * SHARED_NOISE)


def points(
    cell: Index, x: Array, loss: Array, worth: Array
) -> tuple[Index, Array, Array, Array, Array, Array]:
    """The rates of each cell from sorted runs: cell, ln η, mean ln loss, runs, their worth, and their squared scatter."""
    fresh = beginnings(x, np.diff(cell) != 0)
    at = np.cumsum(fresh) - 1
    repeats = np.bincount(at).astype(np.float64)
    mean = np.bincount(at, weights=loss) / repeats
    scatter = np.asarray(np.bincount(at, weights=np.square(loss - mean[at])), dtype=np.float64)
    worths = np.asarray(np.bincount(at, weights=worth), dtype=np.float64)
    return cell[fresh], x[fresh], mean, repeats, worths, scatter
