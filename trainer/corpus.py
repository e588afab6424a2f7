"""Text as tokens: what a proxy learns from, split once into train and held-out, with a hash of its data."""

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from mmap import MADV_RANDOM, mmap
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from trainer.errors import BadCorpus

Tokens = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]
TokenType = Literal["uint16", "uint32"]

BYTES = 256
MOST_TOKENS = 1 << 24
"""Largest vocabulary: far above any in use, and its counts still fit in memory."""

HELDOUT_SHARE = 16
"""One part in 16 is held out."""

_STDLIB_WITHOUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "encodings", "pydoc_data"}
)
_CHUNK_TOKENS = 1 << 22

_READ_AHEAD_SHARE = 0.25
"""A mapped file up to this share of the machine's memory is read ahead and soon in memory as a whole. Of a larger one
the system would read a megabyte for every window and forget it again: it is told that windows come in no order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of a file of token ids since it was written, so that a load need not read all of it.

    Attributes:
        tokens: Ids in the file, train and held-out.
        sha256: Of the whole file.
        unigram_entropy: Of its train split, as `Corpus` has it.
    """

    tokens: int
    sha256: str
    unigram_entropy: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corpus:
    """Tokens to train on and tokens to measure on.

    Attributes:
        name: What the user calls it.
        vocab_size: Token ids are below this.
        sha256: Of the data, train then held-out; losses compare only within one hash.
        train: Token ids, one dimension.
        heldout: Token ids that training never sees, one dimension.
        unigram_entropy: Entropy of the train split's own token frequencies, in nats per token: what a model
            reaches that knows the frequencies and nothing else.
    """

    name: str
    vocab_size: int
    sha256: str
    train: Tokens = field(repr=False)
    heldout: Tokens = field(repr=False)
    unigram_entropy: float

    def batch(self, seed: int, step: int, sequences: int, context: int) -> NDArray[np.int64]:
        """The training batch of one step: a pure function of its arguments.

        Args:
            seed: The recipe's seed.
            step: Updates made before this one.
            sequences: Windows to draw, each from anywhere in the train split.
            context: Input tokens of a window.

        Returns:
            Token ids [sequences, context + 1]: inputs and, one further, their targets.

        Raises:
            BadCorpus: The train split is shorter than one window.
        """
        self._check(self.train, "train", context)
        starts = np.random.default_rng((seed, step)).integers(0, len(self.train) - context, size=sequences)
        return _windows(self.train, starts, context)

    def heldout_windows(self, count: int, context: int) -> NDArray[np.int64]:
        """The same held-out windows every time, evenly spread: token ids [count, context + 1].

        They overlap where the held-out split is shorter than all of them together.

        Raises:
            BadCorpus: The held-out split is shorter than one window.
        """
        self._check(self.heldout, "held-out", context)
        starts = np.linspace(0, len(self.heldout) - context - 1, count).astype(np.int64)
        return _windows(self.heldout, starts, context)

    def _check(self, tokens: Tokens, split: str, context: int) -> None:
        if len(tokens) <= context:
            raise BadCorpus(
                f"corpus {self.name!r}: the {split} split has {len(tokens)} tokens; "
                f"a context of {context} needs at least {context + 1}"
            )


def load_corpus(
    source: str | Path,
    *,
    token_type: TokenType | None = None,
    vocab_size: int | None = None,
    heldout_tokens: int | None = None,
    measured: Measured | None = None,
    name: str | None = None,
) -> Corpus:
    """Reads a corpus.

    Args:
        source: `stdlib` for the Python standard library's own source, a path to UTF-8 text (both byte by byte),
            or a path to flat little-endian token ids ending in `.bin`, which are mapped.
        token_type: Type of the ids of a `.bin` file.
        vocab_size: Ids of a `.bin` file are below this.
        heldout_tokens: Ids at the end of a `.bin` file that are held out; one part in 16 where None.
        measured: What is known of a `.bin` file. Its hash, its entropy and the range of its ids are then taken
            on trust and only its length is checked: the load reads nothing, and whoever passes it has made sure
            that it is of this file. Where None every id is read once and checked.
        name: What to call it; the source itself where None.

    Raises:
        BadCorpus: Nothing there, not UTF-8, ids out of range, another length than measured, or too little to split.
    """
    label = name or str(source)
    if source == "stdlib":
        return _corpus(label, BYTES, *_stdlib_splits())
    path = Path(source)
    if not path.is_file():
        raise BadCorpus(
            f"corpus {label!r}: no such file: {path}; give `stdlib` or a path to a text or .bin file"
        )
    if path.suffix == ".bin":
        return _load_ids(label, path, token_type, vocab_size, heldout_tokens, measured)
    if heldout_tokens is not None:
        raise BadCorpus(f"corpus {label!r}: heldout_tokens counts ids of a .bin file, and {path} is text")
    return _corpus(label, BYTES, *_tail_split(label, _read_text(label, path)))


def _load_ids(
    name: str,
    path: Path,
    token_type: TokenType | None,
    vocab_size: int | None,
    heldout_tokens: int | None,
    measured: Measured | None,
) -> Corpus:
    if token_type is None or vocab_size is None:
        raise BadCorpus(
            f"corpus {name!r}: a .bin file needs its token_type (uint16 or uint32) and vocab_size"
        )
    if not 2 <= vocab_size <= MOST_TOKENS:
        raise BadCorpus(f"corpus {name!r}: vocab_size is {vocab_size}; allowed: 2 to {MOST_TOKENS}")
    ids = _map_ids(name, path, token_type)
    train, heldout = _tail_split(name, ids, heldout_tokens)
    if measured is None:
        return _corpus(name, vocab_size, train, heldout)
    if len(ids) != measured.tokens:
        raise BadCorpus(
            f"corpus {name!r}: {path} has {len(ids)} tokens, but {measured.tokens} were measured; prepare it again"
        )
    return Corpus(
        name=name,
        vocab_size=vocab_size,
        sha256=measured.sha256,
        train=train,
        heldout=heldout,
        unigram_entropy=measured.unigram_entropy,
    )


def _corpus(name: str, vocab_size: int, train: Tokens, heldout: Tokens) -> Corpus:
    digest = hashlib.sha256()
    counts = np.zeros(vocab_size, dtype=np.int64)
    for tokens in (train, heldout):
        for chunk in _chunks(tokens):
            largest = int(chunk.max())
            if largest >= vocab_size:
                raise BadCorpus(
                    f"corpus {name!r}: token id {largest}; allowed: below its vocab_size of {vocab_size}"
                )
            digest.update(chunk.tobytes())
            if tokens is train:
                counts += np.bincount(chunk, minlength=vocab_size)
    frequencies = counts[counts > 0] / len(train)
    return Corpus(
        name=name,
        vocab_size=vocab_size,
        sha256=digest.hexdigest(),
        train=train,
        heldout=heldout,
        unigram_entropy=float(-(frequencies * np.log(frequencies)).sum()),
    )


def _stdlib_splits() -> tuple[Tokens, Tokens]:
    """Whole files, sorted by name; a hash of the name alone decides the split, whatever else is installed."""
    root = Path(sysconfig.get_paths()["stdlib"])
    splits: tuple[list[bytes], list[bytes]] = ([], [])
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in _sources(root)):
        digest = hashlib.sha256(name.encode()).digest()
        splits[digest[0] % HELDOUT_SHARE == 0].append(path.read_bytes())
    if not all(splits):
        raise BadCorpus(
            f"corpus 'stdlib': too few *.py files under {root}; this Python carries no source of its library"
        )
    train, heldout = (np.frombuffer(b"".join(files), dtype=np.uint8) for files in splits)
    return train, heldout


def _sources(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _STDLIB_WITHOUT]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))


def _read_text(name: str, path: Path) -> Tokens:
    data = path.read_bytes()
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise BadCorpus(
            f"corpus {name!r}: {path} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    return np.frombuffer(data, dtype=np.uint8)


def _map_ids(name: str, path: Path, token_type: TokenType) -> Tokens:
    kinds: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
    kind = kinds.get(token_type)
    if kind is None:
        raise BadCorpus(f"corpus {name!r}: token_type is {token_type!r}; allowed: uint16, uint32")
    size = path.stat().st_size
    if size == 0 or size % kind.itemsize:
        raise BadCorpus(
            f"corpus {name!r}: {path} has {size} bytes; {token_type} ids need a positive multiple of {kind.itemsize}"
        )
    ids: Tokens = np.memmap(path, dtype=kind, mode="r")
    if size > _memory_bytes() * _READ_AHEAD_SHARE:
        cast("mmap", ids.base).madvise(MADV_RANDOM)
    return ids


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _tail_split(name: str, tokens: Tokens, heldout: int | None = None) -> tuple[Tokens, Tokens]:
    """The last part is held out, so that no window of one split reaches into the other."""
    if heldout is None:
        heldout = ceil(len(tokens) / HELDOUT_SHARE)
        if heldout >= len(tokens):
            raise BadCorpus(f"corpus {name!r}: {len(tokens)} tokens are too few to hold some out")
    if not 0 < heldout < len(tokens):
        raise BadCorpus(
            f"corpus {name!r}: heldout_tokens is {heldout}; allowed: 1 to {len(tokens) - 1}, all but one of its tokens"
        )
    return tokens[:-heldout], tokens[-heldout:]


def _chunks(tokens: Tokens) -> Iterator[Tokens]:
    return (tokens[start : start + _CHUNK_TOKENS] for start in range(0, len(tokens), _CHUNK_TOKENS))


def _windows(tokens: Tokens, starts: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    windows: NDArray[np.int64] = tokens[starts[:, None] + np.arange(context + 1)].astype(np.int64)
    return windows
