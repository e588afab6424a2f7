"""The run of a check once more: killed and resumed, forked from a trunk, at an absurd rate, asked to stop."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from orchestrator import amounts
from orchestrator.documents.trainers import Finding
from orchestrator.programs.run_values import Start
from workers.programs.check_case import CheckCase
from workers.programs.check_found import Found, distance, reason, relative_difference
from workers.programs.check_runs import CheckRun
from workers.programs.journal import Ended
from workers.programs.run_ends import Completed, RateTooHigh

SAME: Final = 1e-4
"""Relative difference of two losses up to which a fork is as good as its direct run."""

VALLEY: Final = 1e-3
"""Relative difference that the law looks for; two runs of one rate that differ by more cannot stand for each other."""

NEARLY_ALL: Final = 0.95
"""Share of its tokens after which a program that was asked to stop may have ended by itself."""

LONGER: Final = 20
"""Least times the tokens of a run that is asked to stop, so that it does not end before."""

SILENT: Final = 3
"""Times the seconds of the undisturbed run after which a run is asked to stop, whatever it reported."""

SETTLE_SECONDS: Final = 2.0
"""For a checkpoint that has appeared to be whole, where the program reports nothing after it."""


class OpenRun(Protocol):
    """Prepares a further run of the check."""

    def __call__(
        self, name: str, case: CheckCase | None = None, *, learning_rate: float | None = None
    ) -> CheckRun:
        """A run of that name; of the same case and rate by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndisturbedRun:
    """The completed run that the others are compared with.

    Attributes:
        case: what was run.
        loss: its answer.
        first_loss: the first one that it reported; infinite if it reported none but its answer.
        start_seconds: from its start to its first loss.
        seconds: from its start to its end.
        new_run: prepares a further run.
    """

    case: CheckCase
    loss: float
    first_loss: float
    start_seconds: float
    seconds: float
    new_run: OpenRun

    @property
    def half_seconds(self) -> float:
        """From its start to the middle between its first loss and its end."""
        return (self.start_seconds + self.seconds) / 2

    @property
    def training_seconds(self) -> float:
        """From its first loss to its end."""
        return max(0.0, self.seconds - self.start_seconds)


def resume(direct: UndisturbedRun) -> Found:
    """Kill the run half-way once it has a checkpoint, resume it, and compare its loss."""
    declared = direct.case.registration.definition.resume
    if declared is None:
        return Found(
            Finding.SKIPPED, "resume is not declared: a run that is interrupted starts from its first token."
        )
    with direct.new_run("resume") as run:
        path = run.placed(declared.when)
        run.start()
        if not run.wait(_half_way_with_checkpoint(run, path, direct.half_seconds)):
            return _no_checkpoint(run, path)
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
    if not isinstance(end, Completed):
        return Found(Finding.BAD, f"{what}: {reason(end)}.", run.last_lines)
    if first is not None and run.first_tokens is not None and run.first_tokens <= first < killed_at:
        return Found(
            Finding.WARNING,
            f"{what}, it began again at its first token, although {path} was there.",
            paths=(str(path),),
        )
    far = relative_difference(end.loss, direct.loss)
    return Found(
        Finding.WARNING if far > VALLEY else Finding.GOOD,
        f"{what}, it ends with a loss of {amounts.loss(end.loss)}, {distance(far)} the undisturbed run.",
    )


def _half_way_with_checkpoint(run: CheckRun, path: Path, half_seconds: float) -> Callable[[], bool]:
    """Whether a run is half-way and has a checkpoint that is whole: it went on after it, or some time has passed."""
    half = run.case.cell.tokens / 2
    appeared: list[tuple[float, int]] = []

    def is_so() -> bool:
        if not appeared and path.exists():
            appeared.append((time.monotonic(), run.record.tokens))
        if not appeared or not (run.record.tokens >= half or run.seconds >= half_seconds):
            return False
        at, tokens = appeared[0]
        return run.record.tokens > tokens or time.monotonic() - at >= SETTLE_SECONDS

    return is_so


def _no_checkpoint(run: CheckRun, path: Path) -> Found:
    if path.exists():
        return Found(
            Finding.WARNING,
            f"{path} was not there before the program was about to end, so nothing could be resumed. Let it save more "
            "often, or give more --tokens.",
            paths=(str(path),),
        )
    return Found(
        Finding.BAD,
        f"No checkpoint was found at {path} (resume.when) in {run.case.steps.total} steps. Let it save more often, "
        "correct the path, or give more --tokens.",
        run.last_lines,
        (str(path),),
    )


def fork(direct: UndisturbedRun) -> Found:
    """Train a trunk to the fork, fork the run from it, and compare its loss."""
    case, step = direct.case, direct.case.steps.fork
    longer = case.with_horizon(2)
    with direct.new_run("trunk", longer) as trunk:
        path = trunk.fork_path(step)
        trunk.start(Start(fork_steps=(step, longer.steps.fork)))
        trunk.wait(lambda: trunk.has_saved(path, step))
        trunk.kill()
    if not trunk.has_saved(path, step):
        why = f"there is no {path} (fork.checkpoint)"
        if path.exists():
            why = (
                f"the program reported others with etalon.saved, and not {path}, or it did not go on after it"
            )
        message = f"The trunk left no whole checkpoint of step {step}: {why}."
        return Found(Finding.BAD, message, trunk.last_lines, (str(path),))
    tokens = step * int(case.cell.batch_tokens)
    with direct.new_run("fork") as run:
        start = Start(tokens=tokens, checkpoint=str(path), trunk_folder=trunk.trunk_folder)
        run.start(start).wait()
    end = run.judged(trunk.record.training.first)
    if not isinstance(end, Completed):
        return Found(Finding.BAD, f"The fork from step {step}: {reason(end)}.", run.last_lines)
    if run.first_tokens is not None and run.first_tokens < tokens:
        return Found(
            Finding.BAD,
            f"The fork from step {step} reported a loss at {amounts.count(run.first_tokens)} tokens: it began before its "
            "checkpoint. Look at fork.arguments.",
        )
    return _compared_fork(end.loss, direct.loss, step)


def _compared_fork(loss: float, direct: float, step: int) -> Found:
    far = relative_difference(loss, direct)
    message = (
        f"The fork from step {step} ends with a loss of {amounts.loss(loss)}, {distance(far)} the direct run."
    )
    if far <= SAME:
        return Found(Finding.GOOD, message)
    if far <= VALLEY:
        return Found(
            Finding.WARNING, f"{message} That is more than rounding, and less than the valley of 0.1 %."
        )
    return Found(
        Finding.BAD,
        f"{message} Forks are off for this program until a check finds them equal: the checkpoint must hold the optimizer, "
        "the step, the place in the data and the random numbers, and the schedule must follow from the arguments alone.",
    )


def high_rate(direct: UndisturbedRun) -> Found:
    """Run at an absurd rate; it should be called diverged."""
    rate = direct.case.high_rate
    with direct.new_run("high-rate", learning_rate=rate) as run:
        run.start().wait()
    end = run.judged()
    at = f"At a rate of {amounts.number(rate)}"
    if isinstance(end, RateTooHigh):
        return Found(Finding.GOOD, f"{at} it is called diverged: {end.reason}.")
    if isinstance(end, Completed):
        return _survived(at, end.loss, direct)
    return Found(
        Finding.WARNING,
        f"{at} it is not called diverged, but failed: {reason(end)}. Declare what it prints, or its exit code, under "
        "diverged: a failed run says nothing of its rate, and three of them end a sweep.",
        run.last_lines,
    )


def _survived(at: str, loss: float, direct: UndisturbedRun) -> Found:
    if loss == direct.loss:
        return Found(
            Finding.BAD,
            f"{at} it ends with the same loss as at {amounts.number(direct.case.learning_rate)}, {amounts.loss(loss)}: the "
            "rate does not reach the program. Look at {learning_rate} in its arguments and files.",
        )
    if loss >= direct.first_loss:
        return Found(
            Finding.WARNING,
            f"{at} it counts as completed with a loss of {amounts.loss(loss)}, above the {amounts.loss(direct.first_loss)} "
            "that it begins with: its first report is that of a broken model. Let it report its first step, so that a dead "
            "network is not taken for a result.",
        )
    return Found(
        Finding.WARNING,
        f"{at} it is not called diverged: it ends with a loss of {amounts.loss(loss)}. If nothing in it bounds its updates, "
        "the rate may not reach the optimizer.",
    )


def stop(direct: UndisturbedRun) -> Found:
    """Ask a long run to stop half-way; nothing of it may be left in time."""
    half, limit = direct.case.cell.tokens / 2, direct.case.registration.definition.limits.stop
    factor = max(LONGER, math.ceil(2 * limit / max(direct.training_seconds, 0.1)))
    case = direct.case.with_horizon(factor)
    with direct.new_run("stop", case) as run:
        run.start()
        if not run.wait(lambda: run.record.tokens >= half or run.seconds >= SILENT * direct.seconds):
            return Found(
                Finding.WARNING,
                f"It ended before it was asked to stop: {reason(run.judged())}.",
                run.last_lines,
            )
        seconds = run.stop()
        left = run.survivors()
    ended, end = run.ended, run.judged()
    if isinstance(end, Completed) or run.record.tokens >= NEARLY_ALL * case.cell.tokens:
        return Found(
            Finding.WARNING,
            f"It completed its run {amounts.duration(seconds)} after it was asked to stop, so nothing is known. Give more "
            "--tokens.",
        )
    if left or not isinstance(ended, Ended):
        return Found(Finding.BAD, f"{left} of its processes were left after it was stopped.", run.last_lines)
    return _stopped(ended, seconds, limit)


def _stopped(ended: Ended, seconds: float, limit: float) -> Found:
    outlived = f" {ended.left} of its processes outlived it and were ended." if ended.left else ""
    took = f"Asked to stop, it was gone after {amounts.duration(max(seconds, 0.1))} of {amounts.duration(limit)} (limits.stop)"
    if ended.signal == signal.SIGKILL:
        return Found(
            Finding.WARNING,
            f"{took}, by SIGKILL: it heeds neither the stop file nor SIGTERM, so a pause loses what it trained since its last "
            f"checkpoint.{outlived}",
        )
    how = "by SIGTERM" if ended.signal is not None or seconds >= limit / 2 else "by its stop file"
    return Found(
        Finding.WARNING if ended.left else Finding.GOOD, f"{took}, {how}; no process of it is left.{outlived}"
    )
