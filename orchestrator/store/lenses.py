"""Points of the lenses: measurements of a run besides its loss, by curve and step like the losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sqlalchemy import select

from orchestrator.store import schema
from orchestrator.store.curves import append, joined, parts_of
from orchestrator.store.database import Database
from orchestrator.store.records import LensPoint, Run

_N = schema.lenses.c


class Lenses:
    """Points of the lenses, by curve (a run's or a trunk's id) and step."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self, points: Sequence[LensPoint], *, fence: int | None = None, lease: str | None = None
    ) -> int:
        """Write points of any curves (`curves.append`); the number of new ones."""
        rows = [
            {
                "curve": point.curve,
                "step": point.step,
                "tokens": point.tokens,
                "values": {name: _kept(value) for name, value in point.values.items()},
            }
            for point in points
        ]
        return append(self._database, schema.lenses, rows, fence=fence, lease=lease)

    def curve(self, run: Run) -> list[LensPoint]:
        """A run's points by step, its trunk's up to the fork, then its own. A value that was not finite is NaN."""
        query = select(_N.curve, _N.step, _N.tokens, _N["values"].label("seen"))
        with self._database.read() as connection:
            parts = parts_of(connection, schema.runs.c.id == run.id)
            rows = joined(connection, query, _N, parts).get(run.id, [])
        return [
            LensPoint(curve=row.curve, step=row.step, tokens=row.tokens, values=_read(row.seen))
            for row in rows
        ]


def _kept(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _read(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in values.items()}
