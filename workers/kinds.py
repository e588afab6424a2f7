"""Finds the workers' part of a kind of trainer: the module of this package that the kind names."""

from __future__ import annotations

import importlib

from orchestrator.errors import BadInput
from orchestrator.extras import naming_extras
from orchestrator.settings import Settings
from orchestrator.spec import KINDS
from orchestrator.store import Store
from orchestrator.store.records import Sweep
from workers.runner import JobFactory


def job_factory(sweep: Sweep, store: Store, settings: Settings) -> JobFactory:
    """The factory of a sweep's jobs, made by ``job_factory`` of the kind's module.

    Raises:
        BadInput: no worker carries out the sweep's trainer, its extra is not installed, or its corpus is missing.
        NotFound: its table is missing.
    """
    trainer = sweep.spec.training
    if trainer.carried_out_by is None:
        known = " and ".join(name for name, kind in KINDS.items() if kind.carried_out_by is not None)
        raise BadInput(f"Sweep {sweep.id} has the trainer {trainer.kind!r}; workers carry out {known}.")
    with naming_extras():
        module = importlib.import_module(f"workers.{trainer.carried_out_by}")
    factory: JobFactory = module.job_factory(trainer, sweep, store, settings)
    return factory
