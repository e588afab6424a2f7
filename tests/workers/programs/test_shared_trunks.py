"""Trunks that several runs share: only whole checkpoints of the same program are started from, and none is waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from orchestrator.states import RunState
from tests.workers.programs.tiny import (
    COMMAND,
    FIELDS,
    FORK,
    by_run,
    carry_out,
    cells,
    job,
    registered,
    setup,
)
from workers.programs import trunk_folder, trunk_share
from workers.programs.journal import Ended, Measured, Saved, Started
from workers.programs.run_record import RunRecord
from workers.runner import Report

TRIES = {"limits": FIELDS["limits"] | {"tries": 3}}
FORKED = """
import os, signal, sys
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
step = int(open(given["from"]).read()) if "from" in given else 0
if "nan_from" in given and step == int(given["nan_from"]):
    print("loss is nan", flush=True)
    sys.exit(1)
forks = {int(word) for word in given.get("save", "").split(",") if word}
while step < int(given["steps"]):
    step += 1
    print(f"step {step} loss {5 - step / 100:.5f}", flush=True)
    if step in forks:
        os.makedirs(given["to"], exist_ok=True)
        with open(f"{given['to']}/step-{step}", "w") as file:
            if "torn" in given and not os.path.exists(given["torn"]):
                open(given["torn"], "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            file.write(str(step))
"""


def forked(tmp_path: Path, *arguments: str, **fields: Any) -> Any:
    """A program that saves its forks in place and says nothing of it."""
    script = tmp_path / "forked.py"
    script.write_text(FORKED)
    fork = {
        "save": ["--save={fork_steps}", "--to={trunk_folder}"],
        "checkpoint": "{trunk_folder}/step-{fork_step}",
        "arguments": ["--from={trunk_folder}/step-{start_step}"],
    }
    command = ["python", str(script), "--steps={steps}", *arguments]
    return registered(tmp_path / "forked", command=command, fork=fork, **fields)


def steps_of(report: Report) -> dict[str, float]:
    """Steps that each run of 1e6 parameters and 10 tokens a batch has paid for."""
    return {result.run_id: (result.flops or 0.0) / 6e7 for result in report.results}


def test_a_checkpoint_that_was_being_written_when_the_program_was_killed_is_not_started_from(
    tmp_path: Path,
) -> None:
    registration = forked(tmp_path, f"--torn={tmp_path / 'torn'}", **TRIES)
    worker = setup(registration, cells(20, 40, trunk="t"), tmp_path / "a")
    report = carry_out(worker, job(1, 0, trunk_id="trunk"))
    assert (tmp_path / "torn").exists()
    assert {result.state for result in report.results} == {RunState.COMPLETED}
    assert steps_of(report) == {"r1": 40, "r0": 4}
    assert not report.notices


def test_a_checkpoint_that_cannot_be_read_is_given_up_and_saved_again(tmp_path: Path) -> None:
    worker = setup(
        registered(tmp_path / "mine", fork=FORK, **TRIES), cells(20, 40, 80, trunk="t"), tmp_path / "a"
    )
    carry_out(worker, job(1, trunk_id="trunk"))
    trunk = worker.trunk("trunk")
    found = trunk.checkpoint_at(320)
    assert found is not None
    Path(found.path).write_text("{")
    report = carry_out(worker, job(2, trunk_id="trunk"))
    direct = carry_out(setup(registered(tmp_path / "direct"), cells(80), tmp_path / "b"), job(0))
    assert by_run(report.results)["r2"].loss == direct.results[0].loss
    assert "could not start from the trunk's checkpoint at 320 tokens" in report.notices[0]
    assert trunk.checkpoint_at(320) is None
    assert trunk.checkpoint_at(640) is not None


def test_what_a_program_reports_as_saved_is_whole_and_nothing_else() -> None:
    entries = [
        Started(pid=1, keeper=2, attempt=1, start_tokens=0, at=0.0),
        *(Measured(kind="training", tokens=tokens, loss=5.0) for tokens in (100, 200)),
    ]
    folder, at_fork = Path("/program"), Path("/program/out/step-10")
    assert RunRecord.of(entries).has_whole(at_fork, 100, folder=folder)
    assert not RunRecord.of(entries).has_whole(at_fork, 200, folder=folder)
    other = RunRecord.of([*entries, Saved(path="/elsewhere", tokens=200)])
    assert not other.has_whole(at_fork, 100, folder=folder)
    assert RunRecord.of([*entries, Saved(path="out/step-10", tokens=100)]).has_whole(
        at_fork, 100, folder=folder
    )


@pytest.mark.parametrize(
    ("code", "cause", "whole"), [(0, "exit", True), (0, "stop", False), (1, "exit", False)]
)
def test_the_end_of_a_program_makes_its_last_checkpoint_whole_only_if_it_ended_well(
    code: int, cause: Any, whole: bool
) -> None:
    record = RunRecord.of(
        [
            Started(pid=1, keeper=2, attempt=1, start_tokens=0, at=0.0),
            Measured(kind="training", tokens=100, loss=5.0),
            Ended(
                code=code,
                signal=None,
                cause=cause,
                seconds=1.0,
                decimals=4,
                matched=1,
                left=0,
                tokens=100,
                at=1.0,
            ),
        ]
    )
    assert record.has_whole(Path("/step-10"), 100, folder=Path("/")) is whole


def test_a_changed_registration_has_a_trunk_of_its_own(tmp_path: Path) -> None:
    first = registered(tmp_path / "mine", fork=FORK)
    carry_out(setup(first, cells(20, 40, 80, trunk="t"), tmp_path / "a"), job(1, trunk_id="trunk"))
    mended = registered(tmp_path / "mine", fork=FORK, command=[*COMMAND, "--seed=7"])
    after = carry_out(setup(mended, cells(20, 40, 80, trunk="t"), tmp_path / "a"), job(2, trunk_id="trunk"))
    alone = carry_out(setup(mended, cells(20, 40, 80, trunk="t"), tmp_path / "b"), job(2, trunk_id="trunk"))
    assert after.results[0].loss == alone.results[0].loss
    assert steps_of(after) == {"r2": 80}


def test_a_registration_without_a_fork_trains_planned_horizons_each_from_the_first_token(
    tmp_path: Path,
) -> None:
    worker = setup(registered(tmp_path / "mine"), cells(20, 40, trunk="t"), tmp_path / "a")
    report = carry_out(worker, job(1, 0, trunk_id="trunk"))
    assert steps_of(report) == {"r1": 40, "r0": 20}
    assert {point.curve for point in report.points} == {"r0", "r1"}


def test_a_fork_that_diverges_at_its_first_step_says_nothing_of_the_trunk(tmp_path: Path) -> None:
    registration = forked(tmp_path, "--nan_from=16", diverged={"output": ["loss is nan"]})
    worker = setup(registration, cells(20, 40, 80, trunk="t"), tmp_path / "a")
    report = carry_out(worker, job(1, 0, trunk_id="trunk"))
    assert by_run(report.results)["r0"].state is RunState.DIVERGED
    assert worker.trunk("trunk").diverged is None


def test_another_worker_that_changes_the_trunk_is_not_waited_for(tmp_path: Path) -> None:
    """The run reports meanwhile, and what it knows of the trunk is recorded when the lock is free again."""
    worker = setup(registered(tmp_path / "mine", fork=FORK), cells(20, 40, trunk="t"), tmp_path / "a")
    folder = worker.trunk("trunk").folder
    folder.mkdir(parents=True)
    lock = FileLock(folder / "trunk.json.lock")
    lock.acquire()

    def release(report: Report) -> None:
        if report.points:
            lock.release()

    report = carry_out(worker, job(1, 0, trunk_id="trunk"), between=release)
    assert not lock.is_locked
    assert steps_of(report) == {"r1": 40, "r0": 4}
    assert worker.trunk("trunk").first_loss is not None


def test_a_trunk_that_another_worker_holds_for_too_long_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk_folder, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(trunk_share, "TELL_SECONDS", 0.5)
    worker = setup(registered(tmp_path / "mine", fork=FORK), cells(20, 40, trunk="t"), tmp_path / "a")
    folder = worker.trunk("trunk").folder
    folder.mkdir(parents=True)
    with FileLock(folder / "trunk.json.lock"):
        report = carry_out(worker, job(1, 0, trunk_id="trunk"))
    assert steps_of(report) == {"r1": 40, "r0": 20}
