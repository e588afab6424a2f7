"""Jobs of trainers that answer at once: every run once, equal parts of a bounded size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cells import Cells
from tests.workers.pending import pending
from workers.immediate import RUNS_PER_JOB, ImmediateJobFactory
from workers.replay import ReplaySetup

FACTORY = ImmediateJobFactory(ReplaySetup(table=b"", where={}, cells=Cells()))
RUN = pending()


@given(count=st.integers(1, 3 * RUNS_PER_JOB), workers=st.integers(1, 5))
def test_runs_are_divided_into_equal_parts(count, workers):
    jobs = FACTORY.jobs([RUN] * count, {}, workers)
    assert sum(len(job.run_ids) for job in jobs) == count
    assert all(1 <= len(job.runs) <= RUNS_PER_JOB for job in jobs)
    assert len(jobs) <= max(workers, -(-count // RUNS_PER_JOB))


def test_jobs_hold_the_runs_in_order():
    runs = [pending(id=str(number)) for number in range(7)]
    jobs = FACTORY.jobs(runs, {}, 2)
    assert [job.run_ids for job in jobs] == [("0", "1", "2", "3"), ("4", "5", "6")]
