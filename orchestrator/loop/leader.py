"""Being the leader: one orchestrator works, the others wait for its lease to end."""

from __future__ import annotations

import logging
import threading

from orchestrator.errors import Conflict, Unavailable
from orchestrator.loop.drivers import Drivers
from orchestrator.loop.lease import KeptLease, holder_name
from orchestrator.loop.loop import Loop
from orchestrator.settings import Settings
from orchestrator.store import LEADER, Store

log = logging.getLogger(__name__)

WAITS_PER_LEASE = 10
"""Looks of a waiting orchestrator at the lease in the time that it lasts."""

UNAVAILABLE_SECONDS = 1.0
"""Pause after the database did not answer."""

LEAVE_SECONDS = 20.0
"""How long drivers have to leave when the orchestrator is asked to."""


def serve(store: Store, settings: Settings, stop: threading.Event) -> None:
    """Bring sweeps to their answers until ``stop`` is set: lead when possible, else wait to.

    Args:
        store: migrated or not yet reachable: it is waited for.
        settings: times and folders.
        stop: set to leave; the drivers started here are ended first, then the lease is given back.

    Raises:
        BadInput: another version of Etalon made the database.
    """
    drivers = Drivers(settings.home / "logs")
    holder = holder_name()
    migrated = False
    while not stop.is_set():
        try:
            if not migrated:
                store.migrate()
                migrated = True
            lease = KeptLease.try_acquire(store, LEADER, holder, settings.lease_seconds)
            if lease is not None:
                with lease:
                    log.info("leading", extra={"holder": holder, "fence": lease.fence})
                    _lead(store, settings, drivers, lease, stop)
        except Unavailable as error:
            log.warning("the database is not available", extra={"detail": error.detail})
            stop.wait(UNAVAILABLE_SECONDS)
        else:
            stop.wait(settings.lease_seconds / WAITS_PER_LEASE)
    drivers.end_all(seconds=LEAVE_SECONDS)


def _lead(
    store: Store, settings: Settings, drivers: Drivers, lease: KeptLease, stop: threading.Event
) -> None:
    loop = Loop(store, drivers, fence=lease.fence)
    while not stop.is_set() and not lease.lost:
        try:
            loop.step()
        except Conflict as conflict:
            log.warning("stepping back", extra={"detail": conflict.detail})
            return
        except Unavailable as error:
            log.warning("the database is not available", extra={"detail": error.detail})
            stop.wait(UNAVAILABLE_SECONDS)
        stop.wait(settings.tick_seconds)
    if stop.is_set():
        drivers.end_all(seconds=LEAVE_SECONDS)
