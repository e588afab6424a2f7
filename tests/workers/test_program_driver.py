"""Sweeps of registered programs on a real Ray: paused, resumed, changed, broken and cancelled."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.spec import FIRST_RUNS, SweepSpec
from orchestrator.states import RunState, SweepState
from orchestrator.submission.catalogue import ServiceCatalogue
from tests.workers.programs.test_program_runner import marked
from tests.workers.programs.tiny import FORK, RESUME, registered

pytestmark = pytest.mark.ray

RATES = (0.005, 0.01, 0.02)


class Programs:
    """A stage whose sweeps run the tiny trainer."""

    def __init__(self, stage: Any) -> None:
        self.stage = stage
        self.place: Path = stage.settings.trainers
        self.place.parent.mkdir(mode=0o700, exist_ok=True)

    def register(self, *arguments: str, **fields: Any) -> None:
        registered(self.place, *arguments, **fields)

    def sweep(self, *, tokens: tuple[int, ...] = (400,), rates: tuple[float, ...] = RATES) -> str:
        """A running sweep that asks for every place of its grid."""
        spec = SweepSpec.model_validate(
            {
                "name": "own",
                "trainer": {"kind": "command", "name": "tiny"},
                "grid": {
                    "scales": [{"params": 1e6}],
                    "tokens": list(tokens),
                    "batch_tokens": [10],
                    "learning_rates": list(rates),
                },
                "resources": {"max_parallel": 2, "cpus_per_run": 0.5},
            }
        )
        catalogue = ServiceCatalogue(self.stage.store, self.stage.settings)
        sweep, _ = self.stage.store.sweeps.create(
            spec,
            cells=spec.training.cells(spec.grid, catalogue),
            program=catalogue.program("tiny").event,
        )
        self.stage.store.sweeps.move(sweep.id, SweepState.RUNNING)
        self.stage.ask_all(sweep.id)
        return sweep.id

    def resume(self, sweep_id: str) -> None:
        """Resume a sweep as the API does."""
        event = ServiceCatalogue(self.stage.store, self.stage.settings).program("tiny").event
        self.stage.store.sweeps.resume(sweep_id, program=event)

    def processes(self) -> list[psutil.Process]:
        return marked(self.stage.settings.checkpoints)


@pytest.fixture
def programs(stage: Any) -> Programs:
    return Programs(stage)


def test_a_paused_sweep_ends_its_programs_and_a_resumed_one_changes_no_loss(programs, ray_address):
    stage = programs.stage
    programs.register("--keep_every=5", "--step_seconds=0.05", resume=RESUME)
    sweep_id = programs.sweep()
    driver = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.until(lambda: any(stage.points(sweep_id).values()), driver)
    stage.store.sweeps.move(sweep_id, SweepState.PAUSED)
    stage.until(lambda: not programs.processes(), driver, seconds=30)
    stage.until(lambda: stage.states(sweep_id) == {RunState.PENDING}, driver)
    assert any("paused" in str(run.reason) for run in stage.runs(sweep_id))
    assert driver.wait(timeout=30) == 0, "another sweep may have its workers"

    programs.resume(sweep_id)
    driver = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.ended(sweep_id, driver)
    paused = stage.losses(sweep_id)
    assert any("step 40" in stage.store.logs.get(run.id).text for run in stage.runs(sweep_id))
    assert sorted(stage.ends(sweep_id)) == sorted(run.id for run in stage.runs(sweep_id))
    driver.send_signal(signal.SIGTERM)
    driver.wait(timeout=30)
    left = {path.name for path in (stage.settings.checkpoints / sweep_id / "runs").glob("*/*")}
    assert left >= {"output.log", "journal.jsonl"}
    assert not left & {"own.json", "tmp", "python"}

    programs.register(fork=FORK, resume={"when": "{run_folder}/trunk"})
    whole = programs.sweep(tokens=(200, 400))
    driver = stage.start(whole, ETALON_RAY_ADDRESS=ray_address)
    stage.ended(whole, driver)
    direct = {rate: loss for (cell, rate, _), loss in stage.losses(whole).items() if cell == 1}
    assert {rate: loss for (_, rate, _), loss in paused.items()} == direct
    assert {run.flops for run in stage.runs(whole)} == {6e6 * 400, 6e6 * 40}
    trunks = list((stage.settings.checkpoints / whole / "runs").glob("*/trunk/step-16"))
    assert len(trunks) == len(RATES), "a trunk's checkpoints stay for horizons that are asked for later"
    driver.send_signal(signal.SIGTERM)
    driver.wait(timeout=30)


def test_a_changed_registration_pauses_the_sweep_until_it_is_resumed(programs, ray_address):
    stage = programs.stage
    programs.register("--step_seconds=0.4")
    sweep_id = programs.sweep(rates=(0.005, 0.01))
    first = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.until(lambda: any(stage.points(sweep_id).values()), first)
    programs.register()
    stage.until(lambda: stage.store.sweeps.get(sweep_id).state is SweepState.PAUSED, seconds=60)
    assert first.wait(timeout=40) == 0
    assert not programs.processes()
    assert "The registration of the trainer tiny has changed" in str(stage.store.sweeps.get(sweep_id).reason)
    assert stage.states(sweep_id) == {RunState.PENDING}

    programs.resume(sweep_id)
    second = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.ended(sweep_id, second)
    assert stage.states(sweep_id) == {RunState.COMPLETED}


def test_runs_that_all_fail_are_started_three_at_a_time_at_most(programs, ray_address):
    stage = programs.stage
    programs.register("--no_such_option")
    sweep_id = programs.sweep(rates=(0.001, 0.002, 0.003, 0.004, 0.005, 0.006))
    driver = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)

    def failed() -> int:
        assert sum(run.state is RunState.RUNNING for run in stage.runs(sweep_id)) <= FIRST_RUNS
        return stage.store.runs.failed_since_begun(sweep_id)

    stage.until(lambda: failed() >= FIRST_RUNS, driver)
    failures = [run for run in stage.runs(sweep_id) if run.state is RunState.FAILED]
    assert "unrecognized arguments: --no_such_option" in str(failures[0].reason)


def test_a_cancelled_sweep_leaves_no_process_and_no_file(programs, ray_address):
    stage = programs.stage
    programs.register("--step_seconds=0.5")
    sweep_id = programs.sweep()
    driver = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.until(lambda: any(stage.points(sweep_id).values()), driver)
    stage.store.sweeps.move(sweep_id, SweepState.CANCELLED)
    stage.until(lambda: not programs.processes(), seconds=20)
    assert driver.wait(timeout=30) == 0
    stage.until(lambda: not (stage.settings.checkpoints / sweep_id).exists(), seconds=10)


def test_a_driver_without_its_registration_pauses_the_sweep_and_the_next_goes_on(programs, ray_address):
    stage = programs.stage
    programs.register()
    sweep_id = programs.sweep(rates=(0.005,))
    (programs.place / "trainers.yaml").chmod(0o666)
    first = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    assert first.wait(timeout=60) == 0
    paused = stage.store.sweeps.get(sweep_id)
    assert paused.state is SweepState.PAUSED
    assert "Put the registration back" in str(paused.reason)
    programs.register()
    programs.resume(sweep_id)
    second = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.ended(sweep_id, second)
    assert stage.states(sweep_id) == {RunState.COMPLETED}
