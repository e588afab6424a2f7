"""The share of the cluster's workers that a driver may hold, read from what all drivers have recorded."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.allocation import Cluster, Demand, allocate, caught_up, room_in
from orchestrator.spec import Resources
from orchestrator.store import Store


class WorkerShare:
    """Records what one sweep asks for, and reads its share."""

    def __init__(self, store: Store, sweep_id: str, fence: int, needs: Resources) -> None:
        """Begin with nothing recorded by this driver.

        Args:
            store: of all drivers' demands.
            sweep_id: the driver's sweep.
            fence: of the driver's lease.
            needs: what a worker takes, and how many there are at most.
        """
        self._store, self._fence, self._needs = store, fence, needs
        self._recorded: Demand | None = None
        self._now = Demand(sweep_id=sweep_id, cpus=needs.cpus_per_run, gpus=needs.gpus_per_run, wants=0)

    def read(self, cluster: Cluster, *, wants: int, holds: int) -> int:
        """The number of workers that the sweep may hold now.

        A sweep that shares with no other may ask for all its workers, and one whose workers the cluster has no room for may
        ask for one: an autoscaler of the cluster goes by what is asked for.

        Args:
            cluster: as it is now.
            wants: workers that have something to do, those it holds included.
            holds: workers that it has.

        Raises:
            Conflict: another driver has the sweep's lease.
        """
        found = [one.demand for one in self._store.demands.live()]
        others = [one for one in found if one.sweep_id != self._now.sweep_id and one.wants > 0]
        mine = next((one for one in found if one.sweep_id == self._now.sweep_id), self._now)
        served = mine.served_seconds
        if wants and not mine.wants:
            served = caught_up(mine, others, cluster)
        self._now = replace(self._now, wants=wants, holds=holds, served_seconds=served)
        if self._recorded is None or (self._recorded.wants, self._recorded.holds) != (wants, holds):
            self._store.demands.record(self._now, fence=self._fence)
            self._recorded = self._now
        if not others:
            return self._needs.max_parallel
        if not room_in(cluster, self._needs):
            return 1
        return allocate([*others, self._now], cluster)[self._now.sweep_id]
