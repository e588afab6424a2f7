"""Whatever is asked in whatever order, a run only moves along the table of states, and a result never changes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from orchestrator.errors import Conflict
from orchestrator.spec import ProxyTrainer, SweepSpec
from orchestrator.states import RUN_FINAL, RUN_TRANSITIONS, RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import NewRun, Run, RunResult
from tests.bench import Bench

RATES = (1e-3, 2e-3, 4e-3)
ENDS = (RunState.COMPLETED, RunState.DIVERGED, RunState.FAILED)


class Runs(RuleBasedStateMachine):
    """A leader, drivers that come and go, and a sweep that is paused and resumed."""

    template: Path
    spec: SweepSpec

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="etalon-states-"))
        shutil.copy(self.template, self.folder / "etalon.db")
        self.store = Store.open(f"sqlite:///{self.folder / 'etalon.db'}")
        assert isinstance(self.spec.trainer, ProxyTrainer)
        cells = self.spec.trainer.cells(self.spec.grid)
        self.sweep_id = self.store.sweeps.create(self.spec, cells=cells)[0].id
        self.store.sweeps.move(self.sweep_id, SweepState.RUNNING)
        self.bench = Bench(self.store)
        self.fences: list[int] = []
        self.seen: dict[str, Run] = {}
        self.ended: dict[str, int] = {}
        self.new_driver()

    @rule()
    def new_driver(self) -> None:
        self.fences.append(self.bench.drive(self.sweep_id))

    @rule(cell=st.integers(0, 1), rate=st.sampled_from(RATES), pruned=st.booleans())
    def ask(self, cell: int, rate: float, pruned: bool) -> None:
        run = NewRun(cell=cell, learning_rate=rate, seed=0, trunk="shared", reason="asked")
        asked, dropped = ([], [run]) if pruned else ([run], [])
        try:
            self.store.runs.add_batch(self.sweep_id, asked, fence=self.bench.fence, pruned=dropped)
        except Conflict:
            assert self.store.sweeps.get(self.sweep_id).state is not SweepState.RUNNING

    @rule(age=st.integers(0, 3))
    def claim(self, age: int) -> None:
        fence = self.fences[-1 - min(age, len(self.fences) - 1)]
        try:
            claimed = self.store.runs.claim(self.sweep_id, fence=fence)
        except Conflict:
            assert fence != self.fences[-1]
        else:
            assert fence == self.fences[-1]
            assert all(run.state is RunState.RUNNING for run in claimed)

    @rule(age=st.integers(0, 3), end=st.sampled_from(ENDS), data=st.data())
    def finish(self, age: int, end: RunState, data: Any) -> None:
        if not self.seen:
            return
        run_id = data.draw(st.sampled_from(sorted(self.seen)))
        fence = self.fences[-1 - min(age, len(self.fences) - 1)]
        loss = 2.0 if end is RunState.COMPLETED else None
        changed = self.store.runs.finish([RunResult(run_id=run_id, state=end, loss=loss)], fence=fence)
        self.ended[run_id] = self.ended.get(run_id, 0) + changed

    @rule(age=st.integers(0, 3))
    def release(self, age: int) -> None:
        fence = self.fences[-1 - min(age, len(self.fences) - 1)]
        self.store.runs.release(self.sweep_id, fence=fence, reason="lost")

    @rule(to=st.sampled_from([SweepState.PAUSED, SweepState.RUNNING]))
    def pause_or_resume(self, to: SweepState) -> None:
        if self.store.sweeps.get(self.sweep_id).state is not to:
            self.store.sweeps.move(self.sweep_id, to)

    @invariant()
    def runs_moved_along_the_table_and_are_counted_once(self) -> None:
        now = {run.id: run for run in self.store.runs.of_sweep(self.sweep_id)}
        for run_id, before in self.seen.items():
            after = now[run_id]
            assert after.state is before.state or after.state in RUN_TRANSITIONS[before.state]
            assert after == before or before.state not in RUN_FINAL
            assert after.attempt >= before.attempt
        self.seen = now
        ended = {run_id for run_id, run in now.items() if run.state in RUN_FINAL}
        assert {run_id for run_id, count in self.ended.items() if count} == ended
        assert all(count <= 1 for count in self.ended.values())
        states = [run.state for run in now.values()]
        assert self.store.sweeps.progress(self.sweep_id) == {s: states.count(s) for s in RunState}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


@pytest.fixture
def machine(_sqlite_template: Path, spec: SweepSpec) -> type[Runs]:
    """The machine, on copies of a migrated database."""
    return type("RunsHere", (Runs,), {"template": _sqlite_template, "spec": spec})


def test_runs_in_any_order(machine: type[Runs]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
