"""The cells of a run table, as a law counts them: which rates are recorded in each, and by which rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from orchestrator.cells import Point
from orchestrator.tables.run_table import RunTable


def recorded_rates(table: RunTable) -> Mapping[Point, Mapping[float, int]]:
    """The learning rates recorded in each cell, with their numbers of rows.

    Returns:
        By cell, cheapest first: number of rows by rate, ascending.
    """
    recorded: dict[Point, dict[float, int]] = {}
    for point, rate, rows in recorded_rows(table):
        recorded.setdefault(point, {})[rate] = len(rows)
    return dict(sorted(recorded.items(), key=lambda item: (item[0].params * item[0].tokens, item[0])))


def recorded_rows(table: RunTable) -> Iterator[tuple[Point, float, NDArray[np.intp]]]:
    """The rows of each cell and rate, rates ascending; failed runs say nothing of their rate and are left out.

    Cells and rates that a law regards as equal are one.
    """
    grouped = table.grouped()
    columns = np.column_stack([grouped.points, grouped.learning_rate])
    kept = np.flatnonzero(~table.failed)
    rows = kept[np.lexsort(columns[kept].T[::-1])]
    ordered = columns[rows]
    starts = np.flatnonzero((ordered[1:] != ordered[:-1]).any(axis=1)) + 1
    for group in np.split(rows, starts) if len(rows) else ():
        params, tokens, batch_tokens, rate = columns[group[0]].tolist()
        yield Point(params=params, tokens=tokens, batch_tokens=batch_tokens), rate, group
