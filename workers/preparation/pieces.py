"""A text cut into pieces of bounded size, and into what is trained on and what is held out.

Where the cuts lie depends on the text alone, so that a preparation that was interrupted goes on at the same ones.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.errors import BadInput, Conflict
from workers.preparation.files import Source, SourceFile

PIECE_BYTES: Final = 1 << 16
"""Text that is encoded at once; measured fastest between 16 KiB and 64 KiB."""

HELDOUT_SHARE: Final = 16
"""One part in 16 is held out, as of every corpus."""

BY_NAME: Final = "files whose name's SHA-256 begins with a byte divisible by 16"
BY_TAIL: Final = "the last sixteenth of the text, in the order of the files' names"

_LOOK_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A file, or the part of it from ``start`` to ``end`` in bytes."""

    file: SourceFile
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What is trained on, what is held out, and the rule in words."""

    rule: str
    train: tuple[Span, ...]
    heldout: tuple[Span, ...]

    @property
    def spans(self) -> tuple[Span, ...]:
        """The whole text in the order in which it is stored: first everything that is trained on."""
        return (*self.train, *self.heldout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of a piece: which of a span's, counted from 0."""

    span: Span
    number: int
    heldout: bool

    @property
    def last(self) -> bool:
        """Whether the span ends with this piece."""
        return self.span.start + (self.number + 1) * PIECE_BYTES >= self.span.end


class NotText(BadInput):
    """A file is not UTF-8: its name, and about where."""

    def __init__(self, name: str, byte: int) -> None:
        super().__init__(f"{name} is not UTF-8 text (near byte {byte}). Save it as UTF-8 or leave it out.")
        self.name = name
        self.byte = byte


def split(source: Source) -> Split:
    """Divide a text: by a hash of each file's name where that holds out about a sixteenth, else its tail.

    By name a file keeps its side whatever is added; the tail serves a single file and few or very unequal ones.

    Raises:
        BadInput: too little text to hold some out.
    """
    sides: tuple[list[Span], list[Span]] = ([], [])
    for file in source.files:
        digest = hashlib.sha256(os.fsencode(file.name)).digest()
        sides[digest[0] % HELDOUT_SHARE == 0].append(Span(file=file, start=0, end=file.size))
    share = sum(span.end for span in sides[1]) / source.size
    if 0.5 <= share * HELDOUT_SHARE <= 2:
        return Split(rule=BY_NAME, train=tuple(sides[0]), heldout=tuple(sides[1]))
    return _tail(source)


def places(split: Split) -> Iterator[Place]:
    """Every piece in the order in which it is stored; nothing is read."""
    for heldout, spans in ((False, split.train), (True, split.heldout)):
        for span in spans:
            for number in range(-(-(span.end - span.start) // PIECE_BYTES)):
                yield Place(span=span, number=number, heldout=heldout)


def read_piece(root: Path, place: Place) -> bytes:
    """The bytes of a piece: it ends after a line near a multiple of its size, or within a long one.

    Raises:
        Conflict: the file is no longer the one that was listed.
        OSError: it cannot be read.
    """
    span = place.span
    with (root / span.file.name).open("rb", buffering=0) as file:
        stat = os.fstat(file.fileno())
        if (stat.st_size, stat.st_mtime_ns) != (span.file.size, span.file.modified_ns):
            raise Conflict(
                f"{span.file.name} was written to while the corpus was being prepared. Wait until the text is "
                "complete, then prepare it with --again."
            )
        start = _cut(file, span.start + place.number * PIECE_BYTES, span)
        end = _cut(file, span.start + (place.number + 1) * PIECE_BYTES, span)
        return os.pread(file.fileno(), end - start, start)


def text_of(root: Path, place: Place) -> str:
    """The text of a piece.

    Raises:
        NotText: it is not UTF-8.
        Conflict, OSError: as ``read_piece``.
    """
    data = read_piece(root, place)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        byte = place.span.start + place.number * PIECE_BYTES + error.start
        raise NotText(place.span.file.name, byte) from error


def check_text(root: Path, pieces: Iterable[Place]) -> Iterator[int]:
    """Read everything once; the bytes of each piece, as it has been read.

    Raises:
        BadInput: which files are not UTF-8 text.
        Conflict, OSError: as ``read_piece``.
    """
    bad: dict[str, int] = {}
    for place in pieces:
        try:
            yield len(text_of(root, place).encode())
        except NotText as error:
            bad.setdefault(error.name, error.byte)
    if bad:
        first = ", ".join(f"{name} (near byte {byte})" for name, byte in list(bad.items())[:3])
        raise BadInput(
            f"{len(bad)} of the files {'is' if len(bad) == 1 else 'are'} not UTF-8 text: {first}"
            f"{', …' if len(bad) > 3 else ''}. Save them as UTF-8 or leave them out."
        )


def _tail(source: Source) -> Split:
    left = source.size - -(-source.size // HELDOUT_SHARE)
    sides: tuple[list[Span], list[Span]] = ([], [])
    for file in source.files:
        whole = Span(file=file, start=0, end=file.size)
        position = min(max(left, 0), file.size)
        if 0 < position < file.size:
            with (source.root / file.name).open("rb", buffering=0) as opened:
                position = _cut(opened, position, whole)
        sides[0].append(Span(file=file, start=0, end=position))
        sides[1].append(Span(file=file, start=position, end=file.size))
        left -= file.size
    train, heldout = (tuple(span for span in side if span.end > span.start) for side in sides)
    if not (train and heldout):
        raise BadInput(
            f"{source.size} bytes of text in {len(source.files)} file(s) are too few to hold some out."
        )
    return Split(rule=BY_TAIL, train=train, heldout=heldout)


def _cut(file: BinaryIO, position: int, span: Span) -> int:
    """Where to cut near a position: after the line that it lies in, or between two letters of a long line."""
    if position <= span.start or position >= span.end:
        return max(span.start, min(position, span.end))
    look = os.pread(file.fileno(), _LOOK_BYTES, position - 1)
    newline = look.find(b"\n")
    if newline >= 0:
        return min(position + newline, span.end)
    letter = next((index for index in range(1, len(look)) if look[index] & 0xC0 != 0x80), len(look))
    return min(position - 1 + letter, span.end)
