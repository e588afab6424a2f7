"""Sweeps as real processes on one Ray with two CPUs: nobody waits for as long as another has work."""

from __future__ import annotations

import time

import pytest

from orchestrator.answers.waiting import waits_because
from orchestrator.states import RUN_FINAL, RunState, SweepState

pytestmark = pytest.mark.ray

LONG = 65_536
"""Tokens of a run that takes about a second on an idle machine."""

MANY = 200
"""Seeds of the sweep that has work for minutes; each seed is a job of one run."""


def busy(stage, *, seeds: int = MANY, tokens: int = LONG) -> str:
    """A running sweep with as many jobs as seeds, which would take both CPUs."""
    sweep_id = stage.proxy(tokens=(tokens,), rates=(0.004,), max_parallel=2)
    stage.ask(sweep_id, *((0, 0.004, seed) for seed in range(seeds)))
    return sweep_id


def count(stage, sweep_id: str, *states: RunState) -> int:
    return sum(run.state in states for run in stage.runs(sweep_id))


def test_a_second_sweep_starts_within_one_job_and_pausing_the_first_frees_its_workers(stage, ray_address):
    first, second = busy(stage), busy(stage)
    one = stage.start(first, ETALON_RAY_ADDRESS=ray_address)
    stage.until(lambda: count(stage, first, RunState.RUNNING) == 2, one)
    two = stage.start(second, ETALON_RAY_ADDRESS=ray_address)
    stage.until(lambda: waits_because(stage.store, stage.store.sweeps.get(second)), two)
    assert waits_because(stage.store, stage.store.sweeps.get(first)) is None
    ended = count(stage, first, *RUN_FINAL)
    stage.until(lambda: count(stage, second, RunState.RUNNING) == 1, two)
    assert count(stage, first, *RUN_FINAL) - ended < 20, (
        "no more than while a worker gives way and another loads"
    )
    assert waits_because(stage.store, stage.store.sweeps.get(second)) is None
    stage.until(lambda: count(stage, second, *RUN_FINAL) >= 2, two)
    assert count(stage, first, RunState.RUNNING) <= 1
    assert count(stage, first, RunState.PENDING) > 0

    stage.store.sweeps.move(first, SweepState.PAUSED)
    stage.until(lambda: count(stage, second, RunState.RUNNING) == 2, two)
    assert count(stage, first, RunState.RUNNING) == 0
    for sweep_id, driver in ((first, one), (second, two)):
        stage.store.sweeps.move(sweep_id, SweepState.CANCELLED)
        assert driver.wait(timeout=60) == 0


def test_a_replay_answers_in_seconds_beside_a_busy_cluster(stage, ray_address):
    first = busy(stage)
    one = stage.start(first, ETALON_RAY_ADDRESS=ray_address)
    stage.until(lambda: count(stage, first, RunState.RUNNING) == 2, one)
    replay = stage.replay()
    stage.ask_all(replay)
    began = time.monotonic()
    stage.ended(replay, stage.start(replay, ETALON_RAY_ADDRESS=ray_address))
    assert time.monotonic() - began < 30.0
    assert count(stage, first, RunState.RUNNING) == 2
    stage.store.sweeps.move(first, SweepState.CANCELLED)
    assert one.wait(timeout=60) == 0
