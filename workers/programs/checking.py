"""Checks a program before money is spent: a short run, and the same run killed, forked, at an absurd rate, stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from orchestrator import amounts
from orchestrator.documents.trainers import CheckDocument, CheckStep, Finding
from orchestrator.errors import BadInput
from orchestrator.programs.loss_sources import LossSource, OutputSource
from orchestrator.programs.run_values import Start
from workers.programs.check_case import CheckCase
from workers.programs.check_runs import CheckRun, MadeRun, OutOfTime, Watcher
from workers.programs.journal import Ended
from workers.programs.kept import KeeperLost
from workers.programs.run_ends import CLOSE_PARAMS, Completed, End, RateTooHigh, coarse, wrong_size

SAME: Final = 1e-4
"""Relative difference of two losses up to which a fork is as good as its direct run."""

VALLEY: Final = 1e-3
"""Relative difference that the law looks for; two runs of one rate that differ by more cannot stand for each other."""

LONGER: Final = 20
"""Times the tokens of a run that is asked to stop, so that it does not end before."""

LEAST_SECONDS: Final = 0.2
"""Shorter times are not measured well."""

SETTLE_SECONDS: Final = 2.0
"""For a checkpoint that has appeared to be whole, where the program reports nothing after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedPlan:
    """What a sweep is expected to spend: FLOPs and runs, on so many workers at once."""

    flops: float
    runs: int
    workers: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a part of a check found, and the program's last lines where they help."""

    finding: Finding
    message: str
    lines: tuple[str, ...] = ()


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
        self._direct = self._new_run("training")
        self._loss: float | None = None
        """Of the undisturbed run."""
        self._forks: bool | None = None
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
            ("high rate", self._high_rate),
            ("stop", self._stop),
        ):
            self._step(name, part if self._loss is not None else _untried)
        model = self._direct.record.model
        return CheckDocument(
            passed=all(step.finding is not Finding.BAD for step in self._steps),
            forks=self._forks,
            tokens_per_second=self._speed,
            params=None if model is None else model.params,
            steps=self._steps,
            checked_at=datetime.now(UTC),
        )

    def _step(self, name: str, part: Callable[[], Found]) -> None:
        self._watcher.begin(name)
        try:
            found = part()
        except BadInput as error:
            found = Found(Finding.BAD, error.detail)
        except OutOfTime:
            found = self._not_in_time(name)
        step = CheckStep(name=name, finding=found.finding, message=found.message)
        self._steps.append(step)
        self._watcher.end(step, found.lines)

    def _not_in_time(self, name: str) -> Found:
        if name != "training":
            return Found(Finding.WARNING, "Not checked: the check's time was over. Give it more --minutes.")
        reached, asked = self._direct.record.tokens, self._case.cell.tokens
        message = (
            f"The check's time was over at {amounts.count(reached)} of {amounts.count(asked)} tokens. Give it more "
            "--minutes, or fewer --tokens."
        )
        return Found(Finding.BAD, message, self._direct.last_lines)

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
        with self._direct as run:
            run.start().wait()
        end, case = run.judged(), self._case
        how = (
            f"{case.steps.total} steps of {amounts.count(case.cell.batch_tokens)} tokens at a rate of "
            f"{amounts.rate(case.learning_rate)}"
        )
        if isinstance(end, Completed):
            self._loss = end.loss
            seconds = run.ended.seconds if isinstance(run.ended, Ended) else None
            return Found(
                Finding.GOOD,
                f"{how}: completed in {amounts.duration(seconds)} with a loss of {amounts.loss(end.loss)}.",
            )
        advice = " Give a lower --learning-rate, or more --tokens." if isinstance(end, RateTooHigh) else ""
        return Found(Finding.BAD, f"{how}: {_reason(end)}.{advice}", run.last_lines)

    def _losses(self) -> Found:
        run, losses = self._direct, self._definition.losses
        first = run.record.training.first if run.record.training.points else run.record.validation.first
        if first is None:
            return Found(Finding.SKIPPED, "No loss was seen.")
        sources = {"training": losses.training, "validation": losses.validation}
        read = " and ".join(
            f"{_counted(run.matched[kind], kind)} read from {_source_in_words(source)}"
            for kind, source in sources.items()
            if run.matched[kind] or source is not None
        )
        said = f"{read}; the first one is {amounts.loss(first)}{_as_vocabulary(first)}."
        few = coarse(run.ended) if isinstance(run.ended, Ended) else None
        silent = [kind for kind, source in sources.items() if source is not None and not run.matched[kind]]
        if silent:
            few = f"No {silent[0]} loss was found. {few or ''}".strip()
        if few is not None:
            return Found(Finding.WARNING, f"{said} {few}", run.last_lines if silent else ())
        decimals = run.ended.decimals if isinstance(run.ended, Ended) else None
        more = f" Losses have {decimals} decimals or more." if decimals is not None else ""
        return Found(Finding.GOOD, said + more)

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
        if self._loss is None or not isinstance(run.ended, Ended):
            return Found(Finding.SKIPPED, "Not measured, because the training did not complete.")
        self._speed, steady = _tokens_per_second(run, run.ended)
        starting = run.start_seconds or 0.0
        what = "after its start of" if steady else "with its start of"
        message = f"{amounts.count(self._speed)} tokens a second {what} {amounts.duration(starting)}."
        if self._plan is not None:
            message += " " + self._priced(self._plan, self._speed, starting if steady else 0.0)
        return Found(Finding.GOOD, message)

    def _priced(self, plan: ExpectedPlan, speed: float, starting: float) -> str:
        training = plan.flops / (speed * self._case.cell.flops_per_token)
        seconds = (training + plan.runs * starting) / plan.workers
        return (
            f"At this speed the sweep's expected {plan.runs} runs ({amounts.flops(plan.flops)}) take "
            f"{amounts.duration(seconds)} on {plan.workers} workers; larger models mostly use a machine better."
        )

    # The same run disturbed.

    def _resume(self) -> Found:
        resume = self._definition.resume
        if resume is None:
            return Found(
                Finding.SKIPPED,
                "resume is not declared: a run that is interrupted starts from its first token.",
            )
        with self._new_run("resume") as run:
            run.start()
            if not run.wait(_half_way_with_checkpoint(run, self._half_seconds)):
                return self._no_checkpoint(run, run.rendered(resume.when))
            first, killed_at = run.first_tokens, run.record.tokens
            run.kill()
            saved = run.record.saved_last
            start = Start(
                tokens=0 if saved is None else saved.tokens,
                checkpoint=None if saved is None else saved.path,
                resumes=True,
                attempt=2,
            )
            run.start(start).wait()
        end = run.judged()
        what = f"Killed at {amounts.count(killed_at)} tokens and resumed"
        if not isinstance(end, Completed) or self._loss is None:
            return Found(Finding.BAD, f"{what}: {_reason(end)}.", run.last_lines)
        if first is not None and run.first_tokens is not None and run.first_tokens <= first < killed_at:
            return Found(
                Finding.WARNING,
                f"{what}, it began again at its first token, although {run.rendered(resume.when)} was there.",
            )
        far = _difference(end.loss, self._loss)
        return Found(
            Finding.WARNING if far > VALLEY else Finding.GOOD,
            f"{what}, it ends with a loss of {amounts.loss(end.loss)}, {_in_words(far)} the undisturbed run.",
        )

    def _no_checkpoint(self, run: CheckRun, path: str) -> Found:
        if run.own_checkpoint():
            return Found(
                Finding.WARNING,
                f"{path} was there only when the program ended, so nothing could be resumed. Give more --tokens, or let it "
                "save more often.",
            )
        return Found(
            Finding.BAD,
            f"No checkpoint was found at {path} (resume.when) in {self._case.steps.total} steps. Let it save more often, "
            "correct the path, or give more --tokens.",
            run.last_lines,
        )

    def _fork(self) -> Found:
        if self._definition.fork is None:
            return Found(
                Finding.SKIPPED, "fork is not declared: every horizon is trained from its first token."
            )
        self._forks = False  # unless it is shown
        try:
            found = self._forked()
        except OutOfTime:
            self._forks = None
            raise
        self._forks = found.finding is not Finding.BAD
        return found

    def _forked(self) -> Found:
        longer, step = self._case.with_horizon(2), self._case.steps.fork
        with self._new_run("trunk", longer) as trunk:
            trunk.start(Start(fork_steps=(step, longer.steps.fork)))
            trunk.wait(lambda: trunk.fork_checkpoint(step) is not None)
            trunk.kill()
        path = trunk.fork_checkpoint(step)
        if path is None:
            looked = trunk.fork_path(step)
            return Found(
                Finding.BAD,
                f"The trunk left no checkpoint of step {step}: {looked} is missing.",
                trunk.last_lines,
            )
        tokens = step * int(self._case.cell.batch_tokens)
        with self._new_run("fork") as run:
            run.start(Start(tokens=tokens, checkpoint=str(path))).wait()
        end = run.judged(trunk.record.training.first)
        if not isinstance(end, Completed) or self._loss is None:
            return Found(Finding.BAD, f"The fork from step {step}: {_reason(end)}.", run.last_lines)
        if run.first_tokens is not None and run.first_tokens < tokens:
            return Found(
                Finding.BAD,
                f"The fork from step {step} reported a loss at {amounts.count(run.first_tokens)} tokens: it began before its "
                "checkpoint. Look at fork.arguments.",
            )
        return _compared_fork(end.loss, self._loss, step)

    def _high_rate(self) -> Found:
        rate = self._case.high_rate
        with self._new_run("high-rate", learning_rate=rate) as run:
            run.start().wait()
        end = run.judged()
        at = f"At a rate of {amounts.number(rate)}"
        if isinstance(end, RateTooHigh):
            return Found(Finding.GOOD, f"{at} it is called diverged: {end.reason}.")
        if not isinstance(end, Completed):
            return Found(
                Finding.WARNING,
                f"{at} it is not called diverged, but failed: {_reason(end)}. Declare what it prints, or its exit code, under "
                "diverged: a failed run says nothing of its rate, and three of them end a sweep.",
                run.last_lines,
            )
        return self._survived(at, end.loss)

    def _survived(self, at: str, loss: float) -> Found:
        if loss == self._loss:
            return Found(
                Finding.BAD,
                f"{at} it ends with the same loss as at {amounts.rate(self._case.learning_rate)}, "
                f"{amounts.loss(loss)}: the rate does not reach the program. Look at {{learning_rate}} in command.",
            )
        record = self._direct.record
        first = record.training.first or record.validation.first
        if first is not None and loss >= first:
            return Found(
                Finding.WARNING,
                f"{at} it counts as completed with a loss of {amounts.loss(loss)}, above the {amounts.loss(first)} of its "
                "beginning: the first loss that it reports is already of a broken model. Let it report its first step, so "
                "that a dead network is not taken for a result.",
            )
        return Found(
            Finding.WARNING,
            f"{at} it is not called diverged: it ends with a loss of {amounts.loss(loss)}. If nothing in it bounds its "
            "updates, look at {learning_rate} in command.",
        )

    def _stop(self) -> Found:
        limit = self._definition.limits.stop
        half = self._case.cell.tokens / 2
        with self._new_run("stop", self._case.with_horizon(LONGER)) as run:
            run.start()
            if not run.wait(lambda: run.record.tokens >= half or run.seconds >= self._half_seconds):
                return Found(
                    Finding.WARNING,
                    f"It ended before it was asked to: {_reason(run.judged())}.",
                    run.last_lines,
                )
            seconds = run.stop()
            left = run.survivors()
        ended = run.ended
        if left or not isinstance(ended, Ended):
            return Found(
                Finding.BAD, f"{left} of its processes were left after it was stopped.", run.last_lines
            )
        return _stopped(ended, seconds, limit)

    @property
    def _half_seconds(self) -> float:
        ended = self._direct.ended
        return ended.seconds / 2 if isinstance(ended, Ended) else 0.0


def _untried() -> Found:
    return Found(Finding.SKIPPED, "Not tried, because the training did not complete.")


def _half_way_with_checkpoint(run: CheckRun, half_seconds: float) -> Callable[[], bool]:
    """Whether a run is half-way and has a checkpoint that is whole: it went on after it, or some time has passed."""
    half = run.case.cell.tokens / 2
    appeared: list[tuple[float, int]] = []

    def is_so() -> bool:
        if not appeared and run.own_checkpoint():
            appeared.append((time.monotonic(), run.record.tokens))
        if not appeared or not (run.record.tokens >= half or run.seconds >= half_seconds):
            return False
        at, tokens = appeared[0]
        return run.record.tokens > tokens or time.monotonic() - at >= SETTLE_SECONDS

    return is_so


def _compared_fork(loss: float, direct: float, step: int) -> Found:
    far = _difference(loss, direct)
    message = f"The fork from step {step} ends with a loss of {amounts.loss(loss)}, {_in_words(far)} the direct run."
    if far <= SAME:
        return Found(Finding.GOOD, message)
    if far <= VALLEY:
        return Found(
            Finding.WARNING, f"{message} That is more than rounding, and less than the valley of 0.1 %."
        )
    return Found(
        Finding.BAD,
        f"{message} Forks are off for this program until a check finds them equal: the checkpoint must hold optimizer, step, "
        "place in the data and random numbers, and the schedule must follow from the arguments alone.",
    )


def _stopped(ended: Ended, seconds: float, limit: float) -> Found:
    took = f"Asked to stop, it was gone after {amounts.duration(seconds)} of {amounts.duration(limit)} (limits.stop)"
    outlived = f" {ended.left} of its processes outlived it and were ended." if ended.left else ""
    finding = Finding.WARNING if ended.left else Finding.GOOD
    if ended.signal == 9:
        return Found(
            Finding.WARNING,
            f"{took}, by SIGKILL: it heeds neither the stop file nor SIGTERM, so a pause loses what it trained since its last "
            f"checkpoint.{outlived}",
        )
    how = "by SIGTERM" if ended.signal is not None or seconds >= limit / 2 else "by its stop file"
    return Found(finding, f"{took}, {how}; no process of it is left.{outlived}")


def _tokens_per_second(run: CheckRun, ended: Ended) -> tuple[float, bool]:
    """Tokens a second, and whether the program's start is left out.

    The keeper holds each loss but the first back until the next one, so the first and the last say nothing of time.
    """
    for steady in (run.seen[1:-1], [*run.seen[:1], (run.ended_at, run.record.tokens)]):
        if len(steady) > 1 and (seconds := steady[-1][0] - steady[0][0]) > LEAST_SECONDS:
            return (steady[-1][1] - steady[0][1]) / seconds, True
    return run.record.tokens / max(ended.seconds, 1e-3), False


def _reason(end: End | KeeperLost) -> str:
    """Why a run is not completed, as a clause."""
    return "it completed" if isinstance(end, Completed) else end.reason.rstrip(".")


def _counted(number: int, kind: str) -> str:
    return f"{number} {kind} loss was" if number == 1 else f"{number} {kind} losses were"


def _source_in_words(source: LossSource | None) -> str:
    if source is None:
        return "its reports"
    if isinstance(source, OutputSource):
        return f"lines like {source.output or source.pattern!r}"
    return ", ".join(f"{name} {value}" for name, value in source.to_order().items())


def _as_vocabulary(loss: float) -> str:
    """The number of equally likely tokens that a loss in nats stands for."""
    return f" (a uniform guess among {amounts.count(math.exp(loss))} tokens)" if 0 < loss < 50 else ""


def _difference(loss: float, other: float) -> float:
    return abs(loss / other - 1.0) if other else abs(loss)


def _in_words(difference: float) -> str:
    if not difference:
        return "exactly that of"
    return f"{amounts.percent(difference)} from that of"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
