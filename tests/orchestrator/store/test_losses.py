"""Learning curves and what lenses record: written once however often sent, joined at the fork, thinned with their spikes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.errors import Conflict
from orchestrator.states import RunState
from orchestrator.store import Store, driver_lease
from orchestrator.store.losses import thinned
from orchestrator.store.records import LensPoint, LossPoint, Run, RunResult

FORK = 52_428.8
"""Tokens at which the first cell's branch leaves the trunk: 0.8 · 65,536."""


def points(curve: str, steps: range, loss: float = 3.0) -> list[LossPoint]:
    return [LossPoint(curve=curve, step=step, tokens=2048 * step, loss=loss) for step in steps]


@pytest.fixture
def runs(bench: Any) -> list[Run]:
    """Two horizons of one rate, then one of another; all running."""
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (1, 1e-3), (0, 2e-3))
    return bench.store.runs.claim(sweep.id, fence=bench.drive(sweep.id))


def values(curve: str, steps: range, loss: float = 3.0) -> list[LensPoint]:
    seen = {"gradient_norm": loss, "attention.logit": 3.0}
    return [LensPoint(curve=curve, step=step, tokens=2048 * step, values=seen) for step in steps]


POINTS = {"losses": points, "lenses": values}


@pytest.fixture(params=POINTS)
def recorder(request: pytest.FixtureRequest, store: Store) -> tuple[Any, Callable[..., list[Any]]]:
    """Where the points of runs are kept, and a maker of points: of their losses, then of their lenses."""
    return getattr(store, request.param), POINTS[request.param]


def test_points_are_written_once_and_the_first_stays(recorder: Any, runs: list[Run]) -> None:
    kept, make = recorder
    sent = make(runs[0].id, range(1, 6))
    assert kept.append(sent) == 5
    assert kept.append(make(runs[0].id, range(1, 6), loss=9.0)) == 0
    assert kept.append([*sent, *make(runs[0].id, range(6, 8))]) == 2
    assert kept.append([]) == 0
    assert kept.curve(runs[0]) == make(runs[0].id, range(1, 8))
    assert kept.curve(runs[1]) == []


def test_points_of_a_driver_that_was_replaced_are_refused(bench: Any, recorder: Any, runs: list[Run]) -> None:
    kept, make = recorder
    sent, lease = make(runs[0].id, range(1, 6)), driver_lease(runs[0].sweep_id)
    fence = bench.drive(runs[0].sweep_id, "another")
    with pytest.raises(Conflict, match=f"fence {fence} holds it"):
        kept.append(sent, fence=fence - 1, lease=lease)
    assert kept.append(sent, fence=fence, lease=lease) == 5


def test_a_value_that_is_not_finite_is_kept_as_nan(store: Store, runs: list[Run]) -> None:
    store.losses.append(points(runs[0].id, range(1, 2), loss=math.inf))
    store.lenses.append(values(runs[0].id, range(1, 2), loss=math.inf))
    assert math.isnan(store.losses.curve(runs[0])[0].loss)
    (seen,) = (point.values for point in store.lenses.curve(runs[0]))
    assert math.isnan(seen["gradient_norm"])
    assert seen["attention.logit"] == 3.0


def test_a_curve_is_its_trunk_up_to_its_first_own_point(recorder: Any, runs: list[Run]) -> None:
    kept, make = recorder
    short, long, _ = runs
    trunk = str(short.trunk_id)
    kept.append(make(trunk, range(1, 52)) + make(short.id, range(26, 33)))
    assert [(p.step, p.curve) for p in kept.curve(short)] == [
        *((step, trunk) for step in range(1, 26)),
        *((step, short.id) for step in range(26, 33)),
    ]
    assert [p.step for p in kept.curve(long)] == list(range(1, 52))


def test_before_its_branch_begins_a_curve_ends_at_the_fork(store: Store, runs: list[Run]) -> None:
    store.losses.append(points(str(runs[0].trunk_id), range(1, 52)))
    curve = store.losses.curve(runs[0])
    assert curve[-1].tokens <= FORK < curve[-1].tokens + 2048


def test_a_thinned_curve_keeps_its_ends_and_its_spikes(store: Store, runs: list[Run]) -> None:
    smooth = points(runs[0].id, range(1, 1001))
    spike = LossPoint(curve=runs[0].id, step=500, tokens=2048 * 500, loss=9.0)
    dip = LossPoint(curve=runs[0].id, step=700, tokens=2048 * 700, loss=1.0)
    store.losses.append([spike, dip, *smooth])
    curve = thinned(store.losses.curve(runs[0]), 50)
    assert len(curve) <= 50
    assert (curve[0].step, curve[-1].step) == (1, 1000)
    assert {500, 700} <= {point.step for point in curve}
    assert [point.step for point in curve] == sorted({point.step for point in curve})


@pytest.mark.parametrize("most", [2, 3, 4, 7, 10, 99, 100, 101])
def test_a_thinned_curve_never_has_more_points_than_asked_for(
    store: Store, runs: list[Run], most: int
) -> None:
    store.losses.append(
        [p for step in range(100) for p in points(runs[0].id, range(step, step + 1), loss=step % 7)]
    )
    curve = thinned(store.losses.curve(runs[0]), most)
    assert min(most, 100) // 2 <= len(curve) <= most
    assert (curve[0].step, curve[-1].step) == (0, 99)


def test_a_diverged_curve_is_thinned_with_its_gap(store: Store, runs: list[Run]) -> None:
    store.losses.append(points(runs[0].id, range(1, 50)) + points(runs[0].id, range(50, 100), loss=math.nan))
    curve = thinned(store.losses.curve(runs[0]), 20)
    assert len(curve) <= 20
    assert math.isnan(curve[-1].loss)


def test_a_figure_gets_every_curve_that_has_begun(store: Store, runs: list[Run]) -> None:
    store.losses.append(points(str(runs[0].trunk_id), range(1, 10)))
    curves = store.losses.of_sweep(runs[0].sweep_id, max_points=5, max_curves=10)
    assert set(curves) == {runs[0].id, runs[1].id}
    assert all(len(curve) <= 5 for curve in curves.values())


def test_a_figure_with_room_for_few_takes_from_every_cell(store: Store, runs: list[Run]) -> None:
    for run in runs:
        store.losses.append(points(run.id, range(30, 40)))
    curves = store.losses.of_sweep(runs[0].sweep_id, max_points=5, max_curves=2)
    assert set(curves) == {runs[0].id, runs[1].id}


def test_runs_of_a_comparison_take_no_room_in_the_figure_of_the_search(bench: Any) -> None:
    sweep = bench.sweep(comparison={"scale": {"width": 128, "depth": 2}})
    held_out = next(cell for cell in bench.store.sweeps.cells(sweep.id) if cell.role)
    bench.ask(sweep.id, (0, 1e-3), (held_out.number, 1e-3))
    claimed = bench.store.runs.claim(sweep.id, fence=bench.drive(sweep.id))
    bench.store.losses.append([point for run in claimed for point in points(run.id, range(1, 3))])
    assert set(bench.store.losses.of_sweep(sweep.id)) == {run.id for run in claimed if run.cell == 0}


def test_a_curve_stays_when_its_run_ends(bench: Any, runs: list[Run]) -> None:
    bench.store.losses.append(points(runs[0].id, range(1, 3)))
    fence = bench.store.leases.current(f"driver:{runs[0].sweep_id}").fence
    result = RunResult(run_id=runs[0].id, state=RunState.DIVERGED, reason="not finite")
    bench.store.runs.finish([result], fence=fence)
    assert set(bench.store.losses.of_sweep(runs[0].sweep_id)) == {runs[0].id}
