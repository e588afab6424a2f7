"""Divides a text into pieces of bounded size, and into a train and a held-out split.

The cuts depend on the text alone, so a preparation that was interrupted continues with the same pieces.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.errors import BadInput, Conflict
from workers.preparation.files import TextFile, TextSource

PIECE_BYTES: Final = 1 << 16
"""Size of a piece, which is encoded at once; 16 KiB to 64 KiB were fastest."""

HELDOUT_SHARE: Final = 16
"""One part in 16 is held out, as in every corpus."""

BY_NAME: Final = "files whose name's SHA-256 begins with a byte divisible by 16"
BY_TAIL: Final = "the last sixteenth of the text, in the order of the files' names"

_LOOK_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A file, or the part of it from ``start`` to ``end`` in bytes."""

    file: TextFile
    start: int
    end: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSplit:
    """The text to train on, the text held out, and the rule that divided them, as a sentence."""

    rule: str
    train: tuple[Span, ...]
    heldout: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Piece ``number`` of a span, from 0."""

    span: Span
    number: int
    heldout: bool

    @property
    def last(self) -> bool:
        """Whether it is the last of its span."""
        return self.span.start + (self.number + 1) * PIECE_BYTES >= self.span.end


class NotText(BadInput):
    """A file that is not UTF-8: its name, and the approximate byte."""

    def __init__(self, name: str, byte: int) -> None:
        super().__init__(f"{name} is not UTF-8 text (near byte {byte}). Save it as UTF-8 or leave it out.")
        self.name = name
        self.byte = byte


def split_text(source: TextSource) -> TextSplit:
    """Holds out files by a hash of their names if that is about a sixteenth of the text, else the end of the text.

    By name, a file keeps its side when others are added. The end is for a single file, and few or very unequal ones.

    Raises:
        BadInput: the text is too short to divide.
    """
    sides: tuple[list[Span], list[Span]] = ([], [])
    for file in source.files:
        digest = hashlib.sha256(os.fsencode(file.name)).digest()
        sides[digest[0] % HELDOUT_SHARE == 0].append(Span(file=file, start=0, end=file.size))
    share = sum(span.end for span in sides[1]) / source.size
    if 0.5 <= share * HELDOUT_SHARE <= 2:
        return TextSplit(rule=BY_NAME, train=tuple(sides[0]), heldout=tuple(sides[1]))
    return _tail(source)


def pieces(split: TextSplit) -> Iterator[Piece]:
    """All pieces in their order in the token file, the train split first; reads no text."""
    for heldout, spans in ((False, split.train), (True, split.heldout)):
        for span in spans:
            for number in range(-(-span.size // PIECE_BYTES)):
                yield Piece(span=span, number=number, heldout=heldout)


def read_piece(root: Path, piece: Piece) -> bytes:
    """The bytes of a piece, which ends after a line near a multiple of ``PIECE_BYTES``, or within a long line.

    Raises:
        Conflict: the file has changed since it was listed.
        OSError: it cannot be read.
    """
    span = piece.span
    with (root / span.file.name).open("rb", buffering=0) as file:
        stat = os.fstat(file.fileno())
        if (stat.st_size, stat.st_mtime_ns) != (span.file.size, span.file.modified_ns):
            raise Conflict(
                f"{span.file.name} was written to while the corpus was being prepared. Wait until the text is "
                "complete, then prepare it with --again."
            )
        start = _cut(file, span.start + piece.number * PIECE_BYTES, span)
        end = _cut(file, span.start + (piece.number + 1) * PIECE_BYTES, span)
        return os.pread(file.fileno(), end - start, start)


def text_of(root: Path, piece: Piece) -> str:
    """The text of a piece.

    Raises:
        NotText: it is not UTF-8.
        Conflict, OSError: as ``read_piece``.
    """
    data = read_piece(root, piece)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        byte = piece.span.start + piece.number * PIECE_BYTES + error.start
        raise NotText(piece.span.file.name, byte) from error


def check_text(root: Path, pieces: Iterable[Piece]) -> Iterator[int]:
    """Reads all pieces once and yields the size of each in bytes.

    Raises:
        BadInput: files that are not UTF-8 text, once all are read.
        Conflict, OSError: as ``read_piece``.
    """
    bad: dict[str, int] = {}
    for piece in pieces:
        try:
            yield len(text_of(root, piece).encode())
        except NotText as error:
            bad.setdefault(error.name, error.byte)
    if bad:
        first = ", ".join(f"{name} (near byte {byte})" for name, byte in list(bad.items())[:3])
        raise BadInput(
            f"{len(bad)} of the files {'is' if len(bad) == 1 else 'are'} not UTF-8 text: {first}"
            f"{', …' if len(bad) > 3 else ''}. Save them as UTF-8 or leave them out."
        )


def _tail(source: TextSource) -> TextSplit:
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
    return TextSplit(rule=BY_TAIL, train=train, heldout=heldout)


def _cut(file: BinaryIO, position: int, span: Span) -> int:
    """The cut near a position: after its line, or between two characters of a long line."""
    if position <= span.start or position >= span.end:
        return max(span.start, min(position, span.end))
    look = os.pread(file.fileno(), _LOOK_BYTES, position - 1)
    newline = look.find(b"\n")
    if newline >= 0:
        return min(position + newline, span.end)
    character = next((index for index in range(1, len(look)) if look[index] & 0xC0 != 0x80), len(look))
    return min(position - 1 + character, span.end)
