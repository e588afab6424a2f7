"""Records of the lenses: written once however often they are sent, joined at the fork like the losses."""

from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator.errors import Conflict
from orchestrator.store import Store, driver_lease
from orchestrator.store.records import LensPoint, Run


def seen(curve: str, *steps: int, value: float = 1.0) -> list[LensPoint]:
    values = {"gradient_norm": value, "attention.logit": 3.0}
    return [LensPoint(curve=curve, step=step, tokens=2048 * step, values=values) for step in steps]


@pytest.fixture
def run(bench: Any) -> Run:
    """A run that goes on from a trunk."""
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3))
    (claimed,) = bench.store.runs.claim(sweep.id, fence=bench.drive(sweep.id))
    return claimed


def test_what_was_seen_comes_back_as_it_was(store: Store, run: Run) -> None:
    points = seen(run.id, 1, 2)
    assert store.lenses.append(points) == 2
    assert store.lenses.append(seen(run.id, 2, 3, value=9.0)) == 1
    assert store.lenses.curve(run) == [*points, *seen(run.id, 3, value=9.0)]


def test_a_run_is_seen_on_its_trunk_up_to_its_first_own_point(store: Store, run: Run) -> None:
    trunk = str(run.trunk_id)
    store.lenses.append(seen(trunk, 10, 20, 30, 40) + seen(run.id, 26, 32))
    assert [(point.step, point.curve) for point in store.lenses.curve(run)] == [
        (10, trunk),
        (20, trunk),
        (26, run.id),
        (32, run.id),
    ]


def test_a_value_that_is_not_finite_is_kept_as_nan(store: Store, run: Run) -> None:
    store.lenses.append(seen(run.id, 1, value=math.inf))
    (point,) = store.lenses.curve(run)
    assert math.isnan(point.values["gradient_norm"])
    assert point.values["attention.logit"] == 3.0


def test_points_of_a_driver_that_was_replaced_are_refused(bench: Any, run: Run) -> None:
    lease, fence = driver_lease(run.sweep_id), bench.drive(run.sweep_id, "another")
    with pytest.raises(Conflict, match=f"fence {fence} holds it"):
        bench.store.lenses.append(seen(run.id, 1), fence=fence - 1, lease=lease)
    assert bench.store.lenses.curve(run) == []


def test_nothing_to_write_writes_nothing(store: Store) -> None:
    assert store.lenses.append([]) == 0
