"""What a keeper is to do for one run: the program, what to read its losses from, and its limits."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

MARKER: Final = "ETALON_RUN"
"""Environment variable that every process of a run has, with a value of that run's own."""

LossSource = Mapping[str, Any]
"""Where losses are read from: one of

* ``{"output": REGEX}``: lines of the program's output. Named groups: ``value``, and ``step``, ``tokens`` or ``samples``;
  with ``samples`` also the key ``tokens_per_sample``,
* ``{"jsonl": PATH, "loss": FIELD, "step" | "tokens": FIELD}``,
* ``{"csv": PATH, "loss": COLUMN, "step" | "tokens": COLUMN}``,
* ``{"tensorboard": FOLDER, "tag": NAME}``.

Relative paths begin at the program's working folder.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperOrder:
    """One attempt at one run.

    Attributes:
        run_id: of the run.
        attempt: number of the attempt, from 1.
        argv: the program and its arguments; no shell reads them.
        cwd: the program's working folder.
        environment: the program's complete environment, ``ETALON_RUN`` included; nothing is added.
        folder: the run's folder, which exists. The keeper writes journal, output and heartbeat there.
        marker: value of ``ETALON_RUN`` in every process of the run, and in no other process.
        report: the file that the program appends reports to; it need not exist.
        stop_file: its existence asks the program to save and to end.
        tokens: tokens to be reached, at least 1.
        batch_tokens: tokens of one step.
        start_tokens: tokens trained before this attempt.
        training: source of training losses, if any.
        validation: source of validation losses, if any.
        position: source of positions alone, for losses that stand on lines without one.
        diverged: regular expressions; an output line that matches one says that the run diverged.
        start_seconds: longest time until the first line of output, report or loss file.
        silence_seconds: longest time between two such lines.
        run_seconds: longest time of the attempt.
        stop_seconds: from the stop file to SIGKILL; SIGTERM is sent after half of it.
        io_seconds: longest time in which the run's folder cannot be written.
        log_bytes: most bytes of output kept.
        disk_bytes: most bytes of the run's folder; None for no limit.
        stop_command: is run together with SIGTERM, if given.
        secrets: texts that are masked in the output.
        claim: word of the worker that has the run in hand (``claim.py``); None if no other can take it up.
        curve_points: about the most training losses, and validation losses, that are written.
    """

    run_id: str
    attempt: int
    argv: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str]
    folder: Path
    marker: str
    report: Path
    stop_file: Path
    tokens: int
    batch_tokens: int
    start_tokens: int = 0
    training: LossSource | None = None
    validation: LossSource | None = None
    position: LossSource | None = None
    diverged: tuple[str, ...] = ()
    start_seconds: float
    silence_seconds: float
    run_seconds: float
    stop_seconds: float
    io_seconds: float = 20.0
    log_bytes: int
    disk_bytes: int | None = None
    stop_command: tuple[str, ...] | None = None
    secrets: tuple[str, ...] = ()
    claim: str | None = None
    curve_points: int = 2000

    def __post_init__(self) -> None:
        """Refuse what no keeper could carry out.

        Raises:
            ValueError: the marker, the command, a path, a number or a regular expression cannot be used.
        """
        if not self.argv:
            raise ValueError("argv is empty: it must name the program")
        if not self.marker or self.environment.get(MARKER) != self.marker:
            raise ValueError(
                f"environment must hold {MARKER}={self.marker!r}, by which the run's processes are found"
            )
        if min(self.tokens, self.batch_tokens, self.curve_points) < 1:
            raise ValueError("tokens, batch_tokens and curve_points must be at least 1")
        for name in ("cwd", "folder", "report", "stop_file"):
            if not getattr(self, name).is_absolute():
                raise ValueError(f"{name} must be an absolute path, and {getattr(self, name)} is none")
        for pattern in (*self.diverged, *self._output_patterns()):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None

    def write(self, path: Path) -> None:
        """Write it as JSON to a new file that only its owner may read (0600); an older one is replaced."""
        with suppress(FileNotFoundError):
            path.unlink()
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({field.name: getattr(self, field.name) for field in fields(self)}, file, default=_plain)

    @classmethod
    def read(cls, path: Path) -> KeeperOrder:
        """Read what ``write`` wrote.

        Raises:
            ValueError: it is no order.
        """
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"{path} is no order of a keeper")
        for name in ("cwd", "folder", "report", "stop_file"):
            values[name] = Path(values[name])
        for name in ("argv", "diverged", "stop_command", "secrets"):
            values[name] = None if values[name] is None else tuple(values[name])
        return cls(**values)

    def _output_patterns(self) -> list[str]:
        sources = (self.training, self.validation, self.position)
        return [source["output"] for source in sources if source is not None and "output" in source]


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)
