"""Ends drivers that hang: a driver started here that lives without its sweep's lease is killed, so that another starts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from orchestrator.loop.lease import is_held_by
from orchestrator.store import Store, driver_lease
from orchestrator.store.records import Lease

log = logging.getLogger(__name__)

START_SECONDS: Final = 300.0
"""Seconds that a driver may need to load Ray on a busy machine, before it asks for its lease."""

WAITED_LEASES: Final = 2
"""A driver waits this many durations of the lease for that of a killed predecessor (``workers.driver``)."""

ABSENT_LEASES, LEAST_ABSENT_SECONDS = 3.0, 5.0
"""A driver that held its lease is hung after this many durations without it, and not before these seconds: one that was
starved of the processor, or whose database was away, has time to renew it, and one that leaves in order to end."""

LOOKS_PER_LEASE: Final = 10
"""Looks per duration of the lease."""

LONGEST_LOOK: Final = 0.5
"""Share of the lease's duration that one look counts at most: while this process or the machine slept, or the database
was away, drivers could not renew."""

REASON: Final = "Its driver hung and was killed."


class WatchedDrivers(Protocol):
    """The driver processes as the watch uses them (``orchestrator.loop.drivers.Drivers``)."""

    def pids(self) -> Mapping[str, int]:
        """Process ids of the living drivers by sweep."""

    def kill(self, sweep_id: str) -> None:
        """Kill a sweep's driver with everything that it started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vigil:
    """What is known of one living driver.

    Attributes:
        pid: of its process.
        holder: its name in its lease; None before it has been seen with one. A process on another machine may have its pid.
        fence: of its lease; None before it has been seen with one.
        absent_seconds: time without its lease since its start, or since it was last seen with it.
    """

    pid: int
    holder: str | None = None
    fence: int | None = None
    absent_seconds: float = 0.0

    def after(self, lease: Lease | None, seconds: float) -> Vigil:
        """After another look.

        Args:
            lease: of the sweep as it is held now, by whomever; None if nobody holds it.
            seconds: since the look before.
        """
        if lease is not None and self._is_its(lease):
            return replace(self, holder=lease.holder, fence=lease.fence, absent_seconds=0.0)
        return replace(self, absent_seconds=self.absent_seconds + seconds)

    def _is_its(self, lease: Lease) -> bool:
        return is_held_by(lease, self.pid) if self.holder is None else lease.holder == self.holder

    def is_hung(self, lease_seconds: float) -> bool:
        """Whether the driver has been without its lease for longer than a start or an orderly end takes."""
        if self.fence is None:
            return self.absent_seconds > START_SECONDS + WAITED_LEASES * lease_seconds
        return self.absent_seconds > max(LEAST_ABSENT_SECONDS, ABSENT_LEASES * lease_seconds)


class DriverWatch:
    """Looks at the leases of all drivers started here, also while another orchestrator leads."""

    def __init__(
        self,
        store: Store,
        drivers: WatchedDrivers,
        lease_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with no driver.

        Args:
            store: of the leases and runs.
            drivers: the driver processes.
            lease_seconds: duration of a driver's lease.
            clock: seconds that only grow.
        """
        self._store, self._drivers, self._lease_seconds, self._clock = store, drivers, lease_seconds, clock
        self._vigils: dict[str, Vigil] = {}
        self._looked_at = clock()

    def look(self) -> None:
        """If it is time, look at every lease, and kill the drivers that hang.

        Raises:
            Unavailable: the database does not answer; the time until it does is not counted.
        """
        passed = self._clock() - self._looked_at
        if passed < self._lease_seconds / LOOKS_PER_LEASE:
            return
        self._looked_at = self._clock()
        counted = min(passed, LONGEST_LOOK * self._lease_seconds)
        pids = self._drivers.pids()
        self._vigils = {sweep_id: self._vigils[sweep_id] for sweep_id in self._vigils.keys() & pids}
        for sweep_id, pid in pids.items():
            known = self._vigils.get(sweep_id)
            vigil = known if known is not None and known.pid == pid else Vigil(pid=pid)
            vigil = vigil.after(self._store.leases.current(driver_lease(sweep_id)), counted)
            self._vigils[sweep_id] = vigil
            if vigil.is_hung(self._lease_seconds):
                self._end(sweep_id, vigil)

    def _end(self, sweep_id: str, vigil: Vigil) -> None:
        """Kill a driver and release its runs; the loop starts another when it sees the driver dead."""
        seconds = round(vigil.absent_seconds, 1)
        found = {"sweep_id": sweep_id, "pid": vigil.pid, "seconds_without_lease": seconds}
        log.error("a driver hangs and is killed", extra=found)
        self._drivers.kill(sweep_id)
        del self._vigils[sweep_id]
        if vigil.fence is not None:
            self._store.runs.release(sweep_id, fence=vigil.fence, reason=REASON)
