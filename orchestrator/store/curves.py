"""Curves of runs, of losses or of lenses: the points of a run's trunk up to the fork, then those of its own branch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, Table, literal, select

from orchestrator.store import schema
from orchestrator.store.database import Database
from orchestrator.store.leases import check_fence

_R, _C = schema.runs.c, schema.cells.c


def append(
    database: Database,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    fence: int | None = None,
    lease: str | None = None,
) -> int:
    """Write points of curves; a point whose curve and step exist is skipped.

    Args:
        database: to write to.
        table: keyed by curve and step.
        rows: points of any curves.
        fence: fence of ``lease`` if a driver writes; None checks no lease.
        lease: name of the driver's lease.

    Returns:
        Number of new points.

    Raises:
        Conflict: another driver holds the lease.
    """
    if not rows:
        return 0
    fresh = database.insert(table).on_conflict_do_nothing()
    with database.write() as connection:
        if fence is not None and lease is not None:
            check_fence(connection, lease, fence)
        counted = connection.execution_options(preserve_rowcount=True)
        return counted.execute(fresh, list(rows)).rowcount


class CurveParts(NamedTuple):
    """The two parts of a run's curve: its trunk up to ``fork_tokens``, and its own points."""

    run_id: str
    trunk_id: str | None
    fork_tokens: float


def parts_of(connection: Connection, chosen: Any) -> Sequence[CurveParts]:
    """The parts of the curves of the runs that the condition ``chosen`` selects."""
    fork = (literal(1.0) - _C.decay_fraction) * _C.tokens
    query = (
        select(_R.id, _R.trunk_id, fork)
        .join(schema.cells, (_C.sweep_id == _R.sweep_id) & (_C.number == _R.cell))
        .where(chosen)
        .order_by(_R.id)
    )
    return [CurveParts(*row) for row in connection.execute(query)]


def joined(
    connection: Connection, query: Select[Any], columns: Any, parts: Sequence[CurveParts]
) -> dict[str, list[Row[Any]]]:
    """Read curves; a trunk that several runs share is read once.

    Args:
        connection: to read from.
        query: selects a point's columns: its curve first, its step and tokens among the rest.
        columns: the columns of the same table.
        parts: of the runs.

    Returns:
        Points by run id; runs without points are absent.
    """
    names = {part.run_id for part in parts} | {part.trunk_id for part in parts if part.trunk_id}
    rows = connection.execute(query.where(columns.curve.in_(names)).order_by(columns.curve, columns.step))
    stored = {curve: list(points) for curve, points in groupby(rows, key=itemgetter(0))}
    return {part.run_id: points for part in parts if (points := _of(part, stored))}


def _of(part: CurveParts, stored: Mapping[str, list[Row[Any]]]) -> list[Row[Any]]:
    """The points of the trunk, then the run's own; the trunk ends at the run's first own step, or at its fork."""
    own, trunk = stored.get(part.run_id, []), stored.get(part.trunk_id or "", [])
    if own:
        return trunk[: bisect_left(trunk, own[0].step, key=attrgetter("step"))] + own
    return trunk[: bisect_right(trunk, part.fork_tokens, key=attrgetter("tokens"))]
