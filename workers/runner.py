"""The interfaces between a driver and a kind of trainer: setups and jobs go to workers, reports come back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from orchestrator.cells import Cells
from orchestrator.errors import BadInput
from orchestrator.spec import GridOf
from orchestrator.store.outputs import OutputTail
from orchestrator.store.records import LensPoint, LossPoint, Run, RunResult


class MustPause(BadInput):
    """A sweep that cannot go on before its user or operator has mended something; nothing of it is lost."""

    title = "The sweep must pause"


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
        logs: the newest end of a run's output, by the run's id.
        params: N as a program reported it, by the run's id.
        notices: what the sweep's user should know, each as a sentence.
        limits: the most members of one stack by the trunk's name; reported only while waiting for a job.
        fault: why no worker can carry out the job, or any job; None if they can.
        unfit: whether the fault is this worker's, whatever the job.
    """

    points: tuple[LossPoint, ...] = ()
    results: tuple[RunResult, ...] = ()
    lenses: tuple[LensPoint, ...] = ()
    logs: Mapping[str, OutputTail] = field(default_factory=dict)
    params: Mapping[str, float] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None
    unfit: bool = False

    def __add__(self, later: Report) -> Report:
        """Both reports in one; limits and fault are those of the later one."""
        return Report(
            points=self.points + later.points,
            results=self.results + later.results,
            lenses=self.lenses + later.lenses,
            logs={**self.logs, **later.logs},
            params={**self.params, **later.params},
            notices=self.notices + later.notices,
            limits=later.limits,
            fault=later.fault,
            unfit=later.unfit,
        )


class Runner(ABC):
    """Carries out jobs of one kind of trainer, one after another, in a worker's process.

    Its methods may raise anything. ``machine_faults`` are the errors that another worker may not meet: the job is
    tried again from its last checkpoint. All other errors are the job's own and end it.
    """

    machine_faults: tuple[type[Exception], ...] = (OSError, MemoryError)

    @property
    def limits(self) -> Mapping[str, int]:
        """The most members of one stack, by the trunk's name; empty if runs are not stacked."""
        return {}

    @abstractmethod
    def begin(self, job: Any) -> None:
        """Take up a job of this kind, from its checkpoint if it has one."""

    @abstractmethod
    def advance(self, seconds: float) -> tuple[Report, bool]:
        """Work for about that long; returns the news, and whether the job is done."""

    def abort(self) -> None:  # noqa: B027 - a kind without processes has nothing to end
        """End what the job has started, after an error."""

    def save(self) -> None:  # noqa: B027 - a kind without checkpoints has nothing to write
        """Write a checkpoint of a job that is not done, if its kind has checkpoints."""


class WorkerSetup(Protocol):
    """The input of every worker of one sweep; it travels to the worker's process."""

    def open_runner(self) -> Runner:
        """Load what all jobs need. Only worker processes call this, so that PyTorch stays there."""
        ...


class JobFactory(ABC):
    """Forms jobs from pending runs of one kind of trainer, in the driver's process.

    Attributes:
        setup: the input of every worker of the sweep.
        silence_seconds: longest time between two reports of a worker; one that is silent for longer hangs. It is killed,
            and another worker takes up its job.
        interrupts_at_pause: whether a pause ends the running jobs, whose runs are then pending again; otherwise they go on
            to their end.
        first_runs: most jobs at once before any run of the sweep has reported a loss; None for no such limit.
    """

    setup: WorkerSetup
    silence_seconds: float = 60.0
    interrupts_at_pause: ClassVar[bool] = False
    first_runs: ClassVar[int | None] = None

    @property
    def must_pause(self) -> str | None:
        """Why the sweep must not go on as it is, as a sentence for its user; None if it may."""
        return None

    @property
    def is_outdated(self) -> bool:
        """Whether another factory, made now, would carry out the runs otherwise."""
        return False

    @abstractmethod
    def jobs(self, pending: Sequence[Run], limits: Mapping[str, int], workers: int) -> tuple[Job, ...]:
        """Jobs for these runs, in the order in which to start them; until ``first_runs`` are proven, in the reverse one.

        Args:
            pending: the runs.
            limits: as a worker reported them (``Report.limits``).
            workers: how many jobs run at once, at least 1.
        """

    def takes_up(self, grid: GridOf[Any], cells: Cells) -> bool:  # noqa: ARG002 - a hook
        """Take up a grid that has grown.

        Args:
            grid: of the specification.
            cells: all cells of the sweep.

        Returns:
            Whether its workers can carry out the further runs; if not, another factory and other workers are needed.
        """
        return False

    def note_loss(self, job: Any) -> int | None:  # noqa: ARG002 - a hook
        """Count that a job was given up because its workers died.

        Returns:
            How often it was, with this time, under all drivers; None if runs of this kind are not tried again then.
        """
        return None

    def ended(self, job: Any) -> None:  # noqa: B027 - as ``save``
        """Remove the files of a job whose end is recorded, if there are any."""
