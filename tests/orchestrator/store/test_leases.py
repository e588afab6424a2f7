"""Leases: one holder at a time by the database's clock, and a fence that grows with each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta

import pytest

from orchestrator.errors import Unavailable
from orchestrator.store import Store
from orchestrator.store.database import Database
from orchestrator.store.leases import check_fence

MOMENT = 1e-3


def wait_for_expiry(store: Store, seconds: float) -> None:
    """Ask the database's clock until ``seconds`` have gone by."""
    until = store.now() + timedelta(seconds=seconds)
    while store.now() <= until:
        pass


def test_a_lease_has_one_holder(store: Store) -> None:
    held = store.leases.acquire("orchestrator", "a", 60)
    assert held is not None
    assert store.leases.acquire("orchestrator", "b", 60) is None
    assert store.leases.current("orchestrator") == held


def test_leases_of_other_names_are_free(store: Store) -> None:
    store.leases.acquire("driver:1", "a", 60)
    assert store.leases.acquire("driver:2", "b", 60) is not None


def test_the_holder_may_ask_again_and_keeps_its_fence(store: Store) -> None:
    first = store.leases.acquire("orchestrator", "a", 60)
    again = store.leases.acquire("orchestrator", "a", 120)
    assert first is not None
    assert again is not None
    assert again.fence == first.fence
    assert again.expires_at > first.expires_at


def test_an_expired_lease_passes_on_with_a_greater_fence(store: Store) -> None:
    first = store.leases.acquire("orchestrator", "a", MOMENT)
    assert first is not None
    wait_for_expiry(store, 2 * MOMENT)
    assert store.leases.current("orchestrator") is None
    second = store.leases.acquire("orchestrator", "b", 60)
    assert second is not None
    assert second.fence > first.fence
    assert store.leases.renew(first, 60) is None
    assert store.leases.current("orchestrator") == second


def test_renewing_lengthens_it(store: Store) -> None:
    held = store.leases.acquire("orchestrator", "a", 10)
    assert held is not None
    renewed = store.leases.renew(held, 60)
    assert renewed is not None
    assert renewed.expires_at > held.expires_at
    assert renewed.fence == held.fence


def test_an_expired_lease_can_be_renewed_until_another_holder_takes_it(store: Store) -> None:
    held = store.leases.acquire("orchestrator", "a", MOMENT)
    assert held is not None
    wait_for_expiry(store, 2 * MOMENT)
    assert store.leases.renew(held, 60) is not None


def test_a_released_lease_is_free_at_once_and_its_fence_is_spent(store: Store) -> None:
    held = store.leases.acquire("orchestrator", "a", 60)
    assert held is not None
    store.leases.release(held)
    assert store.leases.current("orchestrator") is None
    assert store.leases.renew(held, 60) is None
    again = store.leases.acquire("orchestrator", "a", 60)
    assert again is not None
    assert again.fence > held.fence


def test_releasing_what_another_holds_does_nothing(store: Store) -> None:
    first = store.leases.acquire("orchestrator", "a", MOMENT)
    assert first is not None
    wait_for_expiry(store, 2 * MOMENT)
    second = store.leases.acquire("orchestrator", "b", 60)
    store.leases.release(first)
    assert store.leases.current("orchestrator") == second


@pytest.mark.parametrize("seconds", [0.5, 3600.0])
def test_a_lease_ends_by_the_databases_clock(store: Store, seconds: float) -> None:
    before = store.now()
    held = store.leases.acquire("orchestrator", "a", seconds)
    assert held is not None
    assert before <= held.expires_at - timedelta(seconds=seconds) <= store.now()


def test_a_holder_that_is_stopped_in_the_middle_of_a_write_keeps_no_lock(postgresql_url: str) -> None:
    """Its transaction is open, so the server cannot know that it will never go on."""
    with Store.open(postgresql_url) as store, ThreadPoolExecutor(1) as thread:
        held = store.leases.acquire("orchestrator", "a", MOMENT)
        assert held is not None
        stopped, taken = Database(postgresql_url), []

        def write() -> None:
            with stopped.write() as connection:
                check_fence(connection, held.name, held.fence)
                rival = thread.submit(store.leases.acquire, "orchestrator", "b", 60.0)
                wait([rival], timeout=9)
                taken.append(rival.done())
                check_fence(connection, held.name, held.fence)

        with pytest.raises(Unavailable):
            write()
        assert taken == [True]
        stopped.engine.dispose()
        current = store.leases.current("orchestrator")
        assert current is not None
        assert current.holder == "b"
