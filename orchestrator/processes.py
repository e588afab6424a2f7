"""Child processes: started, restarted after growing pauses, ended by their ids. Also a probe of a port."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

from threadpoolctl import threadpool_limits

log = logging.getLogger(__name__)

YOUNG_SECONDS: Final = 30.0
"""A child that lives longer than this has worked: its death does not count."""

FIRST_REST_SECONDS: Final = 0.5
LONGEST_REST_SECONDS: Final = 30.0
"""Pause after a child has ended; it doubles with each one in a row that did no work, up to the longest."""

NOT_NOW: Final = 75
"""Exit code of a child that could not reach what it needs (``os.EX_TEMPFAIL``). An outage does not count as a death."""

MOST_ROUNDS: Final = 3
"""Looks for a killed process's family: a member may start another one until the signal reaches it."""

PR_SET_PDEATHSIG: Final = 1
TAIL_BYTES: Final = 16_384


def service_folder() -> Path:
    """The folder of ``api``, ``workers``, ``trainer`` and ``migrations``: of the wheel or of the checkout."""
    root = Path(__file__).parents[1]
    of_wheel = root / "etalon" / "_service"
    return of_wheel if of_wheel.is_dir() else root


def find_service() -> None:
    """Put the service's folder first on this process's path."""
    sys.path.insert(0, str(service_folder()))


def one_algebra_thread() -> None:
    """Limit the linear algebra libraries that are loaded to one thread, for the rest of this process.

    The law's matrices are small: with two threads a fit of 2,000 runs takes thirty times the processor time of one.
    """
    threadpool_limits(limits=1, user_api="blas")


class Child:
    """One command, run again and again: at most one process of it at a time."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        output: Path,
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        ends_with_parent: bool = False,
        facts: Mapping[str, str] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create without starting a process.

        Args:
            name: for messages.
            command: the command line.
            output: log file that the process appends to; its folder exists.
            folder: the process's working folder; by default this one's.
            environment: of the process; by default this one's.
            ends_with_parent: whether the kernel ends the process when its parent is killed (Linux).
            facts: fields of every log record about it.
            clock: seconds that only grow.
        """
        self.name, self.output = name, output
        self._command, self._clock = list(command), clock
        self._folder, self._environment = folder, environment
        self._ends_with_parent, self._facts = ends_with_parent, facts
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._rests_until = 0.0
        self._rests = 0
        self.deaths = 0
        """Processes in a row that died soon after their start."""
        self.last_message: str | None = None
        """Last line of the log when the last process ended, or its message if it is a JSON log record."""

    def start(self) -> None:
        """Start a process in a new session, which Ctrl-C does not reach."""
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=None if self._environment is None else dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent if self._ends_with_parent else None,  # noqa: PLW1509 - no threads yet
            )
        self._started = self._clock()
        log.info("%s started", self.name, extra={**self._facts, "pid": self._process.pid})

    def is_alive(self) -> bool:
        """Whether a process runs. One that has ended since the last look is recorded and logged."""
        if self._process is None:
            return False
        code = self._process.poll()
        if code is not None:
            if code != 0:
                kill_family(self._process.pid)
            self._process = None
            self._record_end(code)
        return code is None

    @property
    def pid(self) -> int | None:
        """Id of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    def is_resting(self) -> bool:
        """Whether the next start should wait, because the last process ended only now."""
        return self._clock() < self._rests_until

    def forgive(self) -> None:
        """Count no death so far: the processes have done some of their work."""
        self.deaths = self._rests = 0

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """Kill the process with everything that it started (``kill_family``); ``is_alive`` records the end."""
        if self._process is not None and self._process.poll() is None:
            log.warning("%s was killed", self.name, extra={**self._facts, "pid": self._process.pid})
            kill_family(self._process.pid)

    def wait(self, seconds: float) -> None:
        """Wait until the process has ended; kill it, with everything that it started, after ``seconds``."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._process = None

    def tail(self, lines: int) -> list[str]:
        """The last lines of the log that are not blank."""
        with self.output.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            found = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        return [line for line in found if line][-lines:]

    def _record_end(self, code: int) -> None:
        now = self._clock()
        young = now - self._started < YOUNG_SECONDS
        if code == 0 or not young:
            self.deaths = self._rests = 0
        self.deaths += young and code not in {0, NOT_NOW}
        self._rests_until = now + min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2 ** min(self._rests, 10))
        self._rests += 1
        self.last_message = next(map(_message, self.tail(1)), None)
        if code == 0:
            log.info("%s ended", self.name, extra=self._facts)
        else:
            found = {"exit_code": code, "deaths": self.deaths, "last_message": self.last_message}
            log.warning("%s died: %s", self.name, self.last_message, extra={**self._facts, **found})


def end_all(children: Iterable[Child], seconds: float) -> None:
    """Ask all to end, wait ``seconds`` for all of them together, and kill those that are left."""
    ending = list(children)
    for child in ending:
        child.terminate()
    deadline = time.monotonic() + seconds
    for child in ending:
        child.wait(deadline - time.monotonic())


def kill_family(pid: int) -> None:
    """Kill a process with everything that it started; what began a session of its own is asked to end.

    Signal 9 ends stopped processes too. All that it started is in its session, even where a parent in between has ended.
    A process that began another session, such as the keeper of a user's program, has things to end in order itself; it is
    continued if it is stopped, and gets SIGTERM.

    Args:
        pid: of a process that began a session, as a ``Child`` does; it may have ended.
    """
    import psutil  # noqa: PLC0415 - light installations have none and start no process

    for _ in range(MOST_ROUNDS):
        parents = {process.pid: process.info["ppid"] for process in psutil.process_iter(["ppid"])}
        members = [member for member in parents if _session_of(member) == pid]
        for other in parents.keys() - members:
            if parents[other] in members:
                _send(other, signal.SIGTERM, signal.SIGCONT)
        for member in members:
            _send(member, signal.SIGKILL)
        if not members:
            return


def _send(pid: int, *numbers: signal.Signals) -> None:
    for number in numbers:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:  # it has ended, or is another user's
        return None


def probe(address: str, seconds: float) -> None:
    """Connect to a port once, and disconnect.

    Args:
        address: ``host:port``, with or without ``ray://``.
        seconds: to wait at most.

    Raises:
        ValueError: the address has no host and port.
        OSError: the port does not accept the connection.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{address!r} has no host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
    except OverflowError as error:
        raise OSError(str(error)) from error


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _message(line: str) -> str:
    """The message of a log record (``orchestrator.logs``) with the last line of its exception; else the line itself."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    message = record.get("message") if isinstance(record, dict) else None
    if not isinstance(message, str):
        return line
    exception = str(record.get("exception", "")).strip().splitlines()
    return f"{message}: {exception[-1]}" if exception else message
