"""Learning curves: appended in bulk during runs, thinned for drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, Row, func, select

from orchestrator.states import RunState
from orchestrator.store import schema
from orchestrator.store.curves import CurveParts, append, joined, parts_of
from orchestrator.store.database import Database
from orchestrator.store.records import LossPoint, Run

_R, _L, _C = schema.runs.c, schema.losses.c, schema.cells.c

STARTED: Final = (RunState.RUNNING, RunState.COMPLETED, RunState.DIVERGED)
"""States of runs that have a curve."""


class Losses:
    """Points of learning curves, by curve (a run's or a trunk's id) and step."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self, points: Sequence[LossPoint], *, fence: int | None = None, lease: str | None = None
    ) -> int:
        """Write points of any curves (`curves.append`); the number of new ones."""
        rows = [
            {
                "curve": point.curve,
                "step": point.step,
                "tokens": point.tokens,
                "loss": point.loss if math.isfinite(point.loss) else None,
            }
            for point in points
        ]
        return append(self._database, schema.losses, rows, fence=fence, lease=lease)

    def curve(self, run: Run, *, max_points: int | None = None) -> list[LossPoint]:
        """The learning curve of a run: its trunk up to the fork, then its own branch, by step.

        Args:
            run: the run.
            max_points: most points, at least 2; None for all. The first and the last are always among them.

        Returns:
            The points; a loss that was not finite is NaN.
        """
        with self._database.read() as connection:
            parts = parts_of(connection, _R.id == run.id)
            return _curves(connection, parts, max_points).get(run.id, [])

    def of_sweep(
        self, sweep_id: str, *, max_points: int = 100, max_curves: int = 60
    ) -> dict[str, list[LossPoint]]:
        """Learning curves of a sweep's search, without its comparison, for one figure.

        Args:
            sweep_id: the sweep.
            max_points: most points of one curve, at least 2.
            max_curves: most curves, taken from the cells in turn.

        Returns:
            Points by run id, in the order of creation; runs without points are absent.
        """
        turn = func.row_number().over(partition_by=_R.cell, order_by=_R.id).label("turn")
        searched = select(_C.number).where(_C.sweep_id == sweep_id, _C.arm.is_(None))
        chosen = (_R.sweep_id == sweep_id, _R.state.in_(STARTED), _R.cell.in_(searched))
        started = select(_R.id, _R.cell, turn).where(*chosen).subquery()
        fair = select(started.c.id).order_by(started.c.turn, started.c.cell).limit(max_curves)
        with self._database.read() as connection:
            return _curves(connection, parts_of(connection, _R.id.in_(fair)), max_points)


def _curves(
    connection: Connection, parts: Sequence[CurveParts], max_points: int | None
) -> dict[str, list[LossPoint]]:
    """The curves of ``parts``, thinned; runs without points are absent."""
    curves = joined(connection, select(_L.curve, _L.step, _L.tokens, _L.loss), _L, parts)
    return {run_id: [_point(row) for row in _thinned(rows, max_points)] for run_id, rows in curves.items()}


def _thinned(rows: list[Row[Any]], max_points: int | None) -> list[Row[Any]]:
    """The first and the last point, and the least and greatest of equal shares of the others.

    The least and greatest of each share keep every spike visible (the idea of M4: Jugel et al., "M4: a
    visualization-oriented time series data aggregation", VLDB 2014).
    """
    if max_points is None or len(rows) <= max_points:
        return rows
    losses = np.array([row.loss for row in rows], dtype=np.float64)
    least, greatest = np.nan_to_num(losses, nan=math.inf), np.nan_to_num(losses, nan=-math.inf)
    kept = {0, len(rows) - 1}
    shares = (max_points - 2) // 2
    for part in np.array_split(np.arange(1, len(rows) - 1), shares) if shares > 0 else []:
        kept |= {int(part[least[part].argmin()]), int(part[greatest[part].argmax()])}
    return [rows[index] for index in sorted(kept)]


def _point(row: Row[Any]) -> LossPoint:
    loss = math.nan if row.loss is None else row.loss
    return LossPoint(curve=row.curve, step=row.step, tokens=row.tokens, loss=loss)
