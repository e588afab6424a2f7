"""Sweeps of registered programs at their submission: cells, notices, forks that a check has turned off."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.answers.sweeps import waits_because
from orchestrator.documents.events import TrainerEvent
from orchestrator.documents.trainers import CheckDocument, CheckStep, Finding
from orchestrator.errors import BadInput
from orchestrator.programs.registry import read_trainers
from orchestrator.settings import Settings
from orchestrator.spec import FIRST_RUNS, SweepSpec, parse_spec
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import LossPoint, RunResult
from orchestrator.submission.preview import preview, submit
from tests.bench import Bench

FORK = {
    "save": ["--at={fork_steps}"],
    "checkpoint": "{trunk_folder}/{fork_step}",
    "arguments": ["--from={checkpoint}"],
}
PROGRAM: dict[str, Any] = {
    "command": ["python", "train.py", "--lr={learning_rate}", "--steps={steps}", "--accum={batch_tokens/64}"],
    "parameters": {"width": {"type": "int", "min": 8, "max": 64}},
    "schedule": {"decay_fraction": 0.2},
}


def settings(tmp_path: Path, **fields: Any) -> Settings:
    place = tmp_path / "trainers"
    place.mkdir(mode=0o700, exist_ok=True)
    file = place / "mine.yaml"
    file.write_text(json.dumps({"mine": PROGRAM | fields}))
    file.chmod(0o600)
    return Settings(home=tmp_path, trainers=place)


def sweep(**grid: Any) -> SweepSpec:
    return parse_spec(
        {
            "name": "own",
            "trainer": {"kind": "command", "name": "mine"},
            "grid": {
                "scales": [{"params": 1e6, "with": {"width": 16}}, {"params": 2e6, "with": {"width": 32}}],
                "tokens": [100_000, 200_000],
                "batch_tokens": [1_024],
                "learning_rates": [1e-3, 2e-3, 4e-3],
                **grid,
            },
            "resources": {"max_parallel": 8},
        }
    )


def checked(*steps: CheckStep, passed: bool = True, forks: bool | None = None) -> CheckDocument:
    return CheckDocument(
        passed=passed,
        forks=forks,
        tokens_per_second=None,
        params=None,
        steps=list(steps),
        checked_at=datetime(2026, 12, 1, tzinfo=UTC),
    )


def codes(store: Store, configured: Settings, spec: SweepSpec | None = None) -> dict[str, str]:
    found = preview(spec or sweep(), store, configured).notices
    return {notice.code: notice.message for notice in found}


def test_a_plan_says_that_the_trainer_is_unchecked_and_what_forks_would_save(
    store: Store, tmp_path: Path
) -> None:
    found = codes(store, settings(tmp_path))
    assert "etalon trainer check mine" in found["trainer_unchecked"]
    assert "save up to 27%" in found["no_forks"]
    assert "no_forks" not in codes(store, settings(tmp_path), sweep(tokens=[100_000]))
    assert "no_forks" not in codes(store, settings(tmp_path, fork=FORK))


def test_a_check_is_kept_with_the_definition_that_it_was_made_of(store: Store, tmp_path: Path) -> None:
    configured = settings(tmp_path, fork=FORK)
    digest = read_trainers(configured.trainers).get("mine").digest
    store.trainer_checks.write(digest, checked())
    assert "trainer_unchecked" not in codes(store, configured)
    assert "trainer_unchecked" in codes(store, settings(tmp_path, fork=FORK, limits={"tries": 5}))


def test_forks_that_differ_from_direct_runs_are_off(store: Store, tmp_path: Path) -> None:
    configured = settings(tmp_path, fork=FORK)
    trunks = {cell.trunk for cell in store.sweeps.cells(submit(sweep(), store, configured)[0].id)}
    assert len(trunks) == 2
    step = CheckStep(name="fork", finding=Finding.BAD, message="The fork ends at 2.0, the direct run at 3.0.")
    digest = read_trainers(configured.trainers).get("mine").digest
    store.trainer_checks.write(digest, checked(step, passed=False, forks=False))
    found = codes(store, configured)
    assert "The fork ends at 2.0" in found["trainer_check_failed"]
    assert "so they are off" in found["no_forks"]
    apart = store.sweeps.cells(submit(sweep(), store, configured)[0].id)
    assert {cell.trunk for cell in apart} == {None}


def test_a_sweep_records_the_registration_and_a_resumption_the_new_one(store: Store, tmp_path: Path) -> None:
    configured = settings(tmp_path)
    created, _ = submit(sweep(), store, configured)
    event = store.events.latest(created.id, TrainerEvent)
    assert event == TrainerEvent(
        name="mine", digest=read_trainers(configured.trainers).get("mine").digest, checked=False
    )


@pytest.mark.parametrize(
    ("grid", "fields", "message"),
    [
        ({"batch_tokens": [1_000]}, {}, r"M\sparameters.*command.4 of the trainer mine cannot be made"),
        ({"tokens": [1_024]}, {"fork": FORK}, "decays before the warmup"),
        ({"scales": [{"params": 1e6, "with": {"width": 7}}]}, {}, "from 8 to 64"),
        ({}, {"command": []}, "registration is faulty at command"),
    ],
)
def test_what_the_program_cannot_run_is_refused_and_nothing_is_written(
    store: Store, tmp_path: Path, grid: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        submit(sweep(**grid), store, settings(tmp_path, **fields))
    assert store.sweeps.page()[0] == []


def test_runs_that_wait_for_the_first_ones_say_so(store: Store, tmp_path: Path) -> None:
    bench = Bench(store)
    created, _ = submit(sweep(), store, settings(tmp_path))
    store.sweeps.move(created.id, "running")  # type: ignore[arg-type]
    bench.ask(created.id, *((0, rate) for rate in (1e-3, 2e-3, 4e-3)), (1, 1e-3))
    fence = bench.drive(created.id)
    assert waits_because(store, store.sweeps.get(created.id)) is None
    first = [run.id for run in store.runs.pending(created.id)][:FIRST_RUNS]
    assert len(store.runs.claim(created.id, fence=fence, run_ids=first)) == FIRST_RUNS
    assert "no more are started" in str(waits_because(store, store.sweeps.get(created.id)))
    assert store.sweeps.progress(created.id)[RunState.PENDING] == 1
    store.losses.append([LossPoint(curve=first[0], step=1, tokens=1_024, loss=9.0)])
    assert waits_because(store, store.sweeps.get(created.id)) is None


def test_runs_of_one_trunk_are_one_of_the_first(store: Store, tmp_path: Path) -> None:
    bench = Bench(store)
    created, _ = submit(sweep(), store, settings(tmp_path, fork=FORK))
    store.sweeps.move(created.id, SweepState.RUNNING)
    bench.ask(created.id, *((cell, rate) for rate in (1e-3, 2e-3, 4e-3, 8e-3) for cell in (0, 1)))
    fence = bench.drive(created.id)
    jobs: dict[float, list[str]] = {}
    for run in store.runs.pending(created.id):
        jobs.setdefault(run.learning_rate, []).append(run.id)

    def start(rate: float) -> None:
        store.runs.claim(created.id, fence=fence, run_ids=jobs[rate])

    def fail(rate: float) -> None:
        results = [RunResult(run_id=one, state=RunState.FAILED, reason="no module") for one in jobs[rate]]
        store.runs.finish(results, fence=fence)

    start(1e-3)
    start(2e-3)
    assert waits_because(store, store.sweeps.get(created.id)) is None
    fail(1e-3)
    fail(2e-3)
    assert store.runs.failed_since_begun(created.id) == 2
    for rate in (4e-3, 8e-3):
        start(rate)
    assert not store.losses.has_live(created.id)
    (run,) = (one for one in store.runs.of_sweep(created.id) if one.id == jobs[8e-3][0])
    store.losses.append([LossPoint(curve=str(run.trunk_id), step=1, tokens=1_024, loss=9.0)])
    assert store.losses.has_live(created.id)
