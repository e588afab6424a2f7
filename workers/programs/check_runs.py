"""Runs of a program within its check: started with a keeper, watched, and ended at a chosen moment."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, Self

from orchestrator.documents.trainers import CheckStep
from orchestrator.errors import BadInput
from orchestrator.programs.placeholders import Value
from orchestrator.programs.run_values import RunPlace, Start, path_of
from workers.programs.check_case import CheckCase
from workers.programs.check_found import TRUNK
from workers.programs.descendants import end_marked, find_marked
from workers.programs.journal import Ended, Entry, Measured
from workers.programs.kept import KeeperLost, KeptProgram
from workers.programs.order import KeeperOrder
from workers.programs.orders import SECRET, fork_checkpoint, make_order
from workers.programs.output import MASK, SecretMask, tail
from workers.programs.run_ends import End, end_of
from workers.programs.run_record import RunRecord

POLL_SECONDS: Final = 0.02
KILL_SECONDS: Final = 15.0
"""For a keeper to end its program at once."""

SHOWN_BYTES, SHOWN_LINES = 65_536, 20
"""Of the output, where something is bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeRun:
    """How a program is started, for people: secrets are masked.

    Attributes:
        argv: the program and its arguments.
        folder: where it runs.
        environment: all of its variables.
        files: texts of the config files made for it, by path.
    """

    argv: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    files: Mapping[str, str]


class Watcher(Protocol):
    """Shows a check while it runs."""

    def begin(self, name: str) -> None:
        """A step begins."""

    def advance(self, tokens: int, of: int) -> None:
        """The program of the step has trained so many tokens."""

    def show(self, made: MadeRun) -> None:
        """The program is started like this."""

    def end(self, step: CheckStep, lines: tuple[str, ...]) -> None:
        """A step has ended; ``lines`` are the program's last ones, where they help."""


class OutOfTime(Exception):
    """The time of the whole check is over; no process of the program is left."""


class CheckRun(AbstractContextManager["CheckRun"]):
    """One run, in one or more attempts. Leaving its context ends every process of it.

    Attributes:
        case: what is run.
        record: what is known of it, over all attempts.
        matched: losses by kind.
        ended: the end of the last attempt; None while it runs.
        ended_at: when that was, in monotonic seconds.
        seen: moments (monotonic seconds) and positions (tokens) of the training losses of the last attempt.
        first_tokens: position of the first loss of the last attempt; None before it.
    """

    def __init__(
        self,
        case: CheckCase,
        folder: Path,
        *,
        deadline: float,
        watcher: Watcher,
        learning_rate: float | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            case: what to run.
            folder: of the run, made when it is started.
            deadline: of the whole check, in monotonic seconds.
            watcher: shows how far the program is.
            learning_rate: instead of the case's.
        """
        self.case, self._folder = case, folder
        self._rate = case.learning_rate if learning_rate is None else learning_rate
        self._deadline, self._watcher = deadline, watcher
        self._place = RunPlace(run_id=f"check-{folder.name}", folder=folder, trunk_folder=folder / TRUNK)
        self.record, self.matched = RunRecord(), Counter[str]()
        self.ended: Ended | KeeperLost | None = None
        self.seen: list[tuple[float, int]] = []
        self.first_tokens: int | None = None
        self._kept: KeptProgram | None = None
        self._marker = ""
        self._began = self.ended_at = 0.0

    def made(self) -> MadeRun:
        """Make the run's folder and files, and show how the program would be started.

        Raises:
            BadInput: an argument or config file cannot be made, or there are too few GPUs.
        """
        order = self._order()
        mask = SecretMask(order.secrets)
        paths = [self.placed(file.to) for file in self.case.registration.definition.files]
        return MadeRun(
            argv=tuple(map(mask, order.argv)),
            folder=order.cwd,
            environment={
                name: MASK if SECRET.search(name) else mask(value)
                for name, value in sorted(order.environment.items())
            },
            files={str(path): mask(path.read_text()) for path in paths},
        )

    def _order(self, start: Start | None = None) -> KeeperOrder:
        case, start = self.case, start or Start()
        order = make_order(
            case.registration,
            self._values(start),
            case.cell,
            self._place,
            start=start,
            resources=case.resources,
            seconds_left=case.registration.definition.limits.run,
        )
        visible = visible_gpus(case.resources.gpus_per_run, os.environ.get("CUDA_VISIBLE_DEVICES"))
        return replace(order, environment={**order.environment, "CUDA_VISIBLE_DEVICES": visible})

    def start(self, start: Start | None = None) -> Self:
        """Start the next attempt.

        Raises:
            BadInput: as ``made``.
            OutOfTime: the check has no time left.
        """
        if time.monotonic() >= self._deadline:
            raise OutOfTime
        order = self._order(start)
        self._marker, self.ended, self.seen, self.first_tokens = order.marker, None, [], None
        self._began = time.monotonic()
        self._kept = KeptProgram.start(order)
        return self

    def wait(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait until something is so; returns whether it was before the program ended.

        Raises:
            OutOfTime: the time of the check is over.
        """
        while self._kept is not None:
            for entry in self._kept.poll():
                self._take(entry)
            if self._kept.ended is not None:
                self.ended, self._kept, self.ended_at = self._kept.ended, None, time.monotonic()
                return False
            if until():
                return True
            if time.monotonic() >= self._deadline:
                self.kill()
                raise OutOfTime
            self._watcher.advance(self.record.tokens, int(self.case.cell.tokens))
            self._kept.wait(POLL_SECONDS)
        return False

    def kill(self) -> None:
        """SIGKILL every process of the program, as when a machine is lost, and wait for the keeper."""
        end_marked(self._marker)
        self._finish()

    def stop(self) -> float:
        """Ask the program to end, as a pause does; returns the seconds until it had."""
        asked = time.monotonic()
        if self._kept is not None:
            self._kept.ask_to_stop()
        self.wait()
        return time.monotonic() - asked

    def survivors(self) -> int:
        """Processes of the run that are left."""
        return len(find_marked(self._marker))

    def judged(self, first_loss: float | None = None) -> End:
        """How the last attempt ended; ``first_loss`` is that of a trunk it went on from."""
        if self.ended is None:
            raise RuntimeError("the program still runs")
        definition = self.case.registration.definition
        return end_of(self.record, self.ended, self.case.cell, definition, first_loss=first_loss)

    @property
    def seconds(self) -> float:
        """Since the start of the last attempt."""
        return time.monotonic() - self._began

    @property
    def start_seconds(self) -> float | None:
        """From the start of the last attempt to its first training loss; None before it."""
        return self.seen[0][0] - self._began if self.seen else None

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines of the output."""
        return tuple(tail(self._folder, SHOWN_BYTES).rstrip().splitlines()[-SHOWN_LINES:])

    @property
    def trunk_folder(self) -> str:
        """Where the run saves checkpoints of a trunk."""
        return str(self._place.trunk_folder)

    def fork_path(self, step: int) -> Path:
        """Where the checkpoint for a fork at a step is expected."""
        return fork_checkpoint(self.case.registration, self._values(Start()), step)

    def has_saved(self, path: Path, step: int) -> bool:
        """Whether a checkpoint of a step is there, and whole."""
        tokens = step * int(self.case.cell.batch_tokens)
        return path.exists() and self.record.has_whole(path, tokens, folder=self.case.registration.folder)

    def placed(self, text: str) -> Path:
        """A path of the registration with the run's values."""
        return path_of(self.case.registration, text, self._values(Start()))

    def _values(self, start: Start) -> dict[str, Value]:
        return self.case.values(self._place, start, self._rate)

    def _take(self, entry: Entry) -> None:
        self.record.add(entry)
        if isinstance(entry, Measured):
            self.matched[entry.kind] += entry.count
            if self.first_tokens is None:
                self.first_tokens = entry.tokens
            if entry.kind == "training":
                self.seen.append((time.monotonic(), entry.tokens))

    def _finish(self) -> None:
        """Wait for a keeper whose program was killed; kill once more what no signal to the program reaches."""
        kept, self._kept = self._kept, None
        if kept is None:
            return
        if kept.wait(2.0) is None:
            kept.kill()
            kept.wait(KILL_SECONDS)
        for entry in kept.poll():
            self._take(entry)
        self.ended = kept.ended

    def __exit__(self, *_: object) -> None:
        if self._kept is not None:
            self._kept.kill()
            self._finish()


def visible_gpus(gpus: float, inherited: str | None) -> str:
    """``CUDA_VISIBLE_DEVICES`` of a run outside Ray: the first ``gpus`` of those that are visible here.

    Raises:
        BadInput: fewer are.
    """
    wanted = math.ceil(gpus)
    if not wanted:
        return ""
    if inherited is None:
        return ",".join(map(str, range(wanted)))
    visible = [name for name in inherited.split(",") if name]
    if len(visible) < wanted:
        raise BadInput(
            f"--gpus {wanted}: CUDA_VISIBLE_DEVICES shows {len(visible)} here ({inherited or 'none'}); unset it, or ask for fewer."
        )
    return ",".join(visible[:wanted])
