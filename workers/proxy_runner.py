"""Trains stacks of proxies. No other module of the workers imports PyTorch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

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
from workers.proxy import ProxySetup
from workers.proxy_jobs import ProxyJob
from workers.proxy_recipes import recipe_of, shape_of
from workers.runner import Report, Runner

log = logging.getLogger(__name__)

SAVE_SECONDS = 1.0
"""Least time between two checkpoints of a job."""

SAVE_SHARE = 0.015
"""Most of a worker's time spent on checkpoints: a slow disk gets fewer of them."""


class ProxyRunner(Runner):
    """Trains one stack at a time; the corpus stays loaded."""

    machine_faults = (
        *Runner.machine_faults,
        torch.AcceleratorError,
        torch.OutOfMemoryError,  # other processes may have filled the GPU
    )

    def __init__(self, setup: ProxySetup) -> None:
        """Load the corpus and check the shapes.

        Raises:
            TrainerError: a shape or the corpus cannot be used.
            BadInput: a shape and its cell differ in parameters, or there is no GPU.
        """
        torch.set_num_threads(setup.threads)
        if setup.device == "cuda" and not torch.cuda.is_available():
            raise BadInput(
                "The sweep asks for a GPU, but PyTorch finds none on the worker. Install PyTorch with CUDA there, "
                "or set resources.gpus_per_run to 0."
            )
        self._setup = setup
        self._corpus = _corpus(setup)
        self._shapes = {name: _shape(setup, name, self._corpus) for name in setup.scales}
        self._checkpoints = Checkpoints(setup.checkpoints, setup.sweep_id)
        self._stack: _Stack | None = None

    @property
    def limits(self) -> Mapping[str, int]:
        """The most members of one stack, by the trunk's name."""
        return {
            name: stack_limit(
                shape,
                int(self._setup.cells[name].batch_tokens),
                self._setup.device,
                optimizer=self._setup.trainer.optimizer.kind,
                share=self._setup.gpu_share,
            )
            for name, shape in self._shapes.items()
        }

    def begin(self, job: ProxyJob) -> None:
        """Continue from the job's checkpoint, else from its members' trunks, else begin at the first token."""
        recipe = _recipe(self._setup, job, self._shapes[job.trunk])
        self._stack = _Stack(job, recipe, self._corpus, self._checkpoints, self._setup.device)

    def advance(self, seconds: float) -> tuple[Report, bool]:
        """Train for about that long, and save when a checkpoint is due."""
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
    """A job in training, and everything it has reported, which a later worker reports again."""

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
        work = TrainingJob(recipe=recipe, members=members)
        self._reported = Report()
        try:
            self.training = self._resumed(work, corpus, device)
        except OldCheckpoint as error:
            log.warning("trained again from the first token: %s", error)
            self.training = Training(work, corpus, device=device)
        self._pending = self._reported
        self._began = time.monotonic()
        self._save_at, self._saving = self._began + SAVE_SECONDS, 0.0
        self._saved_trunks: set[str] = set()

    def _resumed(self, work: TrainingJob, corpus: Corpus, device: str) -> Training:
        saved = self._checkpoints.read_job(self._job)
        if saved is None:
            return Training(work, corpus, trunks=self._trunks(work), device=device)
        reported, state = saved
        training = Training(work, corpus, state=state, device=device)
        self._reported = reported
        return training

    def advance(self, seconds: float) -> Report:
        """Train on. Returns the news, and after a resumption also everything reported before."""
        events = self.training.advance(seconds=seconds)
        new = Report(
            points=tuple(_points(self._job, events)),
            results=tuple(_results(self._job, events)),
            lenses=tuple(_lenses(self._job, events)),
        )
        self._save_trunks()
        report, self._pending = self._pending + new, Report()
        self._reported = self._reported + new
        if not self.training.done and time.monotonic() >= self._save_at:
            self.save()
        return report

    def save(self) -> None:
        """Write the checkpoint. The next one waits until all of them take ``SAVE_SHARE`` of the time at most."""
        before = time.monotonic()
        self._checkpoints.write_job(self._job, self._reported, self.training.state())
        now = time.monotonic()
        self._saving += now - before
        self._save_at = max(now + SAVE_SECONDS, self._began + (self._saving + now - before) / SAVE_SHARE)

    def _trunks(self, work: TrainingJob) -> list[bytes] | None:
        """The members' saved trunks, or None to start from the beginning: a position is only known to half a step."""
        first = min(work.recipe.timetable.fork(member.horizons[0]) for member in work.members)
        start = self._job.start_tokens
        if not 0 < start <= first * work.recipe.batch_tokens:
            return None
        return [self._checkpoints.read_trunk(member.trunk_id, start) for member in self._job.members]

    def _save_trunks(self) -> None:
        for index, member in enumerate(self._job.members):
            state, tokens = self.training.trunk(index), self.training.trunk_tokens(index)
            if state is None or tokens is None or member.trunk_id in self._saved_trunks:
                continue
            self._saved_trunks.add(member.trunk_id)
            self._checkpoints.write_trunk(member.trunk_id, tokens, state)


def _points(job: ProxyJob, events: Sequence[TrainingEvent]) -> Iterable[LossPoint]:
    """Points of trunks by the trunk's id, and of branches by their run's; without losses that are not finite."""
    for event in events:
        if not isinstance(event, CurveEvent):
            continue
        for curve in _curves(job, event):
            for step, tokens, loss in zip(event.steps, event.tokens, event.losses, strict=True):
                if math.isfinite(loss):
                    yield LossPoint(curve=curve, step=step, tokens=tokens, loss=loss)


def _lenses(job: ProxyJob, events: Sequence[TrainingEvent]) -> Iterable[LensPoint]:
    """The lenses' measurements, by the same ids; without values that are not finite."""
    for event in events:
        if isinstance(event, LensEvent):
            values = {name: value for name, value in event.values.items() if math.isfinite(value)}
            for curve in _curves(job, event):
                yield LensPoint(curve=curve, step=event.step, tokens=event.tokens, values=values)


def _curves(job: ProxyJob, event: CurveEvent | LensEvent) -> tuple[str, ...]:
    member = job.members[event.member]
    return (member.trunk_id,) if event.horizon is None else member.run_ids((event.horizon,))


def _results(job: ProxyJob, events: Sequence[TrainingEvent]) -> Iterable[RunResult]:
    """The ends of runs. The cost of an event is divided equally: the sum over all runs is what was really trained."""
    for event in events:
        if isinstance(event, FinishedEvent):
            horizons: tuple[int, ...] = (event.horizon,)
            end = partial(RunResult, state=RunState.COMPLETED, loss=event.loss, trunk_loss=event.trunk_loss)
        elif isinstance(event, DivergedEvent):
            horizons = event.horizons
            reason = f"Diverged after {event.tokens} tokens: {event.reason}."
            end = partial(RunResult, state=RunState.DIVERGED, diverged_tokens=event.tokens, reason=reason)
        else:
            continue
        run_ids = job.members[event.member].run_ids(horizons)
        for run_id in run_ids:
            yield end(run_id=run_id, flops=event.flops / len(run_ids), seconds=event.seconds / len(run_ids))


def _corpus(setup: ProxySetup) -> Corpus:
    """The corpus. Of a prepared one only a sample is checked, so that size does not matter."""
    source, name = setup.corpus, setup.trainer.corpus
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


def _shape(setup: ProxySetup, trunk: str, corpus: Corpus) -> Shape:
    """The trainer's shape of a scale, refused unless it has the parameters of the planned cell."""
    scale, cell = setup.scales[trunk], setup.cells[trunk]
    shape = shape_of(scale, setup.trainer, corpus.vocab_size)
    planned = [cell.params_total or cell.params, cell.params_active or cell.params]
    if [float(shape.params_total), float(shape.params_active)] != planned:
        raise BadInput(
            f"The sweep was planned with {planned[0]:.0f} params, {planned[1]:.0f} of them active, for width "
            f"{scale.width} and depth {scale.depth}, but this trainer builds {shape.params_total} and "
            f"{shape.params_active}: the service and its workers run different versions."
        )
    return shape


def _recipe(setup: ProxySetup, job: ProxyJob, shape: Shape) -> Recipe:
    cell, own = setup.cells[job.trunk], setup.transferred.get(job.trunk)
    trainer, base = (setup.trainer, setup.base) if own is None else (own.trainer, own.base)
    return recipe_of(
        shape,
        trainer,
        base,
        batch_tokens=int(cell.batch_tokens),
        tokens=int(cell.tokens),
        seed=job.seed,
    )
