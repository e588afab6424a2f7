"""Sweeps in a store, written as the leader and the drivers write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.cells import Cell
from orchestrator.spec import SweepSpec
from orchestrator.states import SweepState
from orchestrator.store import LEADER, Store, driver_lease
from orchestrator.store.records import NewRun, Sweep

PATHS: dict[SweepState, tuple[SweepState, ...]] = {
    SweepState.QUEUED: (),
    SweepState.RUNNING: (SweepState.RUNNING,),
    SweepState.PAUSED: (SweepState.PAUSED,),
    SweepState.STOPPING: (SweepState.RUNNING, SweepState.STOPPING),
    SweepState.STOPPED: (SweepState.STOPPED,),
    SweepState.COMPLETED: (SweepState.RUNNING, SweepState.COMPLETED),
    SweepState.CANCELLED: (SweepState.CANCELLED,),
    SweepState.FAILED: (SweepState.FAILED,),
}
"""The moves of a new sweep to each state."""

Place = tuple[int, float] | tuple[int, float, int]
"""A run to ask for: cell, learning rate, and a seed other than 0."""


class Bench:
    """A store with the leases of a leader and of drivers at hand."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fence = self.lead()

    def lead(self, holder: str = "a leader", seconds: float = 600) -> int:
        """Become the leader in place of the present one; the fence."""
        self.fence = _fence(self.store, LEADER, holder, seconds)
        return self.fence

    def drive(self, sweep_id: str, holder: str = "a driver", seconds: float = 600) -> int:
        """Become a sweep's driver in place of the present one; the fence."""
        return _fence(self.store, driver_lease(sweep_id), holder, seconds)

    def create(self, spec: SweepSpec, cells: Iterable[Cell], state: SweepState = SweepState.RUNNING) -> Sweep:
        """A sweep in ``state``."""
        sweep, _ = self.store.sweeps.create(spec, cells=tuple(cells))
        for step in PATHS[state]:
            sweep = self.store.sweeps.move(sweep.id, step)
        return sweep

    def ask(self, sweep_id: str, *places: Place, pruned: Iterable[Place] = (), **changes: Any) -> int:
        """Ask for a batch on the trunks of its cells; its number."""
        cells = self.store.sweeps.cells(sweep_id)

        def run(place: Place) -> NewRun:
            cell, rate, *seed = place
            return NewRun(
                cell=cell, learning_rate=rate, seed=sum(seed), trunk=cells[cell].trunk, reason="asked"
            )

        asked, dropped = [run(place) for place in places], [run(place) for place in pruned]
        return self.store.runs.add_batch(sweep_id, asked, fence=self.fence, pruned=dropped, **changes)


def _fence(store: Store, name: str, holder: str, seconds: float) -> int:
    before = store.leases.current(name)
    if before is not None:
        store.leases.release(before)
    lease = store.leases.acquire(name, holder, seconds)
    assert lease is not None
    return lease.fence
