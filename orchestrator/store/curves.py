"""Curves of runs: the points of a run's trunk up to the fork, then those of its own branch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from sqlalchemy import Row, Table, literal, select

from orchestrator.store import schema
from orchestrator.store.database import Database
from orchestrator.store.leases import check_fence
from orchestrator.store.records import LensPoint, LossPoint, Run, read_row, row_of

_R, _C = schema.runs.c, schema.cells.c

CurvePoint = TypeVar("CurvePoint", LossPoint, LensPoint)


class CurveParts(NamedTuple):
    """The two parts of a run's curve: its trunk up to ``fork_tokens``, and its own points."""

    run_id: str
    trunk_id: str | None
    fork_tokens: float


class Curves(Generic[CurvePoint]):
    """Points by curve (a run's or a trunk's id) and step.

    Attributes:
        table: keyed by curve and step.
        point: the record of its rows.
    """

    table: ClassVar[Table]
    point: type[CurvePoint]

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self, points: Sequence[CurvePoint], *, fence: int | None = None, lease: str | None = None
    ) -> int:
        """Write points of any curves; a point whose curve and step exist is skipped.

        Args:
            points: of any curves.
            fence: fence of ``lease`` if a driver writes; None checks no lease.
            lease: name of the driver's lease.

        Returns:
            Number of new points.

        Raises:
            Conflict: another driver holds the lease.
        """
        if not points:
            return 0
        fresh = self._database.insert(self.table).on_conflict_do_nothing()
        with self._database.write() as connection:
            if fence is not None and lease is not None:
                check_fence(connection, lease, fence)
            counted = connection.execution_options(preserve_rowcount=True)
            return counted.execute(fresh, [row_of(point) for point in points]).rowcount

    def curve(self, run: Run) -> list[CurvePoint]:
        """The curve of a run: its trunk up to the fork, then its own branch, by step.

        A number that was not finite is NaN.
        """
        return self._points(self._rows(_R.id == run.id).get(run.id, []))

    def _points(self, rows: Sequence[Row[Any]]) -> list[CurvePoint]:
        return [read_row(self.point, row._mapping) for row in rows]

    def _rows(self, chosen: Any) -> dict[str, list[Row[Any]]]:
        """The curves of the runs that the condition ``chosen`` selects, by run id; runs without points are absent.

        A trunk that several runs share is read once.
        """
        fork = (literal(1.0) - _C.decay_fraction) * _C.tokens
        query = (
            select(_R.id, _R.trunk_id, fork)
            .join(schema.cells, (_C.sweep_id == _R.sweep_id) & (_C.number == _R.cell))
            .where(chosen)
            .order_by(_R.id)
        )
        columns = self.table.c
        with self._database.read() as connection:
            parts = [CurveParts(*row) for row in connection.execute(query)]
            names = {name for part in parts for name in (part.run_id, part.trunk_id) if name}
            points = select(self.table).where(columns.curve.in_(names)).order_by(columns.curve, columns.step)
            found = connection.execute(points)
            stored = {curve: list(rows) for curve, rows in groupby(found, attrgetter("curve"))}
        return {part.run_id: rows for part in parts if (rows := _joined(part, stored))}


def _joined(part: CurveParts, stored: Mapping[str, list[Row[Any]]]) -> list[Row[Any]]:
    """The points of the trunk, then the run's own; the trunk ends at the run's first own step, or at its fork."""
    own, trunk = stored.get(part.run_id, []), stored.get(part.trunk_id or "", [])
    if own:
        return trunk[: bisect_left(trunk, own[0].step, key=attrgetter("step"))] + own
    return trunk[: bisect_right(trunk, part.fork_tokens, key=attrgetter("tokens"))]
