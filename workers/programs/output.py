"""A program's output: cut into lines, cleaned, and kept in files of bounded size."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from workers.programs.own_files import open_to_append, open_to_read

HEAD: Final = "output.log"
HEAD_BYTES: Final = 1 << 20
"""The first bytes of the output are kept for good."""

LINE_BYTES: Final = 8192
"""A longer line loses its end."""

MASK: Final = "•••"
REFRESH_SECONDS: Final = 1.0
"""Least time between two refreshes of a progress bar that are kept; all of them are matched."""

_SEPARATOR: Final = re.compile(rb"\r\n|\n|\r")
_ANSI: Final = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[PX^_][^\x1b\n]*(?:\x1b\\)?|[ -/]*[0-~])"
)
_CONTROLS: Final = bytes(code for code in (*range(32), 127) if code not in b"\t\n\r")
_TAIL_NAME: Final = "output.{:012d}.log"
"""Named by the bytes of output before it."""

_TAIL: Final = re.compile(r"output\.\d+\.log")


class Line(NamedTuple):
    """A line of output.

    Attributes:
        text: without colours and control characters.
        refresh: whether a carriage return ended it, as in a progress bar.
        cut: whether it lost its end.
    """

    text: str
    refresh: bool = False
    cut: bool = False


class LineSplitter:
    """Cuts a stream of bytes into lines, wherever its chunks begin and end."""

    def __init__(self) -> None:
        self._pending = b""
        self._cut = False  # the pending line has lost its end already

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that a chunk completes."""
        data = self._pending + chunk
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1  # a last \r may be half of \r\n
        self._pending = data[end:]
        lines = self._lines(data[:end]) if end else []
        if len(self._pending) > LINE_BYTES + 1:
            last = b"\r" if self._pending.endswith(b"\r") else b""
            self._pending, self._cut = self._pending[:LINE_BYTES] + last, True
        return lines

    def finish(self) -> list[Line]:
        """The unfinished last line, if there is one."""
        data, self._pending = self._pending, b""
        return self._lines(data if data.endswith(b"\r") else data + b"\n") if data else []

    def _lines(self, data: bytes) -> list[Line]:
        refreshes = b"\r" in data
        pieces = _SEPARATOR.split(data) if refreshes else data.split(b"\n")
        ends = _SEPARATOR.findall(data) if refreshes else []
        pieces.pop()  # data ends with a separator
        first_is_cut, self._cut = self._cut, False
        long = [place for place, piece in enumerate(pieces) if len(piece) > LINE_BYTES]
        for place in long:
            pieces[place] = pieces[place][:LINE_BYTES]
        texts = clean(b"\n".join(pieces)).split("\n")
        cut = {*long, *([0] if first_is_cut else [])}
        if not refreshes and not cut:
            return list(map(Line, texts))
        return [
            Line(text, bool(ends) and ends[place] == b"\r", place in cut) for place, text in enumerate(texts)
        ]


def clean(data: bytes) -> str:
    """Text without colours and control characters; undecodable bytes are replaced."""
    if b"\x1b" in data:
        data = _ANSI.sub(b"", data)
    return data.translate(None, _CONTROLS).decode(errors="replace")


class SecretMask:
    """Replaces secrets in a text; of a secret of several lines, each line."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Hide these texts, also as JSON spells them; a part of one line that is shorter than 4 characters stays."""
        whole = {secret for secret in secrets if secret and "\n" not in secret}
        parts = {
            part for secret in secrets if "\n" in secret for part in secret.splitlines() if len(part) >= 4
        }
        plain = whole | parts
        self._secrets = sorted(plain | {json.dumps(one)[1:-1] for one in plain}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text with every secret replaced."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def of_cut(self, text: str) -> str:
        """The same for a line that has lost its end, and perhaps with it half of a secret."""
        text = self(text)
        for secret in self._secrets:
            for length in range(len(secret) - 1, 0, -1):
                if text.endswith(secret[:length]):
                    text = text[:-length] + MASK
                    break
        return text


class OutputFiles:
    """Keeps the first ``HEAD_BYTES`` of the output in ``output.log`` and the last ones in two files that alternate."""

    def __init__(
        self,
        folder: Path,
        *,
        log_bytes: int,
        secrets: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Continue the output of earlier attempts.

        Args:
            folder: the run's; it exists.
            log_bytes: most bytes of all files together.
            secrets: texts to be masked.
            clock: seconds that only grow.

        Raises:
            OSError: the files cannot be opened.
        """
        self._folder, self._clock = folder, clock
        self.mask = SecretMask(secrets)
        self._head_bytes = max(1, min(HEAD_BYTES, log_bytes // 2))
        self._tail_bytes = max(1, (log_bytes - self._head_bytes) // 2)
        self._numbers = [number for number, _ in _tails(folder)]
        self._open(_path(folder, self._numbers[-1]) if self._numbers else folder / HEAD)
        self._refreshed_at = -REFRESH_SECONDS

    def write(self, lines: Sequence[Line]) -> None:
        """Append lines.

        Raises:
            OSError: not all could be written; the others are lost.
        """
        if shown := [line for line in lines if not line.refresh or self._is_due()]:
            if any(line.cut for line in shown):
                text = "\n".join(
                    self.mask.of_cut(one.text) + "…" if one.cut else self.mask(one.text) for one in shown
                )
            else:
                text = self.mask("\n".join([line.text for line in shown]))
            self._append(text.encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _is_due(self) -> bool:
        due = self._clock() - self._refreshed_at >= REFRESH_SECONDS
        if due:
            self._refreshed_at = self._clock()
        return due

    def _append(self, data: bytes) -> None:
        while data:
            limit = self._tail_bytes if self._numbers else self._head_bytes
            room = limit - self._size
            if len(data) > room:
                end = data.rfind(b"\n", 0, max(0, room)) + 1
                self._write(data[:end])
                data = data[end:]
                if end or self._size:
                    self._next_file()
                    continue
                end = data.find(b"\n") + 1  # one line that is longer than the file may be
            else:
                end = len(data)
            self._write(data[:end])
            data = data[end:]

    def _write(self, data: bytes) -> None:
        while data:
            written = os.write(self._descriptor, data)
            self._size += written
            data = data[written:]

    def _next_file(self) -> None:
        self.close()
        self._numbers.append((self._numbers[-1] if self._numbers else 0) + self._size)
        while len(self._numbers) > 2:
            with suppress(FileNotFoundError):
                _path(self._folder, self._numbers.pop(0)).unlink()
        self._open(_path(self._folder, self._numbers[-1]))

    def _open(self, path: Path) -> None:
        self._descriptor = open_to_append(path)
        self._size = os.fstat(self._descriptor).st_size


def head(folder: Path, most_bytes: int = HEAD_BYTES) -> str:
    """The first whole lines of a run's output, within that many bytes."""
    try:
        with open_to_read(folder / HEAD) as file:
            data = file.read(most_bytes + 1)
    except OSError:
        return ""
    whole = data if len(data) <= most_bytes else data[: data.rfind(b"\n", 0, most_bytes) + 1]
    return whole.decode(errors="replace")


def tail(folder: Path, most_bytes: int) -> str:
    """The last whole lines of a run's output, within that many bytes; a gap in it is shown as a line."""
    return tail_and_end(folder, most_bytes)[0]


def tail_and_end(folder: Path, most_bytes: int) -> tuple[str, int]:
    """As ``tail``, with the bytes of the whole output up to its end."""
    data, end = b"", 0
    later: int | None = None
    for number, path in [*reversed(_tails(folder)), (0, folder / HEAD)]:
        if len(data) > most_bytes:
            break
        part, size = _last_bytes(path, most_bytes + 1 - len(data))
        gap = b"\xe2\x80\xa6\n" if later is not None and later > number + size else b""
        end = number + size if later is None else end
        data, later = part + gap + data, number
    if len(data) > most_bytes:
        data = data[len(data) - most_bytes - 1 :].partition(b"\n")[2] or data[-most_bytes:]
    return data.decode(errors="replace"), end


def _last_bytes(path: Path, most: int) -> tuple[bytes, int]:
    """The last bytes of a file, and its size."""
    try:
        with open_to_read(path) as file:
            start = file.seek(max(0, os.fstat(file.fileno()).st_size - most))
            data = file.read(most)
            return data, start + len(data)
    except OSError:
        return b"", 0


def is_output(path: Path) -> bool:
    """Whether a file in a run's folder holds a part of its output."""
    return path.name == HEAD or _TAIL.fullmatch(path.name) is not None


def _tails(folder: Path) -> list[tuple[int, Path]]:
    """Bytes of output before each file behind the head, and its path, in order."""
    found = ((path.name.split(".")[1], path) for path in folder.glob("output.*.log"))
    return sorted((int(number), path) for number, path in found if number.isdecimal())


def _path(folder: Path, number: int) -> Path:
    return folder / _TAIL_NAME.format(number)
