"""Learning curves in numbers: trunks once each, the runs' own branches, and the losses worth showing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from api.figures.labels import cell_name
from api.figures.numbers.snapshot import Snapshot, what_comes
from orchestrator import amounts
from orchestrator.store.records import LossPoint, Run

HEADROOM: Final = 1.1
"""Losses above this times the median first loss are a divergence's and left off the scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One curve: a trunk, shared by horizons, or the branch of one run.

    Attributes:
        params: N of its cell, which it is coloured by.
        trunk: whether it is a trunk.
        tokens, loss: ascending in tokens, equally long.
        text: what the pointer tells of it.
    """

    params: float
    trunk: bool
    tokens: tuple[float, ...]
    loss: tuple[float, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The curves to draw, the losses between which they are drawn, and how many runs there are to show."""

    curves: tuple[Curve, ...]
    low: float
    high: float
    runs_shown: int
    runs_total: int


def learning_curves(snapshot: Snapshot, points: Mapping[str, Sequence[LossPoint]]) -> Curves | None:
    """Take the sampled curves apart into trunks and branches; None before the first loss.

    Args:
        snapshot: the sweep.
        points: by run id, the trunk's part first (``curve`` is then the trunk's id), then the run's own.
    """
    runs = {run.id: run for run in snapshot.runs}
    trunks: dict[str, Curve] = {}
    branches: list[Curve] = []
    for run_id, line in points.items():
        run = runs.get(run_id)
        if run is None:
            continue
        finite = [point for point in line if math.isfinite(point.loss)]
        shared = [point for point in finite if point.curve == run.trunk_id]
        own = [point for point in finite if point.curve != run.trunk_id]
        if shared:
            _keep_longest(trunks, str(run.trunk_id), _curve(snapshot, run, shared, trunk=True))
        if own:
            branches.append(_curve(snapshot, run, shared[-1:] + own, trunk=False))
    curves = (*trunks.values(), *branches)
    if not curves:
        return None
    low, high = _range(curves)
    return Curves(
        curves=curves,
        low=low,
        high=high,
        runs_shown=sum(1 for line in points.values() if line),
        runs_total=sum(1 for run in snapshot.runs if run.started_at is not None),
    )


def why_no_curves(snapshot: Snapshot) -> str:
    """What stands where no curve does: whether some will come, and when."""
    return snapshot.sweep.spec.training.no_curves or what_comes(
        snapshot,
        "Learning curves appear here as soon as a run reports its first loss.",
        "none of its runs reported a loss on the way",
    )


def _keep_longest(trunks: dict[str, Curve], trunk_id: str, curve: Curve) -> None:
    known = trunks.get(trunk_id)
    if known is None or curve.tokens[-1] > known.tokens[-1]:
        trunks[trunk_id] = curve


def _curve(snapshot: Snapshot, run: Run, points: Sequence[LossPoint], *, trunk: bool) -> Curve:
    cell = snapshot.cells[run.cell]
    what = f"trunk of N {amounts.count(cell.params)}" if trunk else cell_name(cell, with_batch=False)
    return Curve(
        params=cell.params,
        trunk=trunk,
        tokens=tuple(float(point.tokens) for point in points),
        loss=tuple(point.loss for point in points),
        text=f"{what} · η {amounts.rate(run.learning_rate, 3)}",
    )


def _range(curves: Sequence[Curve]) -> tuple[float, float]:
    """From just under the lowest loss to the highest that is not a divergence's."""
    first = median(curve.loss[0] for curve in curves if curve.trunk or not any(c.trunk for c in curves))
    low = min(min(curve.loss) for curve in curves)
    high = min(max(max(curve.loss) for curve in curves), HEADROOM * first)
    return 0.98 * low, max(1.02 * high, 1.05 * low)
