"""Reads losses from a program's output lines and from the files that it writes anyhow."""

from __future__ import annotations

import csv
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from workers.programs.event_files import EventFolder
from workers.programs.followed_file import FollowedFile
from workers.programs.order import LossSource
from workers.programs.readings import Reading, decimals_of, read_count, read_loss

ReadingKind = Literal["training", "validation", "position"]


class OutputPattern:
    """A regular expression that is searched in every line of the output."""

    def __init__(self, kind: ReadingKind, source: LossSource, batch_tokens: int) -> None:
        """Compile the pattern of an ``{"output": …}`` source."""
        self.kind = kind
        self.search = re.compile(source["output"]).search
        groups = re.compile(source["output"]).groupindex
        self._value = "value" if "value" in groups and kind != "position" else None
        self._position = next((name for name in ("tokens", "samples", "step") if name in groups), None)
        samples = source["tokens_per_sample"] if self._position == "samples" else 0
        self._factor = {"tokens": 1, "samples": samples, "step": batch_tokens}.get(self._position or "", 0)

    def read(self, found: re.Match[str]) -> Reading | None:
        """The reading of a match; None if what matched is no number."""
        count = read_count(found[self._position]) if self._position else None
        tokens = None if count is None else round(count * self._factor)
        if self._value is None:
            return Reading("position", tokens)
        try:
            text = found[self._value]
            return Reading(self.kind, tokens, float(text), decimals_of(text))
        except (TypeError, ValueError):  # the group took no part, or took something else
            return None


class FileSource(ABC):
    """Losses from a file or folder. What was there at the beginning belongs to earlier attempts."""

    @abstractmethod
    def poll(self) -> list[Reading]:
        """New readings; empty when there are none now."""

    def finish(self) -> list[Reading]:
        """What is left when the program has ended."""
        news = []
        while found := self.poll():
            news += found
        return news


class JsonLines(FileSource):
    """A file of JSON objects; those without the loss's field, or with null there, are left out.

    A field may be a key with dots in it, or lead through objects by dots.
    """

    def __init__(self, kind: ReadingKind, source: LossSource, folder: Path, batch_tokens: int) -> None:
        """Begin at the end of a ``{"jsonl": …}`` source's file."""
        self._kind, self._loss = kind, source["loss"]
        self._position, self._factor = _position(source, batch_tokens)
        self._file = FollowedFile(folder / source["jsonl"], links=True)
        self._file.skip_to_end()

    def poll(self) -> list[Reading]:
        """New readings."""
        while lines := self._file.poll():
            if found := self._readings(lines):
                return found
        return []

    def finish(self) -> list[Reading]:
        """Also the unfinished last line, if it is JSON."""
        return super().finish() + self._readings([self._file.take_unfinished()])

    def _readings(self, lines: Sequence[bytes]) -> list[Reading]:
        found = []
        for line in lines:
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                continue
            value = _field(values, self._loss)
            if value is not None and (loss := read_loss(value)) is not None:
                found.append(Reading(self._kind, _tokens(_field(values, self._position), self._factor), loss))
        return found


class CsvRows(FileSource):
    """A file with a header and rows, in which cells may be empty: rows without a loss are left out."""

    def __init__(self, kind: ReadingKind, source: LossSource, folder: Path, batch_tokens: int) -> None:
        """Begin at the end of a ``{"csv": …}`` source's file."""
        self._kind, self._loss = kind, source["loss"]
        self._position, self._factor = _position(source, batch_tokens)
        self._path = folder / source["csv"]
        self._header = _header(self._path)
        self._file = FollowedFile(self._path, longest=1 << 16, links=True)
        if self._header:
            self._file.skip_to_end()

    def poll(self) -> list[Reading]:
        """New readings; from the first row if the header changed, as when a logger writes its file anew."""
        while True:
            header = _header(self._path)
            if header != self._header:
                self._header, self._file = header, FollowedFile(self._path, longest=1 << 16, links=True)
            rows = self._file.poll()
            found = self._readings(rows)
            if found or not rows:
                return found

    def _readings(self, lines: Sequence[bytes]) -> list[Reading]:
        found = []
        for line in lines:
            row = dict(zip(self._header, _cells(line), strict=False))
            text = row.get(self._loss)
            if text and (loss := read_loss(text)) is not None:
                tokens = _tokens(row.get(self._position), self._factor)
                found.append(Reading(self._kind, tokens, loss, decimals_of(text)))
        return found


class EventScalars(FileSource):
    """Scalars of one tag in a folder of TensorBoard event files."""

    def __init__(self, kind: ReadingKind, source: LossSource, folder: Path, batch_tokens: int) -> None:
        """Begin at the end of the files of a ``{"tensorboard": …}`` source."""
        self._kind, self._factor = kind, batch_tokens
        self._folder = EventFolder(folder / source["tensorboard"], source["tag"])
        self._folder.skip_to_end()

    def poll(self) -> list[Reading]:
        """New readings."""
        return self._readings(self._folder.poll())

    def finish(self) -> list[Reading]:
        """Also those in files that are new."""
        return self._readings(self._folder.poll(find=True)) + super().finish()

    def _readings(self, pairs: Sequence[tuple[int, float]]) -> list[Reading]:
        return [Reading(self._kind, max(0, step) * self._factor, loss) for step, loss in pairs]


FILE_SOURCES: Mapping[str, type[JsonLines | CsvRows | EventScalars]] = {
    "jsonl": JsonLines,
    "csv": CsvRows,
    "tensorboard": EventScalars,
}


def open_source(
    kind: ReadingKind, source: LossSource, folder: Path, batch_tokens: int
) -> OutputPattern | FileSource:
    """Open a source before its program starts.

    Args:
        kind: of what it reads.
        source: as in ``KeeperOrder``.
        folder: the program's working folder.
        batch_tokens: tokens of a step.

    Raises:
        ValueError: it is no source.
    """
    try:
        if "output" in source:
            return OutputPattern(kind, source, batch_tokens)
        for name, opened in FILE_SOURCES.items():
            if name in source:
                return opened(kind, source, folder, batch_tokens)
    except KeyError as error:
        raise ValueError(f"the source of losses {dict(source)} lacks {error}") from None
    keys = ", ".join(("output", *FILE_SOURCES))
    raise ValueError(f"a source of losses has one of the keys {keys}: {dict(source)}")


def _position(source: LossSource, batch_tokens: int) -> tuple[str, int]:
    return (source["tokens"], 1) if "tokens" in source else (source.get("step", ""), batch_tokens)


def _tokens(value: object, factor: int) -> int | None:
    count = read_count(value)
    return None if count is None else round(count * factor)


def _field(values: Any, name: str) -> Any:
    if isinstance(values, dict) and name in values:
        return values[name]
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _header(path: Path) -> list[str]:
    """The names in the first line of a file; empty if it is not whole yet."""
    try:
        with path.open("rb") as file:
            line = file.readline(1 << 16)
    except OSError:
        return []
    return _cells(line) if line.endswith(b"\n") else []


def _cells(line: bytes) -> list[str]:
    """The cells of one line; empty if it is no row."""
    try:
        return next(csv.reader([line.decode("utf-8-sig", errors="replace")]), [])
    except csv.Error:
        return []
