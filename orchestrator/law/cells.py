"""Runs grouped into cells: one (N, D, B) each, with the rates tried there, and what bounds its bowl."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.law.observations import Array, Observations

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

SAME = 1e-9  # relative difference below which two sizes, horizons or batches are one
BLOWN = 0.35  # ln(loss / best loss of the cell) above which a finished run is as good as diverged


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """All runs, sorted and grouped; the loss enters as its logarithm, so its unit cancels.

    Attributes:
        places: N, D, B of each cell, shape [cells, 3].
        coordinates: Their logarithms, shape [cells, 3].
        cell: The cell of each run that has a usable loss, shape [runs].
        x: ln η of those runs, shape [runs].
        y: ln(loss / best loss of the cell) of those runs, shape [runs].
        best_loss: The best loss of each cell in the table's unit, NaN where none finished, shape [cells].
        bound_cell: The cell of each run that bounds its bowl from above, shape [bounds].
        bound_x: ln η of those runs, shape [bounds].
        runs: All runs of each cell, shape [cells].
        diverged: Those without a usable loss, shape [cells].
    """

    places: Array
    coordinates: Array
    cell: Index
    x: Array
    y: Array
    best_loss: Array
    bound_cell: Index
    bound_x: Array
    runs: Index
    diverged: Index

    @property
    def size(self) -> int:
        """The number of cells."""
        return int(self.runs.size)

    def total(self, values: Array) -> Array:
        """Sums over the runs of each cell: [runs] -> [cells]."""
        return np.bincount(self.cell, weights=values, minlength=self.size).astype(np.float64, copy=False)


def group(observations: Observations) -> Cells:
    """Groups sorted runs into cells and classifies each run: usable, bounding, or neither.

    A run that diverged, or whose loss is far above the best of its cell, bounds the bowl from above if no usable
    run of the cell has a higher rate; a crash in the middle of a bowl says nothing.
    """
    runs = observations.sorted()
    raw = np.column_stack([runs.params, runs.tokens, runs.batch_tokens])
    place = np.log(raw)
    starts = np.concatenate([[True], (np.abs(np.diff(place, axis=0)) > SAME).any(axis=1)])
    cell = np.cumsum(starts) - 1
    count = int(cell[-1]) + 1
    x, loss = np.log(runs.learning_rate), np.log(runs.loss)
    best = np.full(count, np.inf)
    np.minimum.at(best, cell, np.where(np.isnan(loss), np.inf, loss))
    best[np.isinf(best)] = np.nan
    y = loss - best[cell]
    usable = y <= BLOWN  # NaN compares false: a run without a loss is not usable
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, cell[usable], x[usable])
    bounding = ~usable & (x > highest[cell])
    return Cells(
        places=raw[starts],
        coordinates=place[starts],
        cell=cell[usable],
        x=x[usable],
        y=y[usable],
        best_loss=np.exp(best),
        bound_cell=cell[bounding],
        bound_x=x[bounding],
        runs=np.bincount(cell, minlength=count),
        diverged=np.bincount(cell[~usable], minlength=count),
    )
