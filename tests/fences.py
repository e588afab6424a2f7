"""Fences of leases that tests take over."""

from __future__ import annotations

from orchestrator.store import LEADER, Store, driver_lease


def leader_fence(store: Store, holder: str = "a leader", seconds: float = 600) -> int:
    """Become the leader in place of the present one."""
    return _fence(store, LEADER, holder, seconds)


def driver_fence(store: Store, sweep_id: str, holder: str = "a driver", seconds: float = 600) -> int:
    """Become a sweep's driver in place of the present one."""
    return _fence(store, driver_lease(sweep_id), holder, seconds)


def _fence(store: Store, name: str, holder: str, seconds: float) -> int:
    before = store.leases.current(name)
    if before is not None:
        store.leases.release(before)
    lease = store.leases.acquire(name, holder, seconds)
    assert lease is not None
    return lease.fence
