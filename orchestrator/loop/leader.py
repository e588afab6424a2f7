"""Leadership: one orchestrator runs the loop, the others wait for its lease."""

from __future__ import annotations

import logging
import threading
from typing import Final

from orchestrator.errors import Conflict, Unavailable
from orchestrator.loop.driver_watch import DriverWatch
from orchestrator.loop.drivers import Drivers
from orchestrator.loop.lease import RenewedLease, holder_name
from orchestrator.loop.loop import Loop
from orchestrator.settings import Settings
from orchestrator.store import LEADER, Store

log = logging.getLogger(__name__)

LEASE_SHARE: Final = 0.6
"""Duration of the leader's lease as a share of ``Settings.lease_seconds``: another leads within that time, also on a busy
machine, because a lost lead costs nothing but a new leader's look. A driver's lease lasts longer: losing it costs work."""

WAITS_PER_LEASE: Final = 20
"""Looks of a waiting orchestrator per duration of the leader's lease."""

UNAVAILABLE_SECONDS = 1.0
"""Pause after the database did not answer."""

LEAVE_SECONDS = 20.0
"""Seconds that drivers have to end after the orchestrator got a signal."""


def serve(store: Store, settings: Settings, stop: threading.Event) -> None:
    """Run the loop whenever this orchestrator leads, until ``stop`` is set.

    Args:
        store: is migrated first, as soon as it can be reached.
        settings: times and folders.
        stop: when set, the drivers started here are ended, then the lease is given back.

    Raises:
        BadInput: the database has a revision that this version does not know.
    """
    drivers, seconds = Drivers(settings), LEASE_SHARE * settings.lease_seconds
    watch = DriverWatch(store, drivers, settings.lease_seconds)
    holder = holder_name()
    migrated = False
    while not stop.is_set():
        try:
            if not migrated:
                store.migrate()
                migrated = True
            watch.look()  # before any write: a stopped driver may hold SQLite's lock
            lease = _try_to_lead(store, holder, seconds)
            if lease is not None:
                with lease:
                    log.info("leading", extra={"holder": holder, "fence": lease.fence})
                    _lead(Loop(store, drivers, fence=lease.fence), watch, lease, settings, stop)
                    if stop.is_set():
                        drivers.end_all(seconds=LEAVE_SECONDS)
        except Unavailable as error:
            log.warning("the database is not available", extra={"detail": error.detail})
            stop.wait(UNAVAILABLE_SECONDS)
        else:
            stop.wait(seconds / WAITS_PER_LEASE)
    drivers.end_all(seconds=LEAVE_SECONDS)


def _try_to_lead(store: Store, holder: str, seconds: float) -> RenewedLease | None:
    """The leader's lease if it is free; while another holds it, this reads only, and takes no writer's turn."""
    held = store.leases.current(LEADER)
    if held is not None and held.holder != holder:
        return None
    return RenewedLease.try_acquire(store, LEADER, holder, seconds)


def _lead(
    loop: Loop, watch: DriverWatch, lease: RenewedLease, settings: Settings, stop: threading.Event
) -> None:
    while not stop.is_set() and not lease.lost:
        try:
            watch.look()
            loop.step()
        except Conflict as conflict:
            log.warning("stepping back", extra={"detail": conflict.detail})
            return
        except Unavailable as error:
            log.warning("the database is not available", extra={"detail": error.detail})
            stop.wait(UNAVAILABLE_SECONDS)
        stop.wait(settings.tick_seconds)
