"""The seam between a driver and what carries out runs: benches go in, jobs go in, reports come out."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from orchestrator.planner.values import Cell, Cells
from orchestrator.settings import CorpusSource
from orchestrator.spec import Base, ProxyTrainer, Scale
from orchestrator.store.records import LensPoint, LossPoint, RunResult
from workers.jobs import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """The recipe of trunks whose rate is carried over from a base, and that base."""

    trainer: ProxyTrainer
    base: Base


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyBench:
    """What a worker needs to train any proxy of one sweep.

    Attributes:
        trainer: the sweep's recipe.
        corpus: where the registered or prepared corpus lies; None for ``stdlib``.
        scales: the shape behind each trunk's name.
        cells: one cell for each trunk's name, with its params and batch.
        checkpoints: folder of all sweeps' checkpoints, seen by every worker.
        sweep_id: the sweep's own folder in it.
        device: ``cpu`` or ``cuda``.
        gpu_share: part of a GPU that one worker has, at most 1.
        threads: of PyTorch, at least 1.
        base: where the recipe's parametrization changes nothing; None for the standard one.
        carried: by trunk, the recipe of those in another parametrization than the sweep's: Transfer's in a comparison.
    """

    trainer: ProxyTrainer
    corpus: CorpusSource | None
    scales: Mapping[str, Scale]
    cells: Mapping[str, Cell]
    checkpoints: Path
    sweep_id: str
    device: str
    threads: int
    gpu_share: float = 1.0
    base: Base | None = None
    carried: Mapping[str, Carried] = field(default_factory=dict)
    kind: str = "proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayBench:
    """What a worker needs to replay recorded runs: the table (CSV), the recipe picked from it, the cells."""

    table: bytes
    where: Mapping[str, str]
    cells: Cells
    kind: str = "replay"


Bench = ProxyBench | ReplayBench


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a worker has to tell; telling it twice does no harm.

    Attributes:
        points: new points of learning curves.
        results: runs that ended.
        lenses: what the lenses saw since.
        limits: the most members of one stack by the trunk's name; only told while waiting for a job.
        fault: why the job, or every job, cannot be carried out by anybody; None if it can.
    """

    points: tuple[LossPoint, ...] = ()
    results: tuple[RunResult, ...] = ()
    lenses: tuple[LensPoint, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None


class Runner(Protocol):
    """Carries out jobs of one kind of trainer, one after another, in a worker's process.

    Its methods may raise anything. ``machine_faults`` are the errors that another worker may not meet: the
    job is tried again from its last checkpoint. All others are the job's own and end it.
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
        """Work for about that long; what there is to tell, and whether the job is done."""
        ...

    def save(self) -> None:
        """Write a checkpoint of a job that is not done."""
        ...


RUNNERS: Final = {"proxy": ("workers.proxy", "ProxyRunner"), "replay": ("workers.replay", "ReplayRunner")}
"""Where the runner of each kind lives. It is imported in the worker's process alone: PyTorch stays there."""


def open_runner(bench: Bench) -> Runner:
    """The runner for this bench, ready to take up jobs."""
    module, name = RUNNERS[bench.kind]
    runner: Runner = getattr(importlib.import_module(module), name)(bench)
    return runner


__all__ = ["Bench", "Job", "ProxyBench", "ReplayBench", "Report", "Runner", "open_runner"]
