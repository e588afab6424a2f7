"""Runs by a worker, and the same runs by the trainer without any worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.heldout.module_rates import parse_module_rates
from orchestrator.settings import Settings
from orchestrator.spec import Grid, ProxyTrainer
from trainer import Corpus, FinishedEvent, Member, Recipe, Schedule, Shape, Training, TrainingJob, load_corpus
from workers.preparation.preparing import PreparedCorpus, prepare
from workers.proxy import ProxySetup
from workers.proxy_jobs import ProxyJob
from workers.proxy_runner import ProxyRunner
from workers.runner import Report

LINEAR = Schedule(warmup_tokens=1_024, decay_fraction=0.2, shape="linear")


def alone(
    shape: Shape,
    *horizons: int,
    rates: tuple[float, ...],
    schedule: Schedule = LINEAR,
    module_rates: str = "",
    corpus: Corpus | None = None,
    **recipe: Any,
) -> list[float]:
    """The trainer's losses of one stack in batches of 128 tokens: rate by rate, shorter horizons first."""
    built = Recipe(shape=shape, schedule=schedule, batch_tokens=128, **recipe)
    modules = parse_module_rates(module_rates)
    members = tuple(Member(learning_rate=rate, horizons=horizons, module_rates=modules) for rate in rates)
    events = Training(TrainingJob(recipe=built, members=members), corpus or load_corpus("stdlib")).advance()
    ends = [event for event in events if isinstance(event, FinishedEvent)]
    return [end.loss for end in sorted(ends, key=lambda end: (end.member, end.horizon))]


def setup_of(trainer: ProxyTrainer, grid: Grid, folder: Path, **changes: Any) -> ProxySetup:
    """What a driver gives its workers, on a CPU."""
    fields: dict[str, Any] = {
        "trainer": trainer,
        "corpus": None,
        "scales": trainer.trunk_scales(grid),
        "cells": {str(cell.trunk): cell for cell in trainer.cells(grid)},
        "checkpoints": folder,
        "sweep_id": "sweep",
        "device": "cpu",
        "threads": 1,
        "base": trainer.base(grid),
    }
    return ProxySetup(**(fields | changes))


def prepare_own(text: str, folder: Path, settings: Settings) -> PreparedCorpus:
    """A text prepared under the name ``own``, with 300 kinds of tokens."""
    source = folder / "text.txt"
    source.write_text(text)
    return prepare(
        source,
        "own",
        folder=settings.corpora_folder,
        vocab_size=300,
        suffixes=(),
        again=False,
        on_progress=lambda progress: None,
    )


def carried_out(runner: ProxyRunner, job: ProxyJob) -> Report:
    """Everything that a worker reports of a job."""
    runner.begin(job)
    return rest_of(runner)


def rest_of(runner: ProxyRunner) -> Report:
    """Everything that a worker reports until its job is done."""
    total, done = Report(), False
    while not done:
        report, done = runner.advance(0.2)
        total = Report(
            points=total.points + report.points,
            results=total.results + report.results,
            lenses=total.lenses + report.lenses,
        )
    return total
