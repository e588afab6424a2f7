"""Base of the trainers that answer at once: every job holds many runs, and needs no checkpoint."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.store.records import Run, RunResult
from workers.runner import JobFactory, Report, Runner, WorkerSetup

RUNS_PER_JOB: Final = 500
"""Most runs of one job: many, because a trial costs more than an answer; bounded, so that progress is visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImmediateJob:
    """Runs to answer together."""

    runs: tuple[Run, ...]

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that the job answers."""
        return tuple(run.id for run in self.runs)


class ImmediateJobFactory(JobFactory):
    """Divides pending runs into as many equal jobs as there are workers, none longer than ``RUNS_PER_JOB``."""

    def __init__(self, setup: WorkerSetup) -> None:
        self.setup = setup

    def jobs(
        self,
        pending: Sequence[Run],
        limits: Mapping[str, int],  # noqa: ARG002 - nothing is stacked
        workers: int,
    ) -> tuple[ImmediateJob, ...]:
        """Equal parts for all workers."""
        size = max(1, min(RUNS_PER_JOB, -(-len(pending) // workers)))
        return tuple(
            ImmediateJob(runs=tuple(pending[start : start + size])) for start in range(0, len(pending), size)
        )


class ImmediateRunner(Runner):
    """Answers all runs of a job in one go."""

    def begin(self, job: ImmediateJob) -> None:
        """Take up a job."""
        self._runs = job.runs

    def advance(self, seconds: float) -> tuple[Report, bool]:  # noqa: ARG002 - an answer takes no time
        """Answer every run of the job."""
        return Report(results=tuple(map(self.answer, self._runs))), True

    @abstractmethod
    def answer(self, run: Run) -> RunResult:
        """The end of one run."""
