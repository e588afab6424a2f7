"""The cells of a run table, as a law counts them: which rates are recorded in each, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from orchestrator.cells import Point
from orchestrator.law.observations import point_list
from orchestrator.tables.run_table import RunTable


def recorded_rates(table: RunTable) -> Mapping[Point, Mapping[float, int]]:
    """The learning rates recorded in each cell, with their numbers of rows.

    Cells and rates that a law regards as equal are one.

    Returns:
        By cell, cheapest first: number of rows by rate, ascending.
    """
    grouped = table.grouped()
    recorded: dict[Point, Counter[float]] = {}
    for point, rate in zip(point_list(grouped.points), grouped.learning_rate.tolist(), strict=True):
        recorded.setdefault(point, Counter())[rate] += 1
    ordered = sorted(recorded.items(), key=lambda item: (item[0].params * item[0].tokens, item[0]))
    return {point: dict(sorted(counts.items())) for point, counts in ordered}
