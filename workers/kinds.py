"""Finds the workers' part of a kind of trainer: the module of this package that the kind names."""

from __future__ import annotations

import importlib
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.settings import Settings
from orchestrator.spec import KINDS
from orchestrator.store import Store
from orchestrator.store.records import Sweep
from workers.runner import JobFactory, Runner, WorkerKind, WorkerSetup


def job_factory(sweep: Sweep, store: Store, settings: Settings) -> JobFactory:
    """The factory of a sweep's jobs.

    Raises:
        BadInput: no worker carries out the sweep's trainer, or its corpus is missing.
        NotFound: its table is missing.
    """
    trainer = sweep.spec.training
    if trainer.carried_out_by is None:
        known = " and ".join(name for name, kind in KINDS.items() if kind.carried_out_by is not None)
        raise BadInput(f"Sweep {sweep.id} has the trainer {trainer.kind!r}; workers carry out {known}.")
    return _worker_kind(trainer.carried_out_by).jobs(trainer, sweep, store, settings)


def open_runner(setup: WorkerSetup) -> Runner:
    """The runner of a setup, ready to take up jobs."""
    module, name = _worker_kind(str(KINDS[setup.kind].carried_out_by)).runner
    runner: Runner = getattr(importlib.import_module(module), name)(setup)
    return runner


def _worker_kind(module: str) -> WorkerKind[Any]:
    found: WorkerKind[Any] = importlib.import_module(f"workers.{module}").KIND
    return found
