"""What of a sweep's specification its driver and workers were set up for, and whether a revision needs other ones."""

from __future__ import annotations

from orchestrator.store import Store
from orchestrator.store.records import Sweep
from workers.runner import JobFactory


class CarriedRevision:
    """Compares each revision of a sweep with what is carried out.

    Attributes:
        outgrown: whether the sweep has grown beyond the driver: its live jobs end, and another driver takes over.
    """

    def __init__(self, sweep: Sweep, store: Store, factory: JobFactory) -> None:
        self._store, self._factory = store, factory
        self._revision, self._grid, self._resources = sweep.revision, sweep.spec.grid, sweep.spec.resources
        self.outgrown = False

    def has_grown(self, sweep: Sweep) -> bool:
        """Take up a sweep as it is now; whether its jobs must be formed anew."""
        if sweep.revision == self._revision or self.outgrown:
            return False
        self._revision = sweep.revision
        grid, resources = sweep.spec.grid, sweep.spec.resources
        if (grid, resources) == (self._grid, self._resources):
            return False
        same_workers = resources == self._resources and self._factory.takes_up(
            grid, self._store.sweeps.cells(sweep.id)
        )
        self.outgrown = not same_workers
        self._grid = grid
        return True
