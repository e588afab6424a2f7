"""The same store contract on every database, and small sweeps to try it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.heldout.comparison_setup import held_out_cells
from orchestrator.spec import ProxyTrainer, SweepSpec, parse_spec
from orchestrator.states import SweepState
from orchestrator.store import Store
from orchestrator.store.records import NewRun, Sweep
from tests.fences import driver_fence, leader_fence


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own: once SQLite, once PostgreSQL."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store on each of the databases."""
    with Store.open(database_url) as opened:
        yield opened


def a_spec(**changes: Any) -> SweepSpec:
    """A proxy sweep of two cells that share a trunk, three rates each."""
    fields: dict[str, Any] = {
        "name": "two horizons",
        "trainer": {"kind": "proxy"},
        "grid": {
            "scales": [{"width": 32, "depth": 2}],
            "tokens": [65_536, 131_072],
            "batch_tokens": [2048],
            "learning_rates": [1e-3, 2e-3, 4e-3],
        },
    }
    return parse_spec(fields | changes)


@pytest.fixture
def spec() -> SweepSpec:
    """The specification that most tests use."""
    return a_spec()


class Bench:
    """A store with the leases of a leader and of drivers at hand, for short tests."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fence = self.lead("leader")

    def lead(self, holder: str) -> int:
        """Become the leader in place of the present one."""
        return leader_fence(self.store, holder)

    def sweep(self, state: SweepState = SweepState.RUNNING, **changes: Any) -> Sweep:
        """A sweep in ``state``."""
        spec = a_spec(**changes)
        assert isinstance(spec.trainer, ProxyTrainer)
        cells = spec.trainer.cells(spec.grid)
        sweep, _ = self.store.sweeps.create(spec, cells=(*cells, *held_out_cells(spec, cells)))
        for step in PATHS[state]:
            sweep = self.store.sweeps.move(sweep.id, step)
        return sweep

    def drive(self, sweep_id: str, holder: str = "driver") -> int:
        """Become the sweep's driver in place of the present one."""
        return driver_fence(self.store, sweep_id, holder)

    def ask(self, sweep_id: str, *places: tuple[int, float], **changes: Any) -> int:
        """Ask for a batch: cells and rates."""
        return self.store.runs.add_batch(
            sweep_id, [a_run(*place) for place in places], fence=self.fence, **changes
        )


def a_run(cell: int, learning_rate: float, seed: int = 0) -> NewRun:
    """A run to ask for, on the trunk that all cells here share."""
    return NewRun(cell=cell, learning_rate=learning_rate, seed=seed, trunk="w32-d2-h2-b2048", reason="asked")


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


@pytest.fixture
def bench(store: Store) -> Bench:
    """A store, its leader, and sweeps at hand."""
    return Bench(store)


@pytest.fixture
def new_run() -> Callable[..., NewRun]:
    """Make a run to ask for: cell, learning rate, seed."""
    return a_run
