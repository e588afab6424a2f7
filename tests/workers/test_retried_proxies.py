"""A proxy that a user retries is trained again, whatever an unfinished job has reported of its earlier try."""

from __future__ import annotations

from typing import Any

from orchestrator.states import RunState
from orchestrator.store.records import RunResult
from workers.checkpoints import Checkpoints
from workers.kinds import job_factory
from workers.runner import Report


def test_an_unfinished_job_with_an_earlier_try_is_dropped(stage: Any) -> None:
    sweep_id = stage.proxy()
    stage.ask_all(sweep_id)
    fence = stage.drive(sweep_id)
    factory = job_factory(stage.store.sweeps.get(sweep_id), stage.store, stage.settings)
    claimed = stage.store.runs.claim(sweep_id, fence=fence)
    (job,) = factory.jobs(claimed, {}, 1)
    ended = RunResult(run_id=job.run_ids[0], state=RunState.DIVERGED)
    Checkpoints(stage.settings.checkpoints, sweep_id).write_job(job, Report(results=(ended,)), b"state")
    stage.store.runs.finish([ended], fence=fence)
    stage.store.runs.release(sweep_id, fence=None, reason="its driver was lost")
    assert factory.jobs(stage.store.runs.pending(sweep_id), {}, 1) == (job,), "the others go on"

    stage.store.revisions.retry(ended.run_id)
    (fresh,) = factory.jobs(stage.store.runs.pending(sweep_id), {}, 1)
    assert fresh != job
    assert set(fresh.run_ids) == set(job.run_ids)
    assert Checkpoints(stage.settings.checkpoints, sweep_id).unfinished_jobs() == []
