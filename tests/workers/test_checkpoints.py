"""Files appear whole or not at all, and keep everything that a job reported."""

from __future__ import annotations

import pytest

from orchestrator.states import RunState
from orchestrator.store.records import LensPoint, LossPoint, RunResult
from workers.checkpoints import Checkpoints
from workers.proxy_jobs import Branch, ProxyJob, ProxyMember
from workers.runner import Report

JOB = ProxyJob(
    trunk="w16-d1-h1-b128",
    seed=3,
    start_tokens=0,
    members=(ProxyMember(learning_rate=1 / 3, trunk_id="t", branches=(Branch(run_id="r", tokens=4_096),)),),
    flops=1e9,
)
REPORT = Report(
    points=(LossPoint(curve="t", step=16, tokens=2_048, loss=0.1 + 0.2),),
    results=(RunResult(run_id="r", state=RunState.COMPLETED, loss=2.5, flops=1.5, seconds=0.25),),
    lenses=(LensPoint(curve="t", step=16, tokens=2_048, values={"head.update": 1 / 3}),),
)


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path, "s")


def test_a_job_is_read_back_with_its_report_and_state(checkpoints):
    assert checkpoints.read_job(JOB) is None
    checkpoints.write_job(JOB, REPORT, b"\x00state")
    assert checkpoints.read_job(JOB) == (REPORT, b"\x00state")
    assert checkpoints.unfinished_jobs() == [JOB]
    checkpoints.drop_job(JOB)
    checkpoints.drop_job(JOB)
    assert checkpoints.unfinished_jobs() == []


def test_a_trunk_is_kept_at_every_position(checkpoints):
    assert checkpoints.trunk_positions("t") == ()
    checkpoints.write_trunk("t", 4_096, b"long")
    checkpoints.write_trunk("t", 2_048, b"short")
    assert checkpoints.trunk_positions("t") == (2_048, 4_096)
    assert checkpoints.read_trunk("t", 2_048) == b"short"


def test_a_write_that_fails_leaves_what_was_there(checkpoints, monkeypatch):
    checkpoints.write_job(JOB, REPORT, b"old")

    def full(_number: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        checkpoints.write_job(JOB, REPORT, b"new")
    assert checkpoints.read_job(JOB) == (REPORT, b"old")
    assert checkpoints.unfinished_jobs() == [JOB]


def test_a_job_of_another_version_is_dropped_not_stumbled_over(checkpoints):
    checkpoints.write_job(JOB, REPORT, b"state")
    (path,) = (checkpoints.folder / "jobs").glob("*.job")
    path.write_bytes((2).to_bytes(8) + b"{}")
    assert checkpoints.unfinished_jobs() == []
    assert not path.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: (2**40).to_bytes(8) + data[8:],
        lambda data: data[:4],
        lambda data: b"",
        lambda data: data[:8] + b"\xff" * 20 + data[28:],
    ],
    ids=["length", "large length", "half a length", "empty", "head"],
)
def test_a_damaged_job_begins_afresh(checkpoints, damage):
    checkpoints.write_job(JOB, REPORT, b"state")
    (path,) = (checkpoints.folder / "jobs").glob("*.job")
    path.write_bytes(damage(path.read_bytes()))
    assert checkpoints.read_job(JOB) is None
    assert checkpoints.unfinished_jobs() == []
    assert not path.exists()


def test_the_end_of_a_sweep_removes_jobs_and_keeps_trunks(checkpoints):
    checkpoints.write_job(JOB, REPORT, b"state")
    checkpoints.write_trunk("t", 2_048, b"trunk")
    checkpoints.drop_jobs()
    assert checkpoints.unfinished_jobs() == []
    assert checkpoints.trunk_positions("t") == (2_048,)


def test_nothing_is_left_of_a_discarded_sweep(checkpoints):
    checkpoints.write_job(JOB, REPORT, b"state")
    checkpoints.write_trunk("t", 2_048, b"trunk")
    checkpoints.drop_all()
    checkpoints.drop_all()
    assert not checkpoints.folder.exists()
