"""Learning curves: appended in bulk during runs, thinned for drawing."""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar

import numpy as np
from sqlalchemy import Row, func, select, union

from orchestrator.states import RunState
from orchestrator.store import schema
from orchestrator.store.curves import Curves
from orchestrator.store.records import LossPoint

_R, _C, _T = schema.runs.c, schema.cells.c, schema.trunks.c

WithLoss = TypeVar("WithLoss", LossPoint, Row[Any])

STARTED: Final = (RunState.RUNNING, RunState.COMPLETED, RunState.DIVERGED)
"""States of runs that have a curve."""


class Losses(Curves[LossPoint]):
    """Points of learning curves."""

    table = schema.losses
    point = LossPoint

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
        searched = select(_C.number).where(_C.sweep_id == sweep_id, _C.role.is_(None))
        chosen = (_R.sweep_id == sweep_id, _R.state.in_(STARTED), _R.cell.in_(searched))
        started = select(_R.id, _R.cell, turn).where(*chosen).subquery()
        fair = select(started.c.id).order_by(started.c.turn, started.c.cell).limit(max_curves)
        curves = self._rows(_R.id.in_(fair))
        return {run_id: self._points(thinned(rows, max_points)) for run_id, rows in curves.items()}

    def has_live(self, sweep_id: str) -> bool:
        """Whether a running run has reported a loss, of its own or of its trunk."""
        live = select(_R.id, _R.trunk_id).where(_R.sweep_id == sweep_id, _R.state == RunState.RUNNING)
        curves = live.with_only_columns(_R.id).union(live.with_only_columns(_R.trunk_id))
        query = select(schema.losses.c.curve).where(schema.losses.c.curve.in_(curves)).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).one_or_none() is not None

    def count(self, sweep_id: str) -> int:
        """Number of points of all runs and trunks of a sweep; it only grows."""
        curves = union(
            select(_R.id).where(_R.sweep_id == sweep_id), select(_T.id).where(_T.sweep_id == sweep_id)
        )
        query = select(func.count()).select_from(schema.losses).where(schema.losses.c.curve.in_(curves))
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())


def thinned(points: list[WithLoss], max_points: int) -> list[WithLoss]:
    """The first and the last point, and the least and greatest of equal shares of the others.

    Args:
        points: of one curve, in order.
        max_points: most points to keep, at least 2.

    The least and greatest of each share keep every spike visible (the idea of M4: Jugel et al., "M4: a
    visualization-oriented time series data aggregation", VLDB 2014).
    """
    if len(points) <= max_points:
        return points
    losses = np.array([point.loss for point in points], dtype=np.float64)
    least, greatest = np.nan_to_num(losses, nan=math.inf), np.nan_to_num(losses, nan=-math.inf)
    kept = {0, len(points) - 1}
    shares = (max_points - 2) // 2
    for part in np.array_split(np.arange(1, len(points) - 1), shares) if shares > 0 else []:
        kept |= {int(part[least[part].argmin()]), int(part[greatest[part].argmax()])}
    return [points[index] for index in sorted(kept)]
