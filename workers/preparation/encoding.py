"""Text to token ids in one file, part after part, so that it can go on where it stopped; and what was written, measured."""

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
from workers.preparation.pieces import Place, Split, places, text_of
from workers.preparation.progress import Progress, Stage, Tell

TOKEN_TYPES: Final[Mapping[str, np.dtype[Any]]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
JOURNAL_FILE: Final = "written.json"

BATCH_BYTES: Final = 1 << 21
"""Text whose encodings are in memory at once: the library needs about a hundred bytes for a token."""

PART_BYTES: Final = 1 << 22
"""Text between two entries of the journal: what a kill can cost."""

_READ_BYTES: Final = 1 << 23


class Written(BaseModel):
    """The journal: what surely is in the token file. Whatever lies behind it is cut off.

    Attributes:
        pieces: how many, in the order of ``places``.
        train_tokens, heldout_tokens: their ids.
        train_bytes, heldout_bytes: their text.
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

    def and_then(self, place: Place, tokens: int, size: int) -> Written:
        """With one piece more, of so many ids and bytes."""
        side = "heldout" if place.heldout else "train"
        return self.model_copy(
            update={
                "pieces": self.pieces + 1,
                f"{side}_tokens": getattr(self, f"{side}_tokens") + tokens,
                f"{side}_bytes": getattr(self, f"{side}_bytes") + size,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a token file holds: its hash, and the entropy of the train split's frequencies in nats per token."""

    sha256: str
    unigram_entropy: float


def encode(root: Path, split: Split, tokenizer: Tokenizer, folder: Path, dtype: str, tell: Tell) -> Written:
    """Write every piece's ids to the token file of a folder, from where the journal stops.

    Raises:
        NotText, Conflict, OSError: as ``text_of``; what is written stays.
    """
    total = sum(span.end - span.start for span in split.spans)
    written = _journal(folder, TOKEN_TYPES[dtype].itemsize)
    with (folder / TOKENS_FILE).open("r+b" if written.pieces else "wb") as file:
        file.truncate(written.tokens * TOKEN_TYPES[dtype].itemsize)
        file.seek(0, os.SEEK_END)
        tell(Progress(stage=Stage.ENCODING, done=written.bytes, total=total, tokens=written.tokens))
        kept = written
        for batch in _batches(root, islice(places(split), written.pieces, None)):
            written = _write(file, batch, tokenizer, TOKEN_TYPES[dtype], written)
            if written.bytes - kept.bytes >= PART_BYTES:
                _keep(file, written, folder)
                kept = written
            tell(Progress(stage=Stage.ENCODING, done=written.bytes, total=total, tokens=written.tokens))
        _keep(file, written, folder)
    return written


def measure(path: Path, dtype: str, vocab_size: int, train_tokens: int, tell: Tell) -> Measurement:
    """Read a token file once: its hash, and how even the ids of its train split are."""
    digest, counts = hashlib.sha256(), np.zeros(vocab_size, dtype=np.int64)
    left, total, done = train_tokens, path.stat().st_size, 0
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
            ids = np.frombuffer(data, dtype=TOKEN_TYPES[dtype])[: max(left, 0)]
            counts += np.bincount(ids, minlength=vocab_size)
            left, done = left - len(ids), done + len(data)
            tell(Progress(stage=Stage.MEASURING, done=done, total=total))
    frequencies = counts[counts > 0] / train_tokens
    entropy = float(-(frequencies * np.log(frequencies)).sum())
    return Measurement(sha256=digest.hexdigest(), unigram_entropy=entropy)


def write_whole(path: Path, data: bytes) -> None:
    """A file that appears whole or not at all, and is on the disk when this returns."""
    aside = path.with_name(f"{path.name}.aside")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _batches(root: Path, remaining: Iterable[Place]) -> Iterator[list[tuple[Place, str]]]:
    """Pieces with their text, as many as may be in memory at once."""
    batch: list[tuple[Place, str]] = []
    size = 0
    for place in remaining:
        text = text_of(root, place)
        batch.append((place, text))
        size += len(text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(
    file: BinaryIO,
    batch: Sequence[tuple[Place, str]],
    tokenizer: Tokenizer,
    dtype: np.dtype[Any],
    written: Written,
) -> Written:
    encodings = tokenizer.encode_batch_fast([text for _, text in batch], add_special_tokens=False)
    for (place, text), encoding in zip(batch, encodings, strict=True):
        ids: NDArray[Any] = np.array([*encoding.ids, *([0] if place.last else [])], dtype=dtype)
        file.write(ids.tobytes())
        written = written.and_then(place, len(ids), len(text.encode()))
    return written


def _keep(file: BinaryIO, written: Written, folder: Path) -> None:
    """First the ids, then the entry that vouches for them."""
    file.flush()
    os.fsync(file.fileno())
    write_whole(folder / JOURNAL_FILE, written.model_dump_json().encode())


def _journal(folder: Path, itemsize: int) -> Written:
    """The journal's last entry; from the start where there is none that the token file bears out."""
    try:
        written = Written.model_validate_json((folder / JOURNAL_FILE).read_bytes())
        size = (folder / TOKENS_FILE).stat().st_size
    except (FileNotFoundError, ValidationError):
        return Written()
    return written if size >= written.tokens * itemsize else Written()
