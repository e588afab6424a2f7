"""Trains stacks of proxies: the only module of the workers that loads PyTorch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch

from orchestrator.corpora import PreparedSource
from orchestrator.errors import BadInput
from orchestrator.heldout.module_rates import parse_module_rates
from orchestrator.states import RunState
from orchestrator.store.records import LensPoint, LossPoint, RunResult
from trainer import (
    Corpus,
    CurveEvent,
    DivergedEvent,
    FinishedEvent,
    LensEvent,
    Member,
    OldCheckpoint,
    Recipe,
    Shape,
    TokenFileStats,
    Training,
    TrainingEvent,
    TrainingJob,
    load_corpus,
    stack_limit,
)
from workers.checkpoints import Checkpoints
from workers.jobs import ProxyJob
from workers.recipes import recipe_of, shape_of
from workers.runner import ProxyBench, Report

log = logging.getLogger(__name__)

SAVE_SECONDS = 1.0
"""Least time between two checkpoints of a job."""

SAVE_SHARE = 0.015
"""Most of a worker's time that goes into checkpoints: a slow disk is written to less often."""


class ProxyRunner:
    """Trains one stack at a time and keeps the corpus between them."""

    machine_faults: tuple[type[Exception], ...] = (
        OSError,
        MemoryError,
        torch.AcceleratorError,
        torch.OutOfMemoryError,  # of a GPU, which other processes may have filled
    )

    def __init__(self, bench: ProxyBench) -> None:
        """Load the corpus and check the shapes.

        Raises:
            TrainerError: a shape or the corpus cannot be used.
            BadInput: a shape has not the parameters that its cell was planned with, or there is no GPU.
        """
        torch.set_num_threads(bench.threads)
        if bench.device == "cuda" and not torch.cuda.is_available():
            raise BadInput(
                "The sweep asks for a GPU, but PyTorch finds none on the worker. Install PyTorch with CUDA there, "
                "or set resources.gpus_per_run to 0."
            )
        self._bench = bench
        self._corpus = _corpus(bench)
        self._shapes = {name: _shape(bench, name, self._corpus) for name in bench.scales}
        self._checkpoints = Checkpoints(bench.checkpoints, bench.sweep_id)
        self._stack: _Stack | None = None

    @property
    def limits(self) -> Mapping[str, int]:
        """The most members of one stack, by the trunk's name."""
        return {
            name: stack_limit(
                shape,
                int(self._bench.cells[name].batch_tokens),
                self._bench.device,
                optimizer=self._bench.trainer.optimizer.kind,
                share=self._bench.gpu_share,
            )
            for name, shape in self._shapes.items()
        }

    def begin(self, job: ProxyJob) -> None:
        """Go on with the job's checkpoint, or with its members' trunks, or from the first token."""
        recipe = _recipe(self._bench, job, self._shapes[job.trunk])
        self._stack = _Stack(job, recipe, self._corpus, self._checkpoints, self._bench.device)

    def advance(self, seconds: float) -> tuple[Report, bool]:
        """Train for about that long, and save when it is time."""
        if self._stack is None:
            return Report(), True
        report = self._stack.advance(seconds)
        done = self._stack.training.done
        if done:
            self._stack = None
        return report, done

    def save(self) -> None:
        """Save the job if it is not done."""
        if self._stack is not None:
            self._stack.save()


class _Stack:
    """A job in training, and everything it has told: a later worker tells it again, and nothing is lost."""

    def __init__(
        self, job: ProxyJob, recipe: Recipe, corpus: Corpus, checkpoints: Checkpoints, device: str
    ) -> None:
        self._job, self._checkpoints = job, checkpoints
        members = tuple(
            Member(
                learning_rate=member.learning_rate,
                horizons=member.horizons,
                module_rates=parse_module_rates(member.module_rates),
            )
            for member in job.members
        )
        asked = TrainingJob(recipe=recipe, members=members)
        self._told = Report()
        try:
            self.training = self._taken_up(asked, corpus, device)
        except OldCheckpoint as error:
            log.warning("trained again from the first token: %s", error)
            self.training = Training(asked, corpus, device=device)
        self._untold = self._told
        self._began = time.monotonic()
        self._save_at, self._saving = self._began + SAVE_SECONDS, 0.0
        self._saved_trunks: set[str] = set()

    def _taken_up(self, asked: TrainingJob, corpus: Corpus, device: str) -> Training:
        saved = self._checkpoints.read_job(self._job)
        if saved is None:
            return Training(asked, corpus, trunks=self._trunks(asked), device=device)
        told, state = saved
        training = Training(asked, corpus, state=state, device=device)
        self._told = told
        return training

    def advance(self, seconds: float) -> Report:
        """Train on; what is new, and after a resumption also what was told before."""
        events = self.training.advance(seconds=seconds)
        new = Report(
            points=tuple(_points(self._job, events)),
            results=tuple(_results(self._job, events)),
            lenses=tuple(_lenses(self._job, events)),
        )
        self._save_trunks()
        report, self._untold = _joined(self._untold, new), Report()
        self._told = _joined(self._told, new)
        if not self.training.done and time.monotonic() >= self._save_at:
            self.save()
        return report

    def save(self) -> None:
        """Write the checkpoint; the next one waits until all of them, it included, keep to their share of the time."""
        before = time.monotonic()
        self._checkpoints.write_job(self._job, self._told, self.training.state())
        now = time.monotonic()
        self._saving += now - before
        self._save_at = max(now + SAVE_SECONDS, self._began + (self._saving + now - before) / SAVE_SHARE)

    def _trunks(self, asked: TrainingJob) -> list[bytes] | None:
        """The members' saved trunks, or None to start afresh: a position is only known to half a step."""
        first = min(asked.recipe.timetable.fork(member.horizons[0]) for member in asked.members)
        start = self._job.start_tokens
        if not 0 < start <= first * asked.recipe.batch_tokens:
            return None
        return [self._checkpoints.read_trunk(member.trunk_id, start) for member in self._job.members]

    def _save_trunks(self) -> None:
        for place, member in enumerate(self._job.members):
            state, tokens = self.training.trunk(place), self.training.trunk_tokens(place)
            if state is None or tokens is None or member.trunk_id in self._saved_trunks:
                continue
            self._saved_trunks.add(member.trunk_id)
            self._checkpoints.write_trunk(member.trunk_id, tokens, state)


def _joined(first: Report, second: Report) -> Report:
    return Report(
        points=first.points + second.points,
        results=first.results + second.results,
        lenses=first.lenses + second.lenses,
    )


def _points(job: ProxyJob, events: Sequence[TrainingEvent]) -> Iterable[LossPoint]:
    """Points of the trunk under the trunk's id, of a branch under its run's; a loss that is no number is none."""
    for event in events:
        if not isinstance(event, CurveEvent):
            continue
        for curve in _curves(job, event):
            for step, tokens, loss in zip(event.steps, event.tokens, event.losses, strict=True):
                if math.isfinite(loss):
                    yield LossPoint(curve=curve, step=step, tokens=tokens, loss=loss)


def _lenses(job: ProxyJob, events: Sequence[TrainingEvent]) -> Iterable[LensPoint]:
    """What the lenses saw, under the same ids; a value that is no number is left out."""
    for event in events:
        if isinstance(event, LensEvent):
            values = {name: value for name, value in event.values.items() if math.isfinite(value)}
            for curve in _curves(job, event):
                yield LensPoint(curve=curve, step=event.step, tokens=event.tokens, values=values)


def _curves(job: ProxyJob, event: CurveEvent | LensEvent) -> tuple[str, ...]:
    member = job.members[event.member]
    return (member.trunk_id,) if event.horizon is None else member.run_ids((event.horizon,))


def _results(job: ProxyJob, events: Sequence[TrainingEvent]) -> Iterable[RunResult]:
    for event in events:
        if isinstance(event, FinishedEvent):
            run_ids = job.members[event.member].run_ids((event.horizon,))
            yield from _shared_cost(
                event,
                [
                    RunResult(
                        run_id=run_id,
                        state=RunState.COMPLETED,
                        loss=event.loss,
                        trunk_loss=event.trunk_loss,
                    )
                    for run_id in run_ids
                ],
            )
        elif isinstance(event, DivergedEvent):
            run_ids = job.members[event.member].run_ids(event.horizons)
            yield from _shared_cost(
                event,
                [
                    RunResult(
                        run_id=run_id,
                        state=RunState.DIVERGED,
                        diverged_tokens=event.tokens,
                        reason=f"Diverged after {event.tokens} tokens: {event.reason}.",
                    )
                    for run_id in run_ids
                ],
            )


def _shared_cost(event: FinishedEvent | DivergedEvent, results: Sequence[RunResult]) -> Iterable[RunResult]:
    """What the event cost, in equal parts: the sum over all runs is what was really trained."""
    for result in results:
        yield replace(result, flops=event.flops / len(results), seconds=event.seconds / len(results))


def _corpus(bench: ProxyBench) -> Corpus:
    """The corpus; of a prepared one a sample is checked and the rest is believed, whatever its size."""
    source, name = bench.corpus, bench.trainer.corpus
    if source is None:
        return load_corpus(name)
    measured = None
    if isinstance(source, PreparedSource):
        if (reason := source.unreadable()) is not None:
            raise BadInput(f"The corpus {name!r} cannot be read on the worker: {reason}.")
        document = source.document
        measured = TokenFileStats(
            tokens=document.tokens, sha256=document.sha256, unigram_entropy=document.unigram_entropy
        )
    return load_corpus(
        source.path,
        token_type=source.dtype,
        vocab_size=source.vocab_size,
        heldout_tokens=source.heldout_tokens,
        measured=measured,
        name=name,
    )


def _shape(bench: ProxyBench, trunk: str, corpus: Corpus) -> Shape:
    """The trainer's shape of a scale, with the parameters that its cell was planned with."""
    scale, cell = bench.scales[trunk], bench.cells[trunk]
    shape = shape_of(scale, bench.trainer, corpus.vocab_size)
    planned = [cell.params_total or cell.params, cell.params_active or cell.params]
    if [float(shape.params_total), float(shape.params_active)] != planned:
        raise BadInput(
            f"The sweep was planned with {planned[0]:.0f} params, {planned[1]:.0f} of them active, for width "
            f"{scale.width} and depth {scale.depth}, but this trainer builds {shape.params_total} and "
            f"{shape.params_active}: the service and its workers run different versions."
        )
    return shape


def _recipe(bench: ProxyBench, job: ProxyJob, shape: Shape) -> Recipe:
    cell, own = bench.cells[job.trunk], bench.carried.get(job.trunk)
    trainer, base = (bench.trainer, bench.base) if own is None else (own.trainer, own.base)
    return recipe_of(
        shape,
        trainer,
        base,
        batch_tokens=int(cell.batch_tokens),
        tokens=int(cell.tokens),
        seed=job.seed,
    )
