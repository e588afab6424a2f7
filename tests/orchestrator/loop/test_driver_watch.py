"""Drivers that live without their lease: which of them are killed, and when."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from orchestrator.errors import Unavailable
from orchestrator.loop.driver_watch import (
    LEAST_ABSENT_SECONDS,
    LONGEST_LOOK,
    REASON,
    START_SECONDS,
    DriverWatch,
    Vigil,
)
from orchestrator.loop.lease import holder_name, is_held_by
from orchestrator.store import driver_lease
from orchestrator.store.records import Lease
from tests.clock import Clock

PID, LEASE_SECONDS = 41, 10.0


def lease(holder: str, fence: int = 7) -> Lease:
    return Lease(name="driver:s", holder=holder, fence=fence, expires_at=datetime(2026, 1, 1, tzinfo=UTC))


OWN, RIVAL = lease(f"host/{PID}/abc"), lease("host/42/abc", fence=8)


@pytest.mark.parametrize(
    ("holder", "held"),
    [("host/41/abc", True), ("host/4/abc", False), ("host/141/abc", False), ("41", False), ("", False)],
)
def test_a_holder_is_known_by_its_process_id(holder: str, held: bool) -> None:
    assert is_held_by(lease(holder), PID) is held


def test_the_name_of_a_process_says_its_process_id() -> None:
    assert is_held_by(lease(holder_name()), os.getpid())


@pytest.mark.parametrize(
    ("seen", "lease_seconds", "hung"),
    [
        # between its start and its lease
        ([(None, START_SECONDS)], LEASE_SECONDS, False),
        ([(None, START_SECONDS + 2 * LEASE_SECONDS)], LEASE_SECONDS, False),
        ([(RIVAL, START_SECONDS + 2 * LEASE_SECONDS)], LEASE_SECONDS, False),
        ([(None, START_SECONDS + 2 * LEASE_SECONDS + 1)], LEASE_SECONDS, True),
        # after it had its lease
        ([(OWN, 1e6)], LEASE_SECONDS, False),
        ([(OWN, 1.0), (None, 3 * LEASE_SECONDS)], LEASE_SECONDS, False),
        ([(OWN, 1.0), (None, 3 * LEASE_SECONDS + 1)], LEASE_SECONDS, True),
        ([(OWN, 1.0), (RIVAL, 3 * LEASE_SECONDS + 1)], LEASE_SECONDS, True),
        ([(OWN, 1.0), (None, 20.0), (RIVAL, 11.0)], LEASE_SECONDS, True),
        ([(OWN, 1.0), (None, 20.0), (OWN, 1.0), (None, 20.0)], LEASE_SECONDS, False),
        # time to end in order, however short the lease
        ([(OWN, 1.0), (None, LEAST_ABSENT_SECONDS)], 0.5, False),
        ([(OWN, 1.0), (None, LEAST_ABSENT_SECONDS + 1)], 0.5, True),
    ],
)
def test_a_driver_hangs_when_it_is_without_its_lease_for_too_long(
    seen: list[tuple[Lease | None, float]], lease_seconds: float, hung: bool
) -> None:
    vigil = Vigil(pid=PID)
    for held, seconds in seen:
        vigil = vigil.after(held, seconds)
    assert vigil.is_hung(lease_seconds) is hung


@dataclass
class Living:
    """Drivers that live until they are killed."""

    alive: dict[str, int]
    killed: list[str] = field(default_factory=list)

    def pids(self) -> dict[str, int]:
        return dict(self.alive)

    def kill(self, sweep_id: str) -> None:
        self.killed.append(sweep_id)
        del self.alive[sweep_id]


class Shift:
    """A sweep whose driver holds its lease and some runs, and the watch over it."""

    def __init__(self, house) -> None:
        self.store, self.clock = house.store, Clock()
        self.sweep_id = house.submit().id
        house.loop.step()
        self.runs = house.driver.claim(self.sweep_id, most=2)
        house.driver.die(self.sweep_id)
        name, holder = driver_lease(self.sweep_id), f"host/{PID}/abc"
        self.lease = self.store.leases.acquire(name, holder, 600)
        self.runs = self.store.runs.claim(self.sweep_id, fence=self.lease.fence, run_ids=self.pending()[:2])
        self.drivers = Living({self.sweep_id: PID})
        self.watch = DriverWatch(self.store, self.drivers, LEASE_SECONDS, clock=self.clock)

    def pending(self) -> list[str]:
        return [run.id for run in self.store.runs.pending(self.sweep_id)]

    def look(self, seconds: float, times: int = 1) -> None:
        for _ in range(times):
            self.clock.seconds += seconds
            self.watch.look()


@pytest.fixture
def shift(house) -> Shift:
    return Shift(house)


def test_the_runs_of_a_hung_driver_are_pending_again_with_the_reason(shift: Shift) -> None:
    shift.look(1.0)
    shift.store.leases.release(shift.lease)
    shift.look(1.0, times=30)
    assert shift.drivers.killed == []
    shift.look(1.0)
    assert shift.drivers.killed == [shift.sweep_id]
    assert {run.id for run in shift.runs} <= set(shift.pending())
    assert {shift.store.runs.get(run.id).reason for run in shift.runs} == {REASON}
    shift.look(1.0, times=100)
    assert shift.drivers.killed == [shift.sweep_id]


def test_the_runs_of_a_rival_are_left_to_it(shift: Shift) -> None:
    shift.look(1.0)
    shift.store.leases.release(shift.lease)
    rival = shift.store.leases.acquire(shift.lease.name, "host/42/abc", 600)
    assert rival is not None
    taken = shift.store.runs.claim(shift.sweep_id, fence=rival.fence, run_ids=shift.pending())
    shift.look(1.0, times=31)
    assert shift.drivers.killed == [shift.sweep_id]
    assert not {run.id for run in taken} & set(shift.pending())


def test_a_driver_that_keeps_its_lease_is_left_alone(shift: Shift) -> None:
    shift.look(1.0, times=400)
    assert shift.drivers.killed == []


def test_a_successor_begins_anew(shift: Shift) -> None:
    shift.look(1.0)
    shift.store.leases.release(shift.lease)
    shift.look(1.0, times=25)
    shift.drivers.alive[shift.sweep_id] = PID + 1
    shift.look(1.0, times=50)
    assert shift.drivers.killed == []


def test_time_in_which_nobody_could_renew_does_not_count(
    shift: Shift, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift.look(1.0)
    shift.store.leases.release(shift.lease)
    shift.look(3600.0)  # the machine slept, or this process
    with monkeypatch.context() as outage:
        outage.setattr(shift.store.leases, "current", _away)
        for _ in range(100):
            with pytest.raises(Unavailable):
                shift.look(1.0)
    shift.look(1.0, times=int(3 * LEASE_SECONDS - LONGEST_LOOK * LEASE_SECONDS) - 1)
    assert shift.drivers.killed == []
    shift.look(1.0, times=2)
    assert shift.drivers.killed == [shift.sweep_id]


def _away(_name: str) -> None:
    raise Unavailable("The database did not answer.")
