"""Learning curves: appended in bulk while runs live, thinned before they are drawn."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy import Connection, Row, func, literal, select

from orchestrator.states import RunState
from orchestrator.store import schema
from orchestrator.store.database import Database
from orchestrator.store.leases import check_fence
from orchestrator.store.records import LossPoint, Run

_R, _L, _C = schema.runs.c, schema.losses.c, schema.cells.c

_Row = Row[str, int, int, float | None]
"""A stored point: curve, step, tokens, loss (None where it was not finite, which NumPy reads as NaN)."""

STARTED: Final = (RunState.RUNNING, RunState.COMPLETED, RunState.DIVERGED)
"""States of runs that have a curve to show."""


class Losses:
    """Points of learning curves, by curve (a run's or a trunk's id) and step."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self, points: Sequence[LossPoint], *, fence: int | None = None, lease: str | None = None
    ) -> int:
        """Write points; one whose curve and step are there already stays as it is.

        Args:
            points: of any curves.
            fence: of ``lease``, where a driver writes.
            lease: whose fence it is.

        Returns:
            How many were new.

        Raises:
            Conflict: the lease belongs to another driver.
        """
        if not points:
            return 0
        rows = [
            {
                "curve": point.curve,
                "step": point.step,
                "tokens": point.tokens,
                "loss": point.loss if math.isfinite(point.loss) else None,
            }
            for point in points
        ]
        fresh = self._database.insert(schema.losses).on_conflict_do_nothing()
        with self._database.write() as connection:
            if fence is not None and lease is not None:
                check_fence(connection, lease, fence)
            counted = connection.execution_options(preserve_rowcount=True)
            return counted.execute(fresh, rows).rowcount

    def curve(self, run: Run, *, max_points: int | None = None) -> list[LossPoint]:
        """The learning curve of a run: its trunk up to the fork, then its own branch, by step.

        Args:
            run: the run.
            max_points: most points, at least 2; None for all. The first and the last always stay.

        Returns:
            The points; a loss that was not finite is NaN.
        """
        with self._database.read() as connection:
            places = _places(connection, _R.id == run.id)
            return _curves(connection, places, max_points).get(run.id, [])

    def of_sweep(
        self, sweep_id: str, *, max_points: int = 100, max_curves: int = 60
    ) -> dict[str, list[LossPoint]]:
        """Learning curves of a sweep for one figure.

        Args:
            sweep_id: the sweep.
            max_points: most points of one curve, at least 2.
            max_curves: most curves: the cells take turns, so that each shows some.

        Returns:
            Points by run id, in the order of creation; runs without points are left out.
        """
        turn = func.row_number().over(partition_by=_R.cell, order_by=_R.id).label("turn")
        started = (
            select(_R.id, _R.cell, turn).where(_R.sweep_id == sweep_id, _R.state.in_(STARTED)).subquery()
        )
        fair = select(started.c.id).order_by(started.c.turn, started.c.cell).limit(max_curves)
        with self._database.read() as connection:
            return _curves(connection, _places(connection, _R.id.in_(fair)), max_points)


class _Place(NamedTuple):
    """Where a run's curve lies."""

    run_id: str
    trunk_id: str | None
    fork_tokens: float


def _places(connection: Connection, chosen: Any) -> Sequence[_Place]:
    """Where the curves of the chosen runs lie: run, trunk and the tokens at their fork."""
    fork = (literal(1.0) - _C.decay_fraction) * _C.tokens
    query = (
        select(_R.id, _R.trunk_id, fork)
        .join(schema.cells, (_C.sweep_id == _R.sweep_id) & (_C.number == _R.cell))
        .where(chosen)
        .order_by(_R.id)
    )
    return [_Place(*row) for row in connection.execute(query)]


def _curves(
    connection: Connection, places: Sequence[_Place], max_points: int | None
) -> dict[str, list[LossPoint]]:
    """The curves at ``places``; a trunk that several runs share is read once."""
    names = {place.run_id for place in places} | {place.trunk_id for place in places if place.trunk_id}
    query = select(_L.curve, _L.step, _L.tokens, _L.loss).where(_L.curve.in_(names))
    rows = connection.execute(query.order_by(_L.curve, _L.step))
    stored = {curve: list(points) for curve, points in groupby(rows, key=itemgetter(0))}
    joined = {place.run_id: _joined(place, stored) for place in places}
    return {
        run_id: [_point(row) for row in _thinned(rows, max_points)] for run_id, rows in joined.items() if rows
    }


def _joined(place: _Place, stored: Mapping[str, list[_Row]]) -> list[_Row]:
    """A run's own points after those of its trunk; a branch that has not begun yet begins at the fork."""
    own, trunk = stored.get(place.run_id, []), stored.get(place.trunk_id or "", [])
    if own:
        return trunk[: bisect_left(trunk, own[0].step, key=attrgetter("step"))] + own
    return trunk[: bisect_right(trunk, place.fork_tokens, key=attrgetter("tokens"))]


def _thinned(rows: list[_Row], max_points: int | None) -> list[_Row]:
    """Keep the first and last point, and the least and greatest of equal shares of the rest.

    Least and greatest of each share keep every spike visible (the idea of M4: Jugel et al., "M4: a
    visualization-oriented time series data aggregation", VLDB 2014).
    """
    if max_points is None or len(rows) <= max_points:
        return rows
    losses = np.array([row[3] for row in rows], dtype=np.float64)
    least, greatest = np.nan_to_num(losses, nan=math.inf), np.nan_to_num(losses, nan=-math.inf)
    kept = {0, len(rows) - 1}
    shares = (max_points - 2) // 2
    for part in np.array_split(np.arange(1, len(rows) - 1), shares) if shares > 0 else []:
        kept |= {int(part[least[part].argmin()]), int(part[greatest[part].argmax()])}
    return [rows[place] for place in sorted(kept)]


def _point(row: _Row) -> LossPoint:
    loss = math.nan if row.loss is None else row.loss
    return LossPoint(curve=row.curve, step=row.step, tokens=row.tokens, loss=loss)
