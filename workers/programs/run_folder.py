"""The keeper's files in a run's folder: journal, output and heartbeat; and what to do when they cannot be written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from workers.programs.journal import JOURNAL, Ended, Entry, JournalWriter, Noticed
from workers.programs.order import KeeperOrder
from workers.programs.output import Line, OutputFiles

HEARTBEAT: Final = "heartbeat"
HEARTBEAT_SECONDS: Final = 1.0

RESERVE: Final = "reserve"
"""A file whose room is given back to a full disk, so that the last entries can be written."""

RESERVE_BYTES: Final = 64 * 1024
LAST_WORDS_SECONDS: Final = 20.0
"""How long to try to write the last entry on a full disk."""

RETRY_SECONDS: Final = 0.25


class KeeperFault(Exception):
    """The keeper cannot do its work; the message says why."""


class RunFolder:
    """Writes a keeper's files. A disk that is full is noticed once, and what could not be told is told later.

    Attributes:
        journal: of the run.
    """

    def __init__(self, order: KeeperOrder, on_full: Callable[[], None]) -> None:
        """Open the files.

        Args:
            order: of the attempt; its folder exists.
            on_full: is called once, when the folder cannot be written or holds too much.

        Raises:
            OSError: the folder cannot be written.
        """
        self._folder, self._on_full = order.folder, on_full
        self._heartbeat = order.folder / HEARTBEAT
        self._heartbeat.touch(0o600)
        self._beat_at = time.monotonic() + HEARTBEAT_SECONDS
        self.journal = JournalWriter(order.folder / JOURNAL)
        self._output = OutputFiles(order.folder, log_bytes=order.log_bytes, secrets=order.secrets)
        self.mask = self._output.mask
        self._is_full = False

    def reserve(self) -> None:
        """Keep some room for the last entries.

        Raises:
            OSError: there is none.
        """
        (self._folder / RESERVE).write_bytes(bytes(RESERVE_BYTES))

    def tell(self, entry: Entry) -> None:
        """Append an entry to the journal."""
        self.guard(lambda: self.journal.append(entry))

    def write(self, lines: Sequence[Line]) -> None:
        """Append lines to the output."""
        self.guard(lambda: self._output.write(lines))

    def guard(self, write: Callable[[], object]) -> None:
        """Write something else in the run's folder."""
        try:
            write()
        except OSError as error:
            self.tell_full(f"The run's folder cannot be written: {error.strerror}.")

    def tell_full(self, text: str) -> None:
        """Notice, once, that there is no room."""
        if not self._is_full:
            self._is_full = True
            self._on_full()
            self.tell(Noticed(text=text))

    def beat(self) -> None:
        """Touch the heartbeat when it is due.

        Raises:
            KeeperFault: the run's folder is gone.
        """
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + HEARTBEAT_SECONDS
            self._check()
            self.guard(self._heartbeat.touch)

    def say_last(self, ended: Ended) -> None:
        """Write the last entry, trying for a while on a full disk.

        Raises:
            KeeperFault: the run's folder is gone or stays full.
        """
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        entries: tuple[Entry, ...] = (ended,)
        while True:
            self._check()
            try:
                self.journal.append(*entries)
                break
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise KeeperFault(f"The run's folder cannot be written: {error.strerror}.") from None
            entries = ()  # they are waiting
            self._give_back()
            time.sleep(RETRY_SECONDS)
            self.beat()
        self._give_back()

    def _give_back(self) -> None:
        with suppress(OSError):
            (self._folder / RESERVE).unlink(missing_ok=True)

    def _check(self) -> None:
        if not self.journal.is_there():
            raise KeeperFault(
                f"The journal of the run, {self.journal.path}, is gone: something removed it while the program ran. "
                "The program must not remove the run's folder or the files that Etalon keeps there."
            )
