"""Checks a program before money is spent: a short run, and the same run killed, forked, at an absurd rate, stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from orchestrator import amounts
from orchestrator.documents.trainers import CheckDocument, CheckStep, Finding
from orchestrator.errors import BadInput
from orchestrator.programs.declared_losses import LossSource, OutputSource
from workers.programs.check_case import CheckCase
from workers.programs.check_found import Found, files_there, reason
from workers.programs.check_runs import CheckRun, MadeRun, OutOfTime, Watcher
from workers.programs.disturbed_runs import UndisturbedRun, fork, high_rate, resume, stop
from workers.programs.journal import Ended, Measured
from workers.programs.run_ends import CLOSE_PARAMS, Completed, RateTooHigh, coarse, wrong_size

ONE_LOSS: Final = (
    "With one loss, a dead network cannot be told from one that learned: report losses during the training."
)

SHORT_SECONDS, ENOUGH_SECONDS = 2.0, 4.0
"""A run that trains for less than the first is made longer, for about the second."""

LEAST_SECONDS: Final = 0.2
"""Shorter times are not measured well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedPlan:
    """What a sweep is expected to spend: FLOPs and runs, on so many workers at once."""

    flops: float
    runs: int
    workers: int


def prepare(case: CheckCase, folder: Path, watcher: Watcher) -> MadeRun:
    """Make the arguments and files of a check's run, and start nothing.

    Raises:
        BadInput: one cannot be made.
    """
    return CheckRun(case, folder / "training", deadline=0.0, watcher=watcher).made()


def check(
    case: CheckCase, folder: Path, *, seconds: float, watcher: Watcher, plan: ExpectedPlan | None = None
) -> CheckDocument:
    """Check a program by some short runs of it.

    Args:
        case: the run; its program is started about seven times.
        folder: for the runs' files; it exists.
        seconds: for the whole check.
        watcher: is told of every step.
        plan: of a sweep, to be priced.
    """
    return _Check(case, folder, time.monotonic() + seconds, watcher, plan).run()


class _Check:
    def __init__(
        self, case: CheckCase, folder: Path, deadline: float, watcher: Watcher, plan: ExpectedPlan | None
    ) -> None:
        self._case, self._folder, self._deadline = case, folder, deadline
        self._watcher, self._plan = watcher, plan
        self._definition = case.registration.definition
        self._private = _private(case, folder)
        self._direct = self._new_run("training")
        self._completed: UndisturbedRun | None = None
        self._forks = None if self._definition.fork is None else False
        self._speed: float | None = None
        self._steps: list[CheckStep] = []

    def run(self) -> CheckDocument:
        self._step("arguments", self._arguments)
        self._step("training", self._training)
        self._step("losses", self._losses)
        self._step("model size", self._size)
        self._step("speed", self._measured_speed)
        for name, part in (
            ("resume", self._resume),
            ("fork", self._fork),
            ("high rate", high_rate),
            ("stop", stop),
        ):
            completed = self._completed
            self._step(name, partial(self._untried, name) if completed is None else partial(part, completed))
        model = self._direct.record.model
        return CheckDocument(
            passed=all(step.finding is not Finding.BAD for step in self._steps),
            forks=self._forks,
            tokens_per_second=self._speed,
            params=None if model is None else model.params,
            declared_params=self._case.cell.params if self._case.has_params else None,
            values=self._case.checked_parameters,
            steps=self._steps,
            checked_at=datetime.now(UTC),
        )

    def _step(self, name: str, part: Callable[[], Found]) -> None:
        self._watcher.begin(name)
        try:
            found = part()
        except BadInput as error:
            found = _unprepared(error)
        except OutOfTime:
            found = self._not_in_time(name)
        paths = [path for path in (*found.paths, *self._private) if path in found.message]
        step = CheckStep(name=name, finding=found.finding, message=found.message, paths=paths)
        self._steps.append(step)
        self._watcher.end(step, found.lines)

    def _not_in_time(self, name: str) -> Found:
        if name != "training":
            message = "Not checked: the check's time was over. Give it more --minutes."
            return Found(Finding.WARNING, message + self._without_forks(name))
        reached, asked = self._direct.record.tokens, self._case.cell.tokens
        message = (
            f"The check's time was over at {amounts.count(reached)} of {amounts.count(asked)} tokens. Give it more "
            "--minutes, or fewer --tokens."
        )
        return Found(Finding.BAD, message, self._direct.last_lines)

    def _untried(self, name: str) -> Found:
        message = "Not tried, because the training did not complete."
        return Found(Finding.SKIPPED, message + self._without_forks(name))

    def _without_forks(self, step: str) -> str:
        return (
            " Forks are off until a check compares them." if step == "fork" and self._forks is False else ""
        )

    def _new_run(
        self, name: str, case: CheckCase | None = None, *, learning_rate: float | None = None
    ) -> CheckRun:
        return CheckRun(
            case or self._case,
            self._folder / name,
            deadline=self._deadline,
            watcher=self._watcher,
            learning_rate=learning_rate,
        )

    # One undisturbed run.

    def _arguments(self) -> Found:
        made = self._direct.made()
        self._watcher.show(made)
        files = len(made.files)
        more = f", {files} config file{'s' * (files != 1)}" if files else ""
        return Found(
            Finding.GOOD,
            f"{len(made.argv)} arguments and {len(made.environment)} variables{more} could be made.",
        )

    def _training(self) -> Found:
        """The undisturbed run; if it is too short to be killed half-way or timed, a longer one."""
        found = self._trained()
        completed = self._completed
        if completed is None or not self._case.grows or completed.training_seconds >= SHORT_SECONDS:
            return found
        factor = math.ceil(ENOUGH_SECONDS / max(completed.training_seconds, 0.1))
        self._case, self._completed = self._case.with_horizon(factor), None
        self._direct = self._new_run("longer")
        return self._trained()

    def _trained(self) -> Found:
        with self._direct as run:
            run.start().wait()
        end, case = run.judged(), self._case
        how = (
            f"{case.steps.total} steps of {amounts.count(case.cell.batch_tokens)} tokens at a rate of "
            f"{amounts.rate(case.learning_rate)}"
        )
        if isinstance(end, Completed) and isinstance(run.ended, Ended):
            first = self._first_loss
            self._completed = UndisturbedRun(
                case=case,
                loss=end.loss,
                first_loss=math.inf if first is None else first.loss,
                start_seconds=run.start_seconds or 0.0,
                seconds=run.ended.seconds,
                new_run=self._new_run,
            )
            return Found(
                Finding.GOOD,
                f"{how}: completed in {amounts.duration(run.ended.seconds)} with a loss of {amounts.loss(end.loss)}.",
            )
        advice = " Give a lower --learning-rate, or more --tokens." if isinstance(end, RateTooHigh) else ""
        return Found(Finding.BAD, f"{how}: {reason(end)}.{advice}", run.last_lines)

    def _losses(self) -> Found:
        run, losses = self._direct, self._definition.losses
        first = self._first_loss
        if first is None:
            alone = self._completed is not None
            message = f"Its answer alone was reported. {ONE_LOSS}" if alone else "No loss was seen."
            return Found(Finding.WARNING if alone else Finding.SKIPPED, message)
        sources = {"training": losses.training, "validation": losses.validation}
        read = " and ".join(
            f"{_counted(run.matched[kind], kind)} read from {_source_in_words(source)}"
            for kind, source in sources.items()
            if run.matched[kind] or source is not None
        )
        at = first.tokens // int(self._case.cell.batch_tokens)
        said = (
            f"{read}; the first one, of step {at}, is {amounts.loss(first.loss)}{_as_vocabulary(first.loss)}."
        )
        silent = [kind for kind, source in sources.items() if source is not None and not run.matched[kind]]
        doubts = [f"No {kind} loss was found." for kind in silent]
        if run.matched.total() == 1:
            doubts.append(ONE_LOSS)
        doubts += run.record.notices
        if isinstance(run.ended, Ended) and (few := coarse(run.ended)) is not None:
            doubts.append(few)
        if doubts:
            return Found(Finding.WARNING, " ".join([said, *doubts]), run.last_lines if silent else ())
        return Found(Finding.GOOD, said)

    @property
    def _first_loss(self) -> Measured | None:
        record = self._direct.record
        points = record.training.points or record.validation.points
        return points[0] if points else None

    def _size(self) -> Found:
        record, case = self._direct.record, self._case
        reported = None if record.model is None else record.model.params
        declared = case.cell.params if case.has_params else None
        if reported is None:
            message = "The program reports no N (etalon.model(params=…)), so nothing compares it with the declared one."
            wanted = self._definition.model == "reported"
            return Found(Finding.WARNING if wanted else Finding.SKIPPED, message)
        if declared is None:
            return Found(
                Finding.GOOD,
                f"The program reports N = {reported:.0f}: write params: {reported:.0f} for this scale.",
            )
        wrong = wrong_size(record, case.cell, self._definition)
        if wrong is not None:
            return Found(Finding.BAD, f"{_capital(wrong)}. Every run of this scale would fail.")
        message = f"The program reports N = {reported:.0f}, and {declared:.0f} are declared."
        if abs(reported / declared - 1.0) > CLOSE_PARAMS:
            return Found(
                Finding.WARNING,
                f"{message} A law in the wrong N predicts the wrong rate: declare what is reported, or set model: reported.",
            )
        return Found(Finding.GOOD, message)

    def _measured_speed(self) -> Found:
        run = self._direct
        if self._completed is None or not isinstance(run.ended, Ended):
            return Found(Finding.SKIPPED, "Not measured, because the training did not complete.")
        self._speed, steady = _tokens_per_second(run, run.ended)
        starting = run.start_seconds or 0.0
        what = "after its start of" if steady else "with its start of"
        message = f"{amounts.count(self._speed)} tokens a second {what} {amounts.duration(starting)}."
        if self._case.assumes_batch:
            batch = amounts.count(self._case.cell.batch_tokens)
            message += (
                f" That is for steps of {batch} tokens, which are assumed: give --batch-tokens as it is."
            )
        if self._plan is not None:
            message += " " + self._priced(self._plan, self._speed, starting if steady else 0.0)
        return Found(Finding.GOOD, message)

    def _priced(self, plan: ExpectedPlan, speed: float, starting: float) -> str:
        cell, model = self._case.cell, self._direct.record.model
        if not self._case.has_params:
            if model is None or model.params is None:
                return (
                    "The sweep's plan is not priced, because N of these values is not known: give --params."
                )
            cell = replace(cell, params=model.params)
        training = plan.flops / (speed * cell.flops_per_token)
        seconds = (training + plan.runs * starting) / plan.workers
        return (
            f"At this speed the sweep's expected {plan.runs} runs ({amounts.flops(plan.flops)}) take "
            f"{amounts.duration(seconds)} on {plan.workers} workers; larger models mostly use a machine better."
        )

    def _resume(self, completed: UndisturbedRun) -> Found:
        return self._with_files(resume(completed), "resume")

    def _with_files(self, found: Found, run: str) -> Found:
        """What a run left, where its checkpoint is missing."""
        if all(Path(path).exists() for path in found.paths):
            return found
        there = files_there(self._folder / run)
        return replace(found, message=f"{found.message} {there}", paths=(*found.paths, there))

    def _fork(self, completed: UndisturbedRun) -> Found:
        """A fork, whose finding says too whether horizons may share a trunk."""
        if self._definition.fork is None:
            return Found(
                Finding.SKIPPED, "fork is not declared: every horizon is trained from its first token."
            )
        try:
            found = self._with_files(fork(completed), "trunk")
        except BadInput as error:
            found = _unprepared(error)
        self._forks = found.finding is not Finding.BAD
        return found


def _unprepared(error: BadInput) -> Found:
    """The refusal of a run: an argument that cannot be made, a config file that cannot be read."""
    return Found(Finding.BAD, f"It cannot be started: {error.detail}", paths=(error.detail,))


def _private(case: CheckCase, folder: Path) -> tuple[str, ...]:
    """What may be in the reason of a run's end and is for operators alone."""
    registration, losses = case.registration, case.registration.definition.losses
    sources = (losses.training, losses.validation, losses.position)
    of_sources = [
        value
        for source in sources
        if source is not None and not isinstance(source, OutputSource)
        for name, value in source.to_order().items()
        if name in {"jsonl", "csv", "tensorboard"}
    ]
    folders = (
        folder,
        registration.folder,
        registration.file,
        registration.file.parent,
        registration.interpreter,
    )
    return (*map(str, of_sources), *map(str, folders))


def _tokens_per_second(run: CheckRun, ended: Ended) -> tuple[float, bool]:
    """Tokens a second, and whether the program's start is left out.

    The keeper holds each loss but the first back until the next one, so the first and the last say nothing of time.
    """
    for steady in (run.seen[1:-1], [*run.seen[:1], (run.ended_at, run.record.tokens)]):
        if len(steady) > 1 and (seconds := steady[-1][0] - steady[0][0]) > LEAST_SECONDS:
            return (steady[-1][1] - steady[0][1]) / seconds, True
    return run.record.tokens / max(ended.seconds, 1e-3), False


def _counted(number: int, kind: str) -> str:
    return f"{number} {kind} loss was" if number == 1 else f"{number} {kind} losses were"


def _source_in_words(source: LossSource | None) -> str:
    if source is None:
        return "its reports"
    if isinstance(source, OutputSource):
        return f"lines like '{source.output or source.pattern}'"
    return ", ".join(f"{name} {value}" for name, value in source.to_order().items())


def _as_vocabulary(loss: float) -> str:
    """The number of equally likely tokens that a loss in nats stands for."""
    return f" (a uniform guess among {amounts.count(math.exp(loss))} tokens)" if 0 < loss < 50 else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
