"""The driver processes that this orchestrator has started: one per sweep, ended by their ids alone."""

from __future__ import annotations

import json
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
"""Pause after a driver; it doubles with each one in a row that did no work, up to the longest."""

NOT_NOW = 75
"""Exit code of a driver that could not reach what it needs (``os.EX_TEMPFAIL``): an outage is nobody's failure."""

LAST_WORDS_BYTES = 4096


def workers_command(sweep_id: str) -> Sequence[str]:
    """The command that drives a sweep; by name, so that the orchestrator imports no Ray."""
    return [sys.executable, "-m", "workers", sweep_id]


@dataclass(slots=True)
class _Past:
    """What is remembered of a sweep's earlier drivers; ``rests`` counts those in a row that did no work."""

    deaths: int = 0
    rests: int = 0
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
        """Whether the next driver should wait a little, because the last one has just ended."""
        return self._clock() < self._past.get(sweep_id, _Past()).rests_until

    def deaths(self, sweep_id: str) -> int:
        """Drivers of this sweep that died early, in a row."""
        return self._past.get(sweep_id, _Past()).deaths

    def said(self, sweep_id: str) -> str | None:
        """What the last line said that the driver which died had logged; of a log record only its message."""
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
        """Remember how a driver ended; one that had worked, or left in order, begins the count anew."""
        del self._children[sweep_id]
        now, code = self._clock(), child.process.returncode
        before = self._past.get(sweep_id, _Past())
        if code == 0 or now - child.started >= YOUNG_SECONDS:
            before = _Past()
        died = code not in {0, NOT_NOW} and now - child.started < YOUNG_SECONDS
        rest = min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2 ** min(before.rests, 10))
        past = _Past(
            deaths=before.deaths + died,
            rests=before.rests + 1,
            rests_until=now + rest,
            said=self._last_words(sweep_id),
        )
        self._past[sweep_id] = past
        told = {"sweep_id": sweep_id, "exit_code": code, "deaths": past.deaths, "said": past.said}
        if code == 0:
            log.info("driver left", extra={"sweep_id": sweep_id})
        else:
            log.warning("driver died", extra=told)

    def _last_words(self, sweep_id: str) -> str | None:
        path = self.log_of(sweep_id)
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LAST_WORDS_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        last = next((line for line in reversed(lines) if line), None)
        return None if last is None else _message(last)


def _message(line: str) -> str:
    """What a line says to people: of a log record in JSON (``orchestrator.logs``) its message, else the line."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    message = record.get("message") if isinstance(record, dict) else None
    if not isinstance(message, str):
        return line
    exception = str(record.get("exception", "")).strip().splitlines()
    return f"{message}: {exception[-1]}" if exception else message
