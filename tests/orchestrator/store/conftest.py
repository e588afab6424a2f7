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
from tests.bench import Bench


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


class SmallSweeps(Bench):
    """Makes sweeps of two cells, in any state."""

    def sweep(self, state: SweepState = SweepState.RUNNING, **changes: Any) -> Sweep:
        """A sweep in ``state``."""
        spec = a_spec(**changes)
        assert isinstance(spec.trainer, ProxyTrainer)
        cells = spec.trainer.cells(spec.grid)
        return self.create(spec, (*cells, *held_out_cells(spec, cells)), state)


def a_run(cell: int, learning_rate: float, seed: int = 0) -> NewRun:
    """A run to ask for, on the trunk that all cells here share."""
    return NewRun(cell=cell, learning_rate=learning_rate, seed=seed, trunk="w32-d2-h2-b2048", reason="asked")


@pytest.fixture
def bench(store: Store) -> SmallSweeps:
    """A store, its leader, and sweeps at hand."""
    return SmallSweeps(store)


@pytest.fixture
def new_run() -> Callable[..., NewRun]:
    """Make a run to ask for: cell, learning rate, seed."""
    return a_run
