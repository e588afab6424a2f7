"""The program as a child process of its keeper: started, asked to end, its exit code taken."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from workers.programs.order import KeeperOrder

PIPE_BYTES: Final = 1 << 20
"""Room for output that the keeper has not read yet: a program waits when there is none."""

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes that shells use for a program that cannot be started."""

UMASK: Final = 0o022
"""Of programs: what they write outside the run's private folder is for others to read, unlike the service's own files."""


class LaunchedProgram:
    """A program with its standard input closed and its output in one pipe, in a session of its own.

    Attributes:
        pid: of the program.
        output: the end of the pipe to read from.
    """

    def __init__(self, order: KeeperOrder) -> None:
        """Start it.

        Raises:
            OSError: it cannot be started.
        """
        self._order = order
        self.output, end = os.pipe()
        with suppress(OSError):  # the user's share of pipe memory may be used up
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            self._process = self._popen(order.argv, end)
        except (OSError, ValueError):
            os.close(self.output)
            raise
        finally:
            os.close(end)
        self.pid = self._process.pid
        self._stop_command: subprocess.Popen[bytes] | None = None
        self._stop_command_was_run = False

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the program runs."""
        return self._process.returncode

    def reap(self) -> bool:
        """Take the exit codes of all children that have ended, orphans included; returns whether any are left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            for process in (self._process, self._stop_command):
                if process is not None and process.pid == pid:
                    process.returncode = os.waitstatus_to_exitcode(status)

    def terminate(self) -> str | None:
        """Send SIGTERM, waking the program if it is stopped, and run the stop command; returns why that failed."""
        if self.returncode is None:
            for number in (signal.SIGTERM, signal.SIGCONT):
                os.kill(self.pid, number)
        return self.run_stop_command()

    def run_stop_command(self) -> str | None:
        """Start the stop command, once; returns why it cannot be started."""
        if self._order.stop_command is None or self._stop_command_was_run:
            return None
        self._stop_command_was_run = True
        try:
            self._stop_command = self._popen(self._order.stop_command, subprocess.DEVNULL)
        except (OSError, ValueError) as error:
            return f"The stop command cannot be started: {error}"
        return None

    def is_stop_command_running(self) -> bool:
        """Whether the stop command is at work."""
        return self._stop_command is not None and self._stop_command.returncode is None

    def _popen(self, command: Sequence[str], output: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=self._order.cwd,
            env=dict(self._order.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=UMASK,
        )


def start_error(order: KeeperOrder, error: Exception) -> tuple[int, str]:
    """Exit code and sentence for a program that cannot be started."""
    missing = isinstance(error, FileNotFoundError)
    where = f" in {order.cwd}" if order.cwd.is_dir() else f": its folder {order.cwd} does not exist"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = f"The program {order.argv[0]!r} cannot be started{where} ({reason})."
    return (NOT_FOUND if missing else NOT_EXECUTABLE), text
