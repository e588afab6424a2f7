"""The cells of a run table, as a law counts them: which rates are recorded in each, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.law import Point
from orchestrator.tables.run_table import RunTable


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCell:
    """The recorded runs of one cell.

    Attributes:
        point: its N, D and B.
        rates: the different learning rates, ascending.
        repeats: number of rows of each rate, at least 1.
    """

    point: Point
    rates: tuple[float, ...]
    repeats: tuple[int, ...]

    def at_rates(self, wanted: Callable[[float], bool]) -> RecordedCell:
        """The same cell with the wanted rates only, possibly none."""
        kept = [(rate, times) for rate, times in zip(self.rates, self.repeats, strict=True) if wanted(rate)]
        return RecordedCell(
            point=self.point, rates=tuple(rate for rate, _ in kept), repeats=tuple(times for _, times in kept)
        )


def recorded_cells(table: RunTable) -> tuple[RecordedCell, ...]:
    """The cells of a table, cheapest first; cells and rates that a law takes for one are one."""
    grouped = table.grouped()
    columns = (grouped.params, grouped.tokens, grouped.batch_tokens, grouped.learning_rate)
    recorded: dict[Point, Counter[float]] = {}
    for params, tokens, batch_tokens, rate in zip(*(column.tolist() for column in columns), strict=True):
        point = Point(params=params, tokens=tokens, batch_tokens=batch_tokens)
        recorded.setdefault(point, Counter())[rate] += 1
    ordered = sorted(recorded.items(), key=lambda item: (item[0].params * item[0].tokens, item[0]))
    return tuple(
        RecordedCell(
            point=point,
            rates=tuple(sorted(counts)),
            repeats=tuple(counts[rate] for rate in sorted(counts)),
        )
        for point, counts in ordered
    )
