"""An application over a store on SQLite, and a sweep that was written through the store's own methods."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app
from orchestrator.answers.prediction import prediction
from orchestrator.cells import Point
from orchestrator.documents.laws import RuledOut
from orchestrator.law import Law, fit
from orchestrator.settings import Settings
from orchestrator.spec import parse_spec
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import LossPoint, RunResult, Sweep
from orchestrator.submission.preview import cells_of
from tests.api.servers import Server, serving
from tests.bench import Bench
from tests.known_law import Known, KnownLaw, observations

FIELDS: dict[str, Any] = {
    "name": "small",
    "trainer": {"kind": "proxy", "corpus": "stdlib"},
    "grid": {
        "scales": [{"width": 32, "depth": 2}, {"width": 64, "depth": 2}, {"width": 128, "depth": 2}],
        "tokens": [200_000, 400_000],
        "batch_tokens": [2048],
        "learning_rates": {"min": 1e-3, "max": 3.2e-2, "per_octave": 1},
    },
    "target": {"params": 1e6, "tokens": 8e5, "batch_tokens": 2048},
}


class Recorded(Bench):
    """A store with one sweep in it."""

    def __init__(self, store: Store, sweep: Sweep) -> None:
        super().__init__(store)
        self.sweep = sweep

    def move(self, *states: SweepState) -> None:
        for state in states:
            self.store.sweeps.move(self.sweep.id, state)

    def train(self) -> None:
        """Finish every pending run: the highest rate diverges, the others follow a bowl."""
        cells = self.store.sweeps.cells(self.sweep.id)
        fence = self.drive(self.sweep.id)
        claimed = self.store.runs.claim(self.sweep.id, fence=fence)
        results, points = [], []
        for run in claimed:
            cell = cells[run.cell]
            diverged = run.learning_rate > 0.03
            points += _curve(str(run.trunk_id), range(1, 50)) + _curve(run.id, range(50, 60))
            results.append(
                RunResult(
                    run_id=run.id,
                    state=RunState.DIVERGED if diverged else RunState.COMPLETED,
                    loss=None if diverged else LAW.loss(cell, run.learning_rate),
                    diverged_tokens=40 * 2048 if diverged else None,
                    flops=cell.flops / 2,
                    seconds=0.5,
                )
            )
        self.store.losses.append(points)
        self.store.runs.finish(results, fence=fence)

    def fit(self) -> Law:
        """Fit a law to what has finished and keep it."""
        cells = self.store.sweeps.cells(self.sweep.id)
        ended = {RunState.COMPLETED, RunState.DIVERGED}
        runs = [run for run in self.store.runs.of_sweep(self.sweep.id) if run.state in ended]
        law = _fitted(tuple((cells[run.cell], run.learning_rate, run.loss) for run in runs))
        self.keep(law, runs=len(runs))
        return law

    def keep(self, law: Law, *, runs: int) -> None:
        target = Point(params=1e6, tokens=8e5, batch_tokens=2048.0)
        self.store.laws.add(
            self.sweep.id,
            document=law.to_document(),
            prediction=prediction(law, target, sweep_id=self.sweep.id),
            ruled_out=[RuledOut(cell=0, learning_rate=0.032, reason="too high")],
            runs=runs,
            spent_flops=self.store.sweeps.spent_flops(self.sweep.id),
            batch=1,
            fence=self.lead(),
        )


LAW = KnownLaw(
    rate=4e-3,
    at=(1e5, 1.0, 1.0),
    exponents=(-0.3, 0.0, 0.0),
    curvature=0.02,
    bottom=lambda cell: 4.0 * (cell.params / 1e5) ** -0.05,
)


@cache
def _fitted(runs: tuple[Known, ...]) -> Law:
    """A law takes seconds; every test that trains the same runs shares it."""
    return fit(observations(runs))


def _curve(name: str, steps: range) -> list[LossPoint]:
    return [LossPoint(curve=name, step=step, tokens=step * 2048, loss=9.0 - step / 50) for step in steps]


@pytest.fixture
def fields() -> dict[str, Any]:
    """The fields of a small sweep, to change at will."""
    return {**FIELDS, "grid": dict(FIELDS["grid"]), "trainer": dict(FIELDS["trainer"])}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def reach(app: FastAPI) -> Iterator[Callable[..., TestClient]]:
    """Make a client that comes from some address, to some name, with some headers."""
    with ExitStack() as opened:

        def make(address: str = "127.0.0.1", host: str = "127.0.0.1", **headers: str) -> TestClient:
            client = TestClient(app, base_url=f"http://{host}", client=(address, 50000), headers=headers)
            return opened.enter_context(client)

        yield make


@pytest.fixture
def app(settings: Settings, store: Store) -> FastAPI:
    return create_app(settings=settings, store=store)


@pytest.fixture
def client(reach: Callable[..., TestClient]) -> TestClient:
    """A client on this machine."""
    return reach()


@pytest.fixture
def submit_to() -> Callable[..., Recorded]:
    """Write a queued sweep to some store."""
    return _submit


@pytest.fixture
def submitted(store: Store) -> Callable[..., Recorded]:
    """Write a queued sweep."""
    return partial(_submit, store)


def _submit(store: Store, **changed: Any) -> Recorded:
    spec = parse_spec(FIELDS | changed)
    sweep, _ = store.sweeps.create(
        spec, cells=cells_of(spec, store, Settings()), idempotency_key=None, submitted_by=None
    )
    return Recorded(store, sweep)


@pytest.fixture
def train_all() -> Callable[[Store, Sweep], Recorded]:
    """Bring a queued sweep of the usual fields as far as ``trained``."""
    return _train_all


def _train_all(store: Store, sweep: Sweep) -> Recorded:
    recorded = Recorded(store, sweep)
    recorded.move(SweepState.RUNNING)
    asked = [(cell.number, rate) for cell in store.sweeps.cells(sweep.id) for rate in cell.rates]
    recorded.ask(sweep.id, *(place for place in asked if place != (0, 0.001)), pruned=[(0, 0.001)])
    recorded.train()
    recorded.fit()
    return recorded


@pytest.fixture
def trained(store: Store) -> Recorded:
    """A running sweep: every rate of six cells finished, one rate ruled out, one law."""
    return _train_all(store, _submit(store).sweep)


@pytest.fixture
def serve(sqlite_url: str, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers over the test's database, as an operator would start them."""
    with ExitStack() as running:
        yield lambda **environment: running.enter_context(serving(sqlite_url, tmp_path, **environment))


@pytest.fixture(scope="session")
def served(
    _sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Store]]:
    """One server for the tests that do not end it, and the store behind it."""
    home = tmp_path_factory.mktemp("served")
    url = f"sqlite:///{shutil.copy(_sqlite_template, home / 'etalon.db')}"
    with Store.open(url) as store, serving(url, home) as server:
        yield server, store
