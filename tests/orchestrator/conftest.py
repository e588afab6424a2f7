"""A driver in the same process, and sweeps that answer from a known law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.cells import Cell
from orchestrator.loop.loop import Loop
from orchestrator.settings import Settings
from orchestrator.spec import parse_spec
from orchestrator.states import RunState, SweepState
from orchestrator.store import LEADER, Store, driver_lease
from orchestrator.store.records import Run, RunResult, Sweep
from orchestrator.submission.preview import submit
from tests.bench import Bench
from tests.known_law import KnownLaw, grid, run_table

LOWEST, HIGHEST = 1e-3, 6.4e-2

FIELDS: dict[str, Any] = {
    "name": "three sizes",
    "trainer": {"kind": "proxy"},
    "grid": {
        "scales": [{"width": width, "depth": 2} for width in (32, 64, 96)],
        "tokens": [100_352, 200_704],
        "batch_tokens": [2048],
        "learning_rates": {"min": LOWEST, "max": HIGHEST, "per_octave": 1},
    },
    "search": {"strategy": "law", "budget": {"runs": 40}},
    "target": {"params": 300_000, "tokens": 400_000, "batch_tokens": 2048},
}


LAW = KnownLaw(
    rate=8e-3,
    at=(1e5, 1.4e5, 1.0),
    exponents=(-0.3, -0.2, 0.0),
    curvature=0.03,
    bottom=lambda cell: 1.5 + 30 * (6 * cell.params * cell.tokens) ** -0.1,
    diverges=8,
)


def result_of(run: Run, cell: Cell) -> RunResult:
    """The end of a run of the known law."""
    loss = LAW.loss(cell, run.learning_rate)
    if loss is None:
        return RunResult(run_id=run.id, state=RunState.DIVERGED, seconds=0.5)
    return RunResult(run_id=run.id, state=RunState.COMPLETED, loss=loss, seconds=1.0)


class InProcessDriver:
    """Stands in for driver processes: the loop starts it, the test makes it work."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.store = bench, bench.store
        self.fences: dict[str, int] = {}
        self.started: list[str] = []
        self.early_deaths = 0
        self.reach: dict[str, float] = {}

    def start(self, sweep_id: str) -> None:
        fence = self.bench.drive(sweep_id)
        self.started.append(sweep_id)
        self.fences[sweep_id] = fence
        self.store.runs.release(sweep_id, fence=fence - 1, reason="its driver was lost")

    def alive(self, sweep_id: str) -> bool:
        return sweep_id in self.fences

    def rests(self, sweep_id: str) -> bool:
        return False

    def deaths(self, sweep_id: str) -> int:
        return self.early_deaths

    def forgive(self, sweep_id: str) -> None:
        self.early_deaths = 0

    def last_message_of(self, sweep_id: str) -> str | None:
        return "no disk"

    def reap(self, live: set[str]) -> None:
        self.fences = {sweep_id: fence for sweep_id, fence in self.fences.items() if sweep_id in live}

    def _flops(self, run: Run, cell: Cell) -> float:
        """The points that a run adds to its trunk, which horizons share."""
        reached = self.reach.get(str(run.trunk_id), 0.0)
        self.reach[str(run.trunk_id)] = max(reached, cell.fork_tokens)
        return cell.marginal_flops(reached)

    def die(self, sweep_id: str) -> None:
        """End without a message; the lease runs out at once."""
        del self.fences[sweep_id]
        lease = self.store.leases.current(driver_lease(sweep_id))
        assert lease is not None
        self.store.leases.release(lease)

    def claim(self, sweep_id: str, most: int | None = None) -> list[Run]:
        pending = [run.id for run in self.store.runs.pending(sweep_id)][:most]
        return self.store.runs.claim(sweep_id, fence=self.fences[sweep_id], run_ids=pending)

    def finish(self, runs: list[Run], ending: Callable[[Run, Cell], RunResult] = result_of) -> int:
        if not runs:
            return 0
        cells = self.store.sweeps.cells(runs[0].sweep_id)
        in_order = sorted(runs, key=lambda run: cells[run.cell].tokens)
        results = [
            replace(ending(run, cells[run.cell]), flops=self._flops(run, cells[run.cell])) for run in in_order
        ]
        return self.store.runs.finish(results, fence=self.fences[runs[0].sweep_id])


def replay_table() -> bytes:
    """The known law as a run table: six cells, seven rates each, of which some diverge."""
    cells = grid((24_576.0, 98_304.0, 221_184.0), (100_352.0, 200_704.0), (2048.0,))
    return run_table(LAW.runs(cells, [LOWEST * 2**n for n in range(7)])).encode()


class House(Bench):
    """A store, a leading loop and a driver, stepped by hand."""

    loop: Loop

    def __init__(self, store: Store) -> None:
        self.store = store
        self.driver = InProcessDriver(self)
        super().__init__(store)

    def lead(self, holder: str = "a leader", seconds: float = 600) -> int:
        """Become the leader, as after a restart: only the store keeps its state."""
        fence = super().lead(holder, seconds)
        self.loop = Loop(self.store, self.driver, fence=fence)
        return fence

    def rest(self) -> None:
        """Release the lead for another process."""
        held = self.store.leases.current(LEADER)
        assert held is not None
        self.store.leases.release(held)

    def submit_replay(self, strategy: str = "law", **changes: Any) -> Sweep:
        """A replay of the known law, three runs a batch, at most 24, unless ``changes`` say otherwise."""
        table = self.store.tables.add(replay_table(), rows=42, cells=6)
        fields = {
            "name": "a replay",
            "trainer": {"kind": "replay", "table": table.id},
            "search": {"strategy": strategy, "budget": {"runs": 24}, "runs_per_batch": 3},
            "target": FIELDS["target"],
            **changes,
        }
        return submit(parse_spec(fields), self.store, Settings())[0]

    def history(self, sweep_id: str) -> list[tuple[Any, ...]]:
        """Everything that a sweep's answer depends on, without times and ids."""
        runs = [
            (run.batch, run.cell, run.learning_rate, run.seed, run.state, run.loss, run.flops)
            for run in self.store.runs.of_sweep(sweep_id)
        ]
        laws = [
            (law.number, law.runs, law.batch, law.spent_flops, getattr(law.prediction, "learning_rate", None))
            for law in self.store.laws.of_sweep(sweep_id)
        ]
        sweep = self.store.sweeps.get(sweep_id)
        return [*runs, *laws, (sweep.state, sweep.reason, sweep.batches)]

    def submit(self, **changes: Any) -> Sweep:
        return submit(parse_spec({**FIELDS, **changes}), self.store, Settings())[0]

    def until_final(self, sweep_id: str, ending: Callable[[Run, Cell], RunResult] = result_of) -> Sweep:
        """Step and drive until the sweep ends."""
        for _ in range(200):
            self.loop.step()
            sweep = self.store.sweeps.get(sweep_id)
            if sweep.state not in {SweepState.QUEUED, SweepState.RUNNING, SweepState.STOPPING}:
                return sweep
            if sweep_id in self.driver.fences:
                self.driver.finish(self.driver.claim(sweep_id), ending)
        raise AssertionError(f"sweep {sweep_id} did not end: {self.store.sweeps.progress(sweep_id)}")

    def counts(self, sweep_id: str) -> dict[str, int]:
        return {state: n for state, n in self.store.sweeps.progress(sweep_id).items() if n}


@pytest.fixture
def house(store: Store) -> House:
    """A loop and a driver on the test's store."""
    return House(store)
