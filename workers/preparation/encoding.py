"""Encodes a text into one token file, which can be continued after an interruption, and measures that file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from tokenizers import Tokenizer

from orchestrator.corpora import TOKENS_FILE
from workers.preparation.pieces import Piece, TextSplit, pieces, text_of
from workers.preparation.progress import OnProgress, PreparationProgress, PreparationStage

TOKEN_TYPES: Final[Mapping[str, np.dtype[Any]]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
JOURNAL_FILE: Final = "written.json"

BATCH_BYTES: Final = 1 << 21
"""Bytes of text encoded at once; the library needs about a hundred bytes of memory per token."""

PART_BYTES: Final = 1 << 22
"""Bytes of text between two journal entries, which at most are encoded again after a kill."""

_READ_BYTES: Final = 1 << 23


class Journal(BaseModel):
    """Content of the token file that is safely on the disk; anything after it is cut off on continuation.

    Attributes:
        pieces: number of pieces written, in the order of ``workers.preparation.pieces.pieces``.
        train_tokens, heldout_tokens: ids written.
        train_bytes, heldout_bytes: bytes of text encoded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pieces: int = 0
    train_tokens: int = 0
    heldout_tokens: int = 0
    train_bytes: int = 0
    heldout_bytes: int = 0

    @property
    def tokens(self) -> int:
        """All ids."""
        return self.train_tokens + self.heldout_tokens

    @property
    def bytes(self) -> int:
        """All text."""
        return self.train_bytes + self.heldout_bytes

    def and_then(self, piece: Piece, tokens: int, size: int) -> Journal:
        """The journal with one more piece of ``tokens`` ids and ``size`` bytes."""
        side = "heldout" if piece.heldout else "train"
        return self.model_copy(
            update={
                "pieces": self.pieces + 1,
                f"{side}_tokens": getattr(self, f"{side}_tokens") + tokens,
                f"{side}_bytes": getattr(self, f"{side}_bytes") + size,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Hash of a token file, and entropy of its train split's token frequencies in nats per token."""

    sha256: str
    unigram_entropy: float


def encode(
    root: Path, split: TextSplit, tokenizer: Tokenizer, folder: Path, dtype: str, on_progress: OnProgress
) -> Journal:
    """Writes the ids of all pieces to the token file of a folder, from the last journal entry on.

    Raises:
        NotText, Conflict, OSError: as ``text_of``; the pieces written so far are kept.
    """
    total = sum(span.size for span in (*split.train, *split.heldout))

    def report(now: Journal) -> None:
        stage = PreparationStage.ENCODING
        on_progress(PreparationProgress(stage=stage, done=now.bytes, total=total, tokens=now.tokens))

    written = _journal(folder, TOKEN_TYPES[dtype].itemsize)
    with (folder / TOKENS_FILE).open("r+b" if written.pieces else "wb") as file:
        file.truncate(written.tokens * TOKEN_TYPES[dtype].itemsize)
        file.seek(0, os.SEEK_END)
        report(kept := written)
        for batch in _batches(root, islice(pieces(split), written.pieces, None)):
            written = _write(file, batch, tokenizer, TOKEN_TYPES[dtype], written)
            if written.bytes - kept.bytes >= PART_BYTES:
                _keep(file, written, folder)
                kept = written
            report(written)
        _keep(file, written, folder)
    return written


def measure(
    path: Path, dtype: str, vocab_size: int, train_tokens: int, on_progress: OnProgress
) -> Measurement:
    """Reads a token file once."""
    digest, counts = hashlib.sha256(), np.zeros(vocab_size, dtype=np.int64)
    left, total, done = train_tokens, path.stat().st_size, 0
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
            ids = np.frombuffer(data, dtype=TOKEN_TYPES[dtype])[: max(left, 0)]
            counts += np.bincount(ids, minlength=vocab_size)
            left, done = left - len(ids), done + len(data)
            on_progress(PreparationProgress(stage=PreparationStage.MEASURING, done=done, total=total))
    frequencies = counts[counts > 0] / train_tokens
    entropy = float(-(frequencies * np.log(frequencies)).sum())
    return Measurement(sha256=digest.hexdigest(), unigram_entropy=entropy)


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file atomically; it is on the disk when this returns."""
    aside = path.with_name(f"{path.name}.aside")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _batches(root: Path, remaining: Iterable[Piece]) -> Iterator[list[tuple[Piece, str]]]:
    """Pieces with their text, in batches of ``BATCH_BYTES``."""
    batch: list[tuple[Piece, str]] = []
    size = 0
    for piece in remaining:
        text = text_of(root, piece)
        batch.append((piece, text))
        size += len(text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(
    file: BinaryIO,
    batch: Sequence[tuple[Piece, str]],
    tokenizer: Tokenizer,
    dtype: np.dtype[Any],
    written: Journal,
) -> Journal:
    encodings = tokenizer.encode_batch_fast([text for _, text in batch], add_special_tokens=False)
    for (piece, text), encoding in zip(batch, encodings, strict=True):
        ids: NDArray[Any] = np.array([*encoding.ids, *([0] if piece.last else [])], dtype=dtype)
        file.write(ids.tobytes())
        written = written.and_then(piece, len(ids), len(text.encode()))
    return written


def _keep(file: BinaryIO, written: Journal, folder: Path) -> None:
    """Makes ids durable, then the journal entry for them."""
    file.flush()
    os.fsync(file.fileno())
    write_whole(folder / JOURNAL_FILE, written.model_dump_json().encode())


def _journal(folder: Path, itemsize: int) -> Journal:
    """The last journal entry; an empty one if it is missing or the token file is shorter."""
    try:
        written = Journal.model_validate_json((folder / JOURNAL_FILE).read_bytes())
        size = (folder / TOKENS_FILE).stat().st_size
    except (FileNotFoundError, ValidationError):
        return Journal()
    return written if size >= written.tokens * itemsize else Journal()
