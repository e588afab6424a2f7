"""Curves of runs: a run's trunk up to the fork, then its own branch, whatever is recorded along the way."""

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
    """Write points of curves; one whose curve and step are there already stays as it is.

    Args:
        database: to write to.
        table: keyed by curve and step.
        rows: of any curves.
        fence: of ``lease``, where a driver writes.
        lease: whose fence it is.

    Returns:
        How many were new.

    Raises:
        Conflict: the lease belongs to another driver.
    """
    if not rows:
        return 0
    fresh = database.insert(table).on_conflict_do_nothing()
    with database.write() as connection:
        if fence is not None and lease is not None:
            check_fence(connection, lease, fence)
        counted = connection.execution_options(preserve_rowcount=True)
        return counted.execute(fresh, list(rows)).rowcount


class Place(NamedTuple):
    """Where a run's curve lies."""

    run_id: str
    trunk_id: str | None
    fork_tokens: float


def places_of(connection: Connection, chosen: Any) -> Sequence[Place]:
    """Where the curves of the chosen runs lie: run, trunk and the tokens at their fork."""
    fork = (literal(1.0) - _C.decay_fraction) * _C.tokens
    query = (
        select(_R.id, _R.trunk_id, fork)
        .join(schema.cells, (_C.sweep_id == _R.sweep_id) & (_C.number == _R.cell))
        .where(chosen)
        .order_by(_R.id)
    )
    return [Place(*row) for row in connection.execute(query)]


def joined(
    connection: Connection, query: Select[Any], columns: Any, places: Sequence[Place]
) -> dict[str, list[Row[Any]]]:
    """The curves at ``places`` by run; a trunk that several runs share is read once.

    Args:
        connection: to read from.
        query: what is wanted of a point: its curve first, its step and tokens among the rest.
        columns: the curve and step columns of the same table.
        places: where to look; runs without points are left out of the answer.
    """
    names = {place.run_id for place in places} | {place.trunk_id for place in places if place.trunk_id}
    rows = connection.execute(query.where(columns.curve.in_(names)).order_by(columns.curve, columns.step))
    stored = {curve: list(points) for curve, points in groupby(rows, key=itemgetter(0))}
    return {place.run_id: points for place in places if (points := _of(place, stored))}


def _of(place: Place, stored: Mapping[str, list[Row[Any]]]) -> list[Row[Any]]:
    """A run's own points after those of its trunk; a branch that has not begun yet begins at the fork."""
    own, trunk = stored.get(place.run_id, []), stored.get(place.trunk_id or "", [])
    if own:
        return trunk[: bisect_left(trunk, own[0].step, key=attrgetter("step"))] + own
    return trunk[: bisect_right(trunk, place.fork_tokens, key=attrgetter("tokens"))]
