"""The driver processes that this orchestrator has started: one per sweep, ended by their ids alone."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

YOUNG_SECONDS = 30.0
"""A driver that lives longer than this has worked: its death does not count against the sweep."""

FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 0.5, 30.0
"""Pause after a driver's first early death; it doubles with each one, up to the longest."""

LAST_WORDS_BYTES = 4096


def workers_command(sweep_id: str) -> Sequence[str]:
    """The command that drives a sweep; by name, so that the orchestrator imports no Ray."""
    return [sys.executable, "-m", "workers", sweep_id]


@dataclass(slots=True)
class _Past:
    """What is remembered of a sweep's earlier drivers."""

    deaths: int = 0
    rests_until: float = 0.0
    said: str | None = None


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    started: float


class Drivers:
    """The drivers started here, by sweep."""

    def __init__(
        self,
        logs: Path,
        *,
        command: Callable[[str], Sequence[str]] = workers_command,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start no driver yet.

        Args:
            logs: folder of the drivers' logs, one file per sweep.
            command: the command line that drives a sweep.
            clock: seconds that only grow.
        """
        self._logs, self._command, self._clock = logs, command, clock
        self._children: dict[str, _Child] = {}
        self._past: dict[str, _Past] = {}

    def start(self, sweep_id: str) -> None:
        """Start a sweep's driver, in a session of its own so that Ctrl-C reaches it only through us."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log_of(sweep_id).open("ab") as output:
            process = subprocess.Popen(
                list(self._command(sweep_id)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[sweep_id] = _Child(process, self._clock())
        log.info("driver started", extra={"sweep_id": sweep_id, "pid": process.pid})

    def alive(self, sweep_id: str) -> bool:
        """Whether a driver started here still lives."""
        child = self._children.get(sweep_id)
        if child is None:
            return False
        if child.process.poll() is None:
            return True
        self._bury(sweep_id, child)
        return False

    def rests(self, sweep_id: str) -> bool:
        """Whether the next driver should wait a little, because the last one died early."""
        return self._clock() < self._past.get(sweep_id, _Past()).rests_until

    def deaths(self, sweep_id: str) -> int:
        """Drivers of this sweep that died early, in a row."""
        return self._past.get(sweep_id, _Past()).deaths

    def said(self, sweep_id: str) -> str | None:
        """The last line that the driver which died had logged."""
        return self._past.get(sweep_id, _Past()).said

    def reap(self, live: set[str]) -> None:
        """Forget the drivers of sweeps that are no longer live, once they have left."""
        for sweep_id, child in list(self._children.items()):
            if sweep_id not in live and child.process.poll() is not None:
                del self._children[sweep_id]
        self._past = {sweep_id: past for sweep_id, past in self._past.items() if sweep_id in live}

    def end_all(self, *, seconds: float) -> None:
        """Ask every driver to leave, wait ``seconds`` for all of them, and kill those that have not left."""
        for child in self._children.values():
            child.process.terminate()
        deadline = self._clock() + seconds
        for sweep_id, child in self._children.items():
            try:
                child.process.wait(max(0.0, deadline - self._clock()))
            except subprocess.TimeoutExpired:
                log.warning("driver killed", extra={"sweep_id": sweep_id, "pid": child.process.pid})
                child.process.kill()
                child.process.wait()
        self._children.clear()

    def log_of(self, sweep_id: str) -> Path:
        """Where a sweep's drivers write."""
        return self._logs / f"driver-{sweep_id}.log"

    def _bury(self, sweep_id: str, child: _Child) -> None:
        del self._children[sweep_id]
        now = self._clock()
        deaths = 1 + (self.deaths(sweep_id) if now - child.started < YOUNG_SECONDS else 0)
        rest = min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2 ** (deaths - 1))
        said = self._last_words(sweep_id)
        self._past[sweep_id] = _Past(deaths=deaths, rests_until=now + rest, said=said)
        log.warning(
            "driver died",
            extra={
                "sweep_id": sweep_id,
                "exit_code": child.process.returncode,
                "deaths": deaths,
                "said": said,
            },
        )

    def _last_words(self, sweep_id: str) -> str | None:
        path = self.log_of(sweep_id)
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LAST_WORDS_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), None)
