"""Learning curves: appended in bulk while runs live, thinned by the database when drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    func,
    literal,
    or_,
    select,
    union_all,
)

from orchestrator.states import RunState
from orchestrator.store import schema
from orchestrator.store.database import Database
from orchestrator.store.records import LossPoint, Run

_R, _L, _C = schema.runs.c, schema.losses.c, schema.cells.c

STARTED: Final = (RunState.RUNNING, RunState.COMPLETED, RunState.DIVERGED)
"""States of runs that have a curve to show."""


class Losses:
    """Points of learning curves, by curve (a run's or a trunk's id) and step."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, points: Sequence[LossPoint]) -> int:
        """Write points; one whose curve and step are there already stays as it is.

        Returns:
            How many were new.
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
        chosen = select(schema.runs).where(_R.id == run.id)
        with self._database.read() as connection:
            return _curves(connection, chosen, max_points).get(run.id, [])

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
        chosen = select(schema.runs).where(_R.id.in_(fair))
        with self._database.read() as connection:
            return _curves(connection, chosen, max_points)


def _curves(
    connection: Connection, chosen: Select[Any], max_points: int | None
) -> dict[str, list[LossPoint]]:
    points = _points(chosen.cte("chosen"))
    query = select(*points.c) if max_points is None else _thinned(points, max(2, max_points))
    named = query.subquery()
    curves: dict[str, list[LossPoint]] = {}
    for row in connection.execute(select(named).order_by(named.c.run_id, named.c.step)).mappings():
        curves.setdefault(row["run_id"], []).append(_point(row))
    return curves


def _points(chosen: CTE) -> CTE:
    """Every point of every chosen run: the branch's own, and the trunk's before the branch begins.

    A branch that has not begun yet begins at the fork.
    """
    branch = select(chosen.c.id.label("run_id"), schema.losses).join(schema.losses, _L.curve == chosen.c.id)
    own = schema.losses.alias("own")
    begun = select(func.min(own.c.step)).where(own.c.curve == chosen.c.id).scalar_subquery()
    fork = (literal(1.0) - _C.decay_fraction) * _C.tokens
    before_branch = or_(_L.step < begun, begun.is_(None) & (_L.tokens <= fork))
    trunk = (
        select(chosen.c.id.label("run_id"), schema.losses)
        .join(schema.losses, _L.curve == chosen.c.trunk_id)
        .join(schema.cells, (_C.sweep_id == chosen.c.sweep_id) & (_C.number == chosen.c.cell))
        .where(before_branch)
    )
    return union_all(branch, trunk).cte("points")


def _thinned(points: CTE, max_points: int) -> Select[Any]:
    """Keep the first and last point, and the least and greatest of equal shares of the rest.

    Least and greatest of each share keep every spike visible (the idea of M4: Jugel et al., "M4: a
    visualization-oriented time series data aggregation", VLDB 2014).
    """
    shares = max(1, (max_points - 2) // 2)
    run, step = points.c.run_id, points.c.step
    numbered = select(
        *points.c,
        func.row_number().over(partition_by=run, order_by=step).label("place"),
        func.count().over(partition_by=run).label("length"),
        func.ntile(shares).over(partition_by=run, order_by=step).label("share"),
    ).subquery()
    ranked = select(
        numbered,
        _rank(numbered.c, numbered.c.loss.asc()).label("from_least"),
        _rank(numbered.c, numbered.c.loss.desc()).label("from_greatest"),
    ).subquery()
    c = ranked.c
    ends = or_(c.place == 1, c.place == c.length)
    extremes = or_(c.from_least == 1, c.from_greatest == 1) if max_points >= 4 else literal(False)
    kept = or_(c.length <= max_points, ends, extremes)
    return select(c.run_id, c.curve, c.step, c.tokens, c.loss).where(kept)


def _rank(c: Any, order: ColumnElement[Any]) -> ColumnElement[int]:
    """Place within a share, the ends of the curve aside: those are kept anyway."""
    end = or_(c.place == 1, c.place == c.length)
    return func.row_number().over(
        partition_by=(c.run_id, c.share, end), order_by=(order.nulls_last(), c.step)
    )


def _point(row: RowMapping) -> LossPoint:
    loss = math.nan if row["loss"] is None else row["loss"]
    return LossPoint(curve=row["curve"], step=row["step"], tokens=row["tokens"], loss=loss)
