"""The keeper's files in a run's folder: journal, output and heartbeat; and what to do when they cannot be written."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from workers.programs.journal import JOURNAL, Cause, Diverged, Ended, Entry, JournalWriter, Noticed
from workers.programs.order import KeeperOrder
from workers.programs.output import Line, OutputFiles
from workers.programs.own_files import touch, write_new

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
    """Writes a keeper's files. An error of the disk is noticed once, and what could not be told is told later.

    Attributes:
        journal: of the run.
        errno: of the error for which the folder was given up, if it was.
    """

    def __init__(self, order: KeeperOrder, on_end: Callable[[Cause], None]) -> None:
        """Open the files.

        Args:
            order: of the attempt; its folder exists.
            on_end: is called, once each, when the folder holds too much and when it cannot be written for
                ``order.io_seconds``.

        Raises:
            OSError: the folder cannot be written.
        """
        self._folder, self._on_end = order.folder, on_end
        self._io_seconds = order.io_seconds
        self._failing_since: dict[str, float] = {}
        self.errno: int | None = None
        self._heartbeat = order.folder / HEARTBEAT
        touch(self._heartbeat)
        self._beat_at = time.monotonic() + HEARTBEAT_SECONDS
        self.journal = JournalWriter(order.folder / JOURNAL)
        self._output = OutputFiles(order.folder, log_bytes=order.log_bytes, secrets=order.secrets)
        self.mask = self._output.mask
        self._noticed: set[Cause] = set()

    def reserve(self) -> None:
        """Keep some room for the last entries.

        Raises:
            OSError: there is none.
        """
        write_new(self._folder / RESERVE, "\0" * RESERVE_BYTES)

    def tell(self, *entries: Entry) -> None:
        """Append entries to the journal, after those that could not be written before. Their words are masked."""
        masked = [self._masked(entry) for entry in entries]
        self.guard("journal", lambda: self.journal.append(*masked))

    def write(self, lines: Sequence[Line]) -> None:
        """Append lines to the output."""
        self.guard("output", lambda: self._output.write(lines))

    def guard(self, name: str, write: Callable[[], object]) -> None:
        """Write something in the run's folder; errors that last, by the name of what is written, end the program."""
        try:
            write()
        except OSError as error:
            now = time.monotonic()
            since = self._failing_since.setdefault(name, now)
            self._notice("io", f"The run's folder cannot be written: {error.strerror}.")
            if now - since >= self._io_seconds and self.errno is None:
                self.errno = error.errno or errno.EIO
                self._on_end("io")
        else:
            self._failing_since.pop(name, None)

    def tell_full(self, text: str) -> None:
        """Notice, once, that the folder holds too much, and end the program."""
        self._on_end("disk")
        self._notice("disk", text)

    def _masked(self, entry: Entry) -> Entry:
        match entry:
            case Noticed():
                return replace(entry, text=self.mask(entry.text))
            case Diverged():
                return replace(entry, reason=self.mask(entry.reason))
        return entry

    def _notice(self, cause: Cause, text: str) -> None:
        if cause not in self._noticed:
            self._noticed.add(cause)
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
            self.guard("heartbeat", lambda: touch(self._heartbeat))
            if self._failing_since:
                self.tell()

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
