"""The interfaces between a driver and a kind of trainer: setups and jobs go to workers, reports come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from orchestrator.settings import Settings
from orchestrator.spec import TrainerKind
from orchestrator.store import Store
from orchestrator.store.records import LensPoint, LossPoint, Run, RunResult, Sweep


class WorkerSetup(Protocol):
    """The input of every worker of one sweep; it travels to the worker's process.

    Attributes:
        kind: the trainer's, by which the worker finds its runner.
    """

    @property
    def kind(self) -> str:
        """The trainer's kind."""
        ...


class Job(Protocol):
    """The work of one worker in one go."""

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that the job answers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """News from a worker; reporting the same twice does no harm.

    Attributes:
        points: new points of learning curves.
        results: runs that ended.
        lenses: new points of the lenses.
        limits: the most members of one stack by the trunk's name; reported only while waiting for a job.
        fault: why no worker can carry out the job, or any job; None if they can.
    """

    points: tuple[LossPoint, ...] = ()
    results: tuple[RunResult, ...] = ()
    lenses: tuple[LensPoint, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None

    def __add__(self, later: Report) -> Report:
        """Both reports in one; limits and fault are those of the later one."""
        return Report(
            points=self.points + later.points,
            results=self.results + later.results,
            lenses=self.lenses + later.lenses,
            limits=later.limits,
            fault=later.fault,
        )


class Runner(Protocol):
    """Carries out jobs of one kind of trainer, one after another, in a worker's process.

    Its methods may raise anything. ``machine_faults`` are the errors that another worker may not meet: the job is
    tried again from its last checkpoint. All other errors are the job's own and end it.
    """

    machine_faults: tuple[type[Exception], ...]

    @property
    def limits(self) -> Mapping[str, int]:
        """The most members of one stack, by the trunk's name."""
        ...

    def begin(self, job: Any) -> None:
        """Take up a job of this kind, from its checkpoint if it has one."""
        ...

    def advance(self, seconds: float) -> tuple[Report, bool]:
        """Work for about that long; returns the news, and whether the job is done."""
        ...

    def save(self) -> None:
        """Write a checkpoint of a job that is not done."""
        ...


class JobFactory(Protocol):
    """Forms jobs from pending runs of one kind of trainer, in the driver's process."""

    @property
    def setup(self) -> WorkerSetup:
        """The input of every worker of the sweep."""
        ...

    def jobs(self, pending: Sequence[Run], limits: Mapping[str, int], workers: int) -> tuple[Job, ...]:
        """Jobs for these runs, in the order in which to start them.

        Args:
            pending: the runs.
            limits: as a worker reported them (``Report.limits``).
            workers: how many jobs run at once, at least 1.
        """
        ...

    def ended(self, job: Any) -> None:
        """Remove the files of a job whose end is recorded."""
        ...


TrainerT = TypeVar("TrainerT", bound=TrainerKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKind(Generic[TrainerT]):
    """The runner of one kind of trainer: ``KIND`` of the module that the kind names.

    Attributes:
        jobs: makes the factory of a sweep's jobs from the sweep's trainer; raises BadInput or NotFound if something it needs is missing.
        runner: module and class of the runner. Only worker processes import it, so that PyTorch stays there.
    """

    jobs: Callable[[TrainerT, Sweep, Store, Settings], JobFactory]
    runner: tuple[str, str]
