"""Rows of a run table that contradict each other: one cell, learning rate and seed with two losses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.tables.run_table import RunTable

SAME_LOSS: Final = 1e-9
"""Relative difference up to which two losses are one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradictions:
    """Runs with several losses.

    Attributes:
        count: number of such runs.
        first: places of two rows of the first one.
    """

    count: int
    first: tuple[int, int]


def contradictions(table: RunTable, settings: Collection[str]) -> Contradictions | None:
    """Rows of one cell, learning rate, seed and settings with different losses; None if there are none.

    Rows without a seed are repeated runs.

    Args:
        table: runs of one recipe.
        settings: columns of numbers in which runs may differ besides.
    """
    seed = table.numbers("seed")
    rows = np.flatnonzero(np.isfinite(table.loss) & np.isfinite(seed))
    if len(rows) < 2:
        return None
    grouped = table.grouped()
    further = [np.nan_to_num(table.numbers(name), nan=np.inf) for name in settings]
    runs = np.column_stack([grouped.points, grouped.learning_rate, seed, *further])[rows]
    run, loss = np.unique(runs, axis=0, return_inverse=True)[1].ravel(), table.loss[rows]
    low, high = np.full(run.max() + 1, np.inf), np.zeros(run.max() + 1)
    np.minimum.at(low, run, loss)
    np.maximum.at(high, run, loss)
    several = high > low * (1 + SAME_LOSS)
    if not several.any():
        return None
    same = np.flatnonzero(run == run[several[run]][0])
    other = same[np.abs(loss[same] / loss[same[0]] - 1) > SAME_LOSS][0]
    return Contradictions(count=int(several.sum()), first=(int(rows[same[0]]), int(rows[other])))
