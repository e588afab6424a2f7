"""A sweep whose runs wait says why: for what, how long so far, behind how many others, and what its share is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from orchestrator.allocation import Cluster, Demand
from orchestrator.answers.sweeps import sweep_document
from orchestrator.answers.waiting import waits_because
from orchestrator.spec import Resources
from orchestrator.states import SweepState
from orchestrator.store import driver_lease
from orchestrator.submission.capacity import workers_event

TWO_CPUS = Cluster.of([(2, 0)])


class Queue:
    """Sweeps whose drivers have recorded what they ask for."""

    def __init__(self, house: Any) -> None:
        self.house, self.store = house, house.store

    def sweep(self, wants: int, holds: int = 0, served: float = 0.0) -> str:
        """A running sweep with pending runs, of which a worker has one if the sweep holds any."""
        resources = Resources(max_parallel=2)
        sweep = self.house.submit(resources=resources.model_dump())
        self.store.sweeps.move(sweep.id, SweepState.RUNNING)
        self.house.ask(sweep.id, (0, 1e-3), (0, 2e-3), (0, 4e-3))
        fence = self.house.drive(sweep.id)
        self.store.events.append(sweep.id, workers_event(TWO_CPUS, resources))
        demand = Demand(sweep_id=sweep.id, cpus=1, gpus=0, wants=wants, holds=holds, served_seconds=served)
        self.store.demands.record(demand, fence=fence)
        if holds:
            run = self.store.runs.pending(sweep.id)[0]
            self.store.runs.claim(sweep.id, fence=fence, run_ids=[run.id])
        return str(sweep.id)

    def why(self, sweep_id: str) -> str | None:
        return waits_because(self.store, self.store.sweeps.get(sweep_id))


@pytest.fixture
def queue(house: Any) -> Queue:
    return Queue(house)


def test_a_sweep_behind_another_says_for_what_it_waits_and_what_its_share_is(queue: Queue) -> None:
    first, second = queue.sweep(wants=2, holds=2), queue.sweep(wants=2)
    assert queue.why(first) is None
    said = sweep_document(queue.store, queue.store.sweeps.get(second)).waits_because
    assert re.fullmatch(
        r"Runs wait for 2 CPUs, [0-9.]+\ss so far; 1 sweep ahead; its share is 1 of 2 workers, and it starts when a job of "
        r"theirs ends\.",
        str(said),
    )


def test_the_third_of_two_workers_says_that_sweeps_take_turns(queue: Queue) -> None:
    queue.sweep(wants=2, holds=1)
    queue.sweep(wants=2, holds=1)
    third = queue.sweep(wants=2, served=1e6)
    said = str(queue.why(third))
    assert "2 sweeps ahead; its share is 0 of 2 workers" in said
    assert "least so far" in said


def test_a_sweep_that_no_other_keeps_from_starting_says_nothing_at_first(queue: Queue) -> None:
    assert queue.why(queue.sweep(wants=2)) is None


def test_a_sweep_whose_driver_is_gone_is_ahead_of_nobody(queue: Queue) -> None:
    first, second = queue.sweep(wants=2, holds=2), queue.sweep(wants=2)
    lease = queue.store.leases.current(driver_lease(first))
    assert lease is not None
    queue.store.leases.release(lease)
    assert queue.why(second) is None


def test_a_demand_of_a_former_driver_counts_no_more(queue: Queue) -> None:
    first = queue.sweep(wants=2, holds=2)
    queue.house.drive(first, "another driver")
    assert queue.store.demands.live() == []


def test_the_worker_seconds_of_what_a_sweep_holds_grow_with_time(queue: Queue) -> None:
    queue.sweep(wants=2, holds=2)
    before = queue.store.demands.live()[0].demand.served_seconds
    moved = queue.store.now()
    while queue.store.now() == moved:
        pass
    assert queue.store.demands.live()[0].demand.served_seconds > before


def test_a_paused_sweep_shows_the_trainings_that_run_and_not_the_horizons_of_a_trunk(queue: Queue) -> None:
    sweep = queue.house.submit()
    cells = queue.store.sweeps.cells(sweep.id)
    trunk = cells[0].trunk
    horizons = [cell.number for cell in cells if cell.trunk == trunk]
    assert len(horizons) == 2
    queue.store.sweeps.move(sweep.id, SweepState.RUNNING)
    queue.house.ask(sweep.id, *((cell, rate) for cell in horizons for rate in cells[0].rates[:3]))
    queue.store.runs.claim(sweep.id, fence=queue.house.drive(sweep.id))
    queue.store.sweeps.move(sweep.id, SweepState.PAUSED)
    shown = sweep_document(queue.store, queue.store.sweeps.get(sweep.id))
    assert (shown.progress.under_way, shown.progress.runs_by_state["running"]) == (3, 6)
    assert shown.waits_because == (
        "3 trainings are still running, trunks that end at 6 horizons; no other starts until the sweep is resumed."
    )
    queue.store.runs.release(sweep.id, fence=None, reason="its machine was lost")
    assert sweep_document(queue.store, queue.store.sweeps.get(sweep.id)).waits_because is None
