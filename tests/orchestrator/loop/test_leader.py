"""Leading and waiting: a lease that is kept, lost or given back, and a database that comes and goes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Unavailable
from orchestrator.loop.leader import serve
from orchestrator.loop.lease import RenewedLease, holder_name
from orchestrator.settings import Settings
from orchestrator.store import LEADER, Store
from tests.waiting import until

SHORT = 0.5


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, lease_seconds=SHORT, tick_seconds=0.01)


def test_a_kept_lease_outlives_its_time(store: Store) -> None:
    lease = RenewedLease.try_acquire(store, LEADER, "a", SHORT)
    assert lease is not None
    with lease:
        first = store.leases.current(LEADER)
        assert first is not None
        until(lambda: store.now() >= first.expires_at)
        assert not lease.lost
        assert RenewedLease.try_acquire(store, LEADER, "b", SHORT) is None
    assert store.leases.current(LEADER) is None


def test_a_lease_that_another_took_is_noticed(store: Store) -> None:
    lease = RenewedLease.try_acquire(store, LEADER, "a", SHORT)
    assert lease is not None
    held = store.leases.current(LEADER)
    assert held is not None
    store.leases.release(held)
    assert store.leases.acquire(LEADER, "b", 60) is not None
    with lease:
        until(lambda: lease.lost)
    current = store.leases.current(LEADER)
    assert current is not None
    assert current.holder == "b"


def test_holders_have_names_of_their_own() -> None:
    assert len({holder_name() for _ in range(100)}) == 100


def test_serving_makes_an_empty_database_ready_and_leads(tmp_path: Path, settings: Settings) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'empty.db'}") as store, ThreadPoolExecutor(1) as thread:
        stop = threading.Event()
        served = thread.submit(serve, store, settings, stop)
        until(lambda: is_led(store))
        stop.set()
        served.result(timeout=30)
        assert store.leases.current(LEADER) is None


def is_led(store: Store) -> bool:
    """Whether there is a leader; while the tables are being made there is none."""
    with suppress(Unavailable):
        return store.leases.current(LEADER) is not None
    return False


def test_a_database_that_is_away_is_waited_for(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, asked = threading.Event(), []
    live = store.sweeps.live

    def away_at_first() -> Any:
        asked.append(None)
        if len(asked) == 1:
            raise Unavailable("The database did not answer.")
        stop.set()
        return live()

    monkeypatch.setattr("orchestrator.loop.leader.UNAVAILABLE_SECONDS", 0.01)
    monkeypatch.setattr(store.sweeps, "live", away_at_first)
    serve(store, settings, stop)
    assert len(asked) == 2


def test_a_leader_that_lost_its_lease_steps_back_and_waits(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, fences = threading.Event(), []
    live = store.sweeps.live

    def robbed_at_first() -> Any:
        held = store.leases.current(LEADER)
        if held is None:
            return live()  # robbed, and not aware of it yet
        fences.append(held.fence)
        if len(fences) > 1:
            stop.set()
            return live()
        store.leases.release(held)
        rival = store.leases.acquire(LEADER, "rival", 60)
        assert rival is not None
        store.leases.release(rival)
        return live()

    monkeypatch.setattr(store.sweeps, "live", robbed_at_first)
    serve(store, settings, stop)
    assert fences[1] > fences[0] + 1
