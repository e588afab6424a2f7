"""The workers' part of each kind of trainer: where its jobs come from, and what carries them out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import BadInput
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.store.records import Sweep
from workers.proxy import ProxyJobFactory
from workers.replay import ReplayJobFactory
from workers.runner import JobFactory, Runner, WorkerSetup


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKind:
    """How workers carry out one kind of trainer.

    Attributes:
        jobs: makes the factory of a sweep's jobs; raises BadInput or NotFound if something it needs is missing.
        runner: module and class of the runner. Only worker processes import it, so that PyTorch stays there.
    """

    jobs: Callable[[Sweep, Store, Settings], JobFactory]
    runner: tuple[str, str]


KINDS: Final = {
    "proxy": WorkerKind(jobs=ProxyJobFactory, runner=("workers.proxy_runner", "ProxyRunner")),
    "replay": WorkerKind(jobs=ReplayJobFactory, runner=("workers.replay", "ReplayRunner")),
}


def job_factory(sweep: Sweep, store: Store, settings: Settings) -> JobFactory:
    """The factory of a sweep's jobs.

    Raises:
        BadInput: no worker carries out the sweep's trainer, or its corpus is missing.
        NotFound: its table is missing.
    """
    kind = sweep.spec.training.kind
    if kind not in KINDS:
        raise BadInput(f"Sweep {sweep.id} has the trainer {kind!r}; workers carry out {' and '.join(KINDS)}.")
    return KINDS[kind].jobs(sweep, store, settings)


def open_runner(setup: WorkerSetup) -> Runner:
    """The runner of a setup, ready to take up jobs."""
    module, name = KINDS[setup.kind].runner
    runner: Runner = getattr(importlib.import_module(module), name)(setup)
    return runner
