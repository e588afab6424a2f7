"""What a keeper tells: JSON lines appended to a file, which outlives keeper and worker."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from workers.programs.followed_file import FollowedFile
from workers.programs.own_files import open_to_append

JOURNAL: Final = "journal.jsonl"
"""Name of the journal in the run's folder."""

Kind = Literal["training", "validation"]

Cause = Literal["exit", "stop", "start", "silence", "run", "overrun", "disk", "io", "diverged", "abandoned"]
"""Why a program ended: by itself; it was asked to; a limit (start, silence, run, disk); its folder
cannot be written (io); divergence; its worker died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """First entry of an attempt.

    Attributes:
        pid: of the program; None if it was not started: it cannot be, or the run was stopped before.
        keeper: process id of the keeper.
        attempt: as ordered.
        start_tokens: as ordered.
        at: Unix seconds.
    """

    pid: int | None
    keeper: int
    attempt: int
    start_tokens: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A finite loss.

    Attributes:
        kind: training or validation.
        tokens: position of the last loss that it stands for.
        loss: their mean.
        count: how many they are.
    """

    kind: Kind
    tokens: int
    loss: float
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """Parameters of the model as the program reported them; None for a count that it left out."""

    params: float | None = None
    params_total: float | None = None
    params_active: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint that the program says is whole on disk."""

    path: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverged:
    """The run diverged; at most once in an attempt.

    Attributes:
        reason: for people.
        tokens: where it was seen.
    """

    reason: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The program says that the run is complete, and perhaps with which loss."""

    loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """Something that people should know."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Last entry of an attempt: no process of the run is left.

    Attributes:
        code: exit code of the program; None if a signal ended it, or if it was never started. 126 and 127: it could not be started.
        signal: number of the signal that ended it, if one did.
        cause: why it ended.
        seconds: how long it ran.
        decimals: fewest decimals of a loss that was read from text; None where there was none.
        matched: losses seen, before thinning.
        left: descendants that outlived the program and were ended.
        tokens: last position seen; None if there was none.
        interval: tokens between the last two training losses; None if there were not two.
        errno: of the error for which the run's folder could not be written; None if it could.
        at: Unix seconds.
    """

    code: int | None
    signal: int | None
    cause: Cause
    seconds: float
    decimals: int | None
    matched: int
    left: int
    tokens: int | None = None
    interval: int | None = None
    errno: int | None = None
    at: float


Entry = Started | Measured | ModelSize | Saved | Diverged | Done | Noticed | Ended

_KINDS: Final[dict[str, type[Any]]] = {
    kind.__name__: kind for kind in (Started, Measured, ModelSize, Saved, Diverged, Done, Noticed, Ended)
}


def encode(entry: Entry) -> bytes:
    """An entry as one line, with its newline."""
    return json.dumps({"entry": type(entry).__name__, **asdict(entry)}, allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> Entry | None:
    """The entry of a line; None for a line that is none, as a full disk may leave one."""
    try:
        values = json.loads(line)
        kind = _KINDS[values.pop("entry")]
        known = {field.name for field in fields(kind)}
        entry: Entry = kind(**{name: value for name, value in values.items() if name in known})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return entry


class JournalWriter:
    """Appends entries. One that cannot be written stays first in line for the next time."""

    def __init__(self, path: Path) -> None:
        """Open or make the file (0600).

        Raises:
            OSError: it cannot be.
        """
        self.path = path
        self._descriptor = open_to_append(path)
        self._waiting = b""
        self._torn = os.fstat(self._descriptor).st_size > 0
        """Whether the file may end within a line, as a killed keeper may have left it."""

    def append(self, *entries: Entry) -> None:
        """Append entries, after those that are still waiting.

        Raises:
            OSError: they could not be written, or not wholly; they are waiting now.
        """
        self._waiting += b"".join(map(encode, entries))
        while self._waiting:
            if self._torn:
                os.write(self._descriptor, b"\n")
                self._torn = False
            written = os.write(self._descriptor, self._waiting)
            torn = self._waiting[:written].rpartition(b"\n")[2]
            self._waiting = torn + self._waiting[written:]
            self._torn = bool(torn)

    def lock(self) -> bool:
        """Lock the file against other keepers, on other nodes too; whether that is so now."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a file system without locks
        self._torn = os.fstat(self._descriptor).st_size > 0
        return True

    def is_there(self) -> bool:
        """Whether the path still leads to the file."""
        try:
            return os.path.samestat(self.path.lstat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False
        except OSError:
            return True  # a file server that does not answer now

    def fileno(self) -> int:
        """The file's descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def is_locked(path: Path) -> bool:
    """Whether a keeper has locked a journal, on this node or another. False on a file system without locks.

    Raises:
        OSError: it cannot be opened.
    """
    writer = JournalWriter(path)
    try:
        return not writer.lock()
    finally:
        writer.close()


class JournalReader:
    """Entries by offset, while they are written.

    Positions may go back when a program resumes from an earlier checkpoint: of two losses at one position the later
    one counts, and what an earlier attempt measured beyond a ``Started.start_tokens`` is replaced as it is trained
    again.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        """Begin at an offset in bytes, at the beginning of a line."""
        self._file = FollowedFile(path, offset=offset)

    def poll(self) -> list[Entry]:
        """New entries; an unfinished last line waits, and lines that are no entries are left out."""
        return [entry for line in self._file.poll() if (entry := decode(line)) is not None]


def read_journal(path: Path) -> list[Entry]:
    """All entries, of all attempts, in order; see ``JournalReader``. Empty if there is no such file."""
    return list(_entries(JournalReader(path)))


def _entries(reader: JournalReader) -> Iterator[Entry]:
    while found := reader.poll():
        yield from found
