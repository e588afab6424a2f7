"""The worker's side of a keeper: starts it, reads its journal, and notices when it is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Final

from orchestrator.processes import service_folder
from workers.programs.claim import is_claimed_by_another
from workers.programs.descendants import KEEPER_MARKER, end_marked
from workers.programs.journal import JOURNAL, Ended, Entry, JournalReader, Started
from workers.programs.order import KeeperOrder
from workers.programs.run_folder import HEARTBEAT

ORDER: Final = "order.json"
PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV")
"""Environment variables that a keeper needs of its worker's."""

KILL_SECONDS: Final = 10.0
"""A process that waits for a device outlives SIGKILL; nothing waits for it longer than this."""

MESSAGE_BYTES: Final = 2000
TAKEN: Final = "Another worker has taken up the run."
WAIT_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperLost:
    """The keeper ended without its last entry, or hung.

    No process of the run is left on this node, unless another worker has taken up the run.

    Attributes:
        reason: for people.
        ended: processes of the run that it left and that were ended.
    """

    reason: str
    ended: int


class KeptProgram:
    """One attempt in the hands of a keeper. Call ``poll`` often: it also notices a keeper that is lost.

    Attributes:
        ended: how it ended; None while it has not. The keeper is gone then, and its exit code taken.
    """

    def __init__(
        self,
        order: KeeperOrder,
        keeper: subprocess.Popen[bytes],
        reader: JournalReader,
        messages: IO[bytes],
        *,
        heartbeat_seconds: float,
        confirm_seconds: float,
    ) -> None:
        """Take charge of a keeper that has been started; use ``start``."""
        self._order, self._keeper, self._reader, self._messages = order, keeper, reader, messages
        self._heartbeat_seconds, self._confirm_seconds = heartbeat_seconds, confirm_seconds
        self._beat: float | None = None
        self._beaten_at = time.monotonic()
        self._suspected_at: float | None = None
        self._is_ours = False
        self._last: Ended | None = None
        self._waiting: list[Entry] = []
        self.ended: Ended | KeeperLost | None = None

    @classmethod
    def start(
        cls, order: KeeperOrder, *, heartbeat_seconds: float = 30.0, confirm_seconds: float | None = None
    ) -> KeptProgram:
        """Start a keeper for an order.

        Args:
            order: its folder exists.
            heartbeat_seconds: age of a heartbeat that raises suspicion.
            confirm_seconds: least time until a second look finds the same, and the keeper is given up; by default a sixth
                of ``heartbeat_seconds``.

        Raises:
            OSError: the order cannot be written, or the keeper cannot be started.
        """
        path = order.folder / ORDER
        order.write(path)
        journal = order.folder / JOURNAL
        reader = JournalReader(journal, journal.stat().st_size if journal.exists() else 0)
        messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the keeper
        keeper = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.programs.keeper", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            cwd="/",
            env=_environment(order),
            start_new_session=True,
        )
        return cls(
            order,
            keeper,
            reader,
            messages,
            heartbeat_seconds=heartbeat_seconds,
            confirm_seconds=heartbeat_seconds / 6 if confirm_seconds is None else confirm_seconds,
        )

    @property
    def keeper_pid(self) -> int:
        """Process id of the keeper."""
        return self._keeper.pid

    def poll(self) -> list[Entry]:
        """New entries of this attempt, ``Started`` first, in order."""
        self._look()
        entries, self._waiting = self._waiting, []
        return entries

    def wait(self, seconds: float) -> Ended | KeeperLost | None:
        """Wait for the end, at most that long; ``poll`` then yields the entries meanwhile."""
        deadline = time.monotonic() + seconds
        self._look()
        while self.ended is None and (left := deadline - time.monotonic()) > 0:
            with suppress(subprocess.TimeoutExpired):
                self._keeper.wait(min(left, WAIT_SECONDS))
            self._look()
        return self.ended

    def ask_to_stop(self) -> None:
        """Ask the program to save and to end: by its stop file, then SIGTERM, then SIGKILL."""
        self._command(b"stop\n")

    def kill(self) -> None:
        """Have all processes of the run killed at once."""
        self._command(b"kill\n")

    def _command(self, command: bytes) -> None:
        pipe = self._keeper.stdin
        if self.ended is None and pipe is not None:
            with suppress(BrokenPipeError):  # it has ended, and the journal says how
                pipe.write(command)
                pipe.flush()

    def _look(self) -> None:
        if self.ended is not None:
            return
        code = self._keeper.poll()  # before the journal is read: it is whole if the keeper has ended
        if code is None and self._is_hung():
            self._keeper.kill()
            code = -signal.SIGKILL
            with suppress(subprocess.TimeoutExpired):
                code = self._keeper.wait(KILL_SECONDS)
        while found := self._reader.poll():
            self._take(found)
        if code is not None:
            self._close(code)

    def _take(self, entries: Sequence[Entry]) -> None:
        """Take the entries of this keeper: an earlier one may still have written its own."""
        for entry in entries:
            if isinstance(entry, Started):
                self._is_ours = entry.keeper == self._keeper.pid
            if self._is_ours:
                self._waiting.append(entry)
                if isinstance(entry, Ended):
                    self._last = entry

    def _close(self, code: int) -> None:
        """Record the end; without the keeper's word for it, end what may be left."""
        if self._last is not None:
            self.ended = self._last
        elif is_claimed_by_another(self._order.folder, self._order.claim):
            self.ended = KeeperLost(reason=TAKEN, ended=0)  # what runs now may be that one's
        else:
            ended = end_marked(self._order.marker)
            self.ended = KeeperLost(reason=self._reason(code), ended=ended)
        if self._keeper.stdin is not None:
            with suppress(BrokenPipeError):
                self._keeper.stdin.close()
        self._messages.close()

    def _is_hung(self) -> bool:
        """Whether the heartbeat has stood still, in two looks: a worker that was stopped itself must look twice."""
        now = time.monotonic()
        try:
            beat: float | None = (self._order.folder / HEARTBEAT).stat().st_mtime
        except OSError:
            beat = None
        if beat != self._beat:
            self._beat, self._beaten_at, self._suspected_at = beat, now, None
        elif now - self._beaten_at > self._heartbeat_seconds:
            self._suspected_at = self._suspected_at or now
        return self._suspected_at is not None and now - self._suspected_at >= self._confirm_seconds

    def _reason(self, code: int) -> str:
        if self._suspected_at is not None:
            return f"The keeper of the program gave no sign of life for {self._heartbeat_seconds:g} seconds."
        self._messages.seek(max(0, self._messages.seek(0, 2) - MESSAGE_BYTES))
        message = self._messages.read().decode(errors="replace").strip()
        end = f"signal {-code}" if code < 0 else f"exit code {code}"
        return message or f"The keeper of the program ended with {end}."


def _environment(order: KeeperOrder) -> dict[str, str]:
    passed = {name: os.environ[name] for name in PASSED if name in os.environ}
    return {**passed, "PYTHONPATH": str(service_folder()), KEEPER_MARKER: order.marker}
