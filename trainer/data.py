"""Corpora: token ids in a train and a held-out split, with a hash of the data."""

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

from trainer.exceptions import BadCorpus

TokenIds = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]
TokenType = Literal["uint16", "uint32"]

BYTES = 256
MOST_TOKENS = 1 << 24
"""Largest vocabulary: far above any in use, and token counts still fit in memory."""

HELDOUT_SHARE = 16
"""One token in 16 is held out."""

_STDLIB_WITHOUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "encodings", "pydoc_data"}
)
_CHUNK_TOKENS = 1 << 22

_READ_AHEAD_SHARE = 0.25
"""Largest mapped file, as a share of the machine's memory, that the system may read ahead. For a larger file,
read-ahead would load a megabyte per window and drop it again, so random access is announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFileStats:
    """Statistics of a file of token ids, known since it was written, that save reading it on load.

    Attributes:
        tokens: Ids in the file, train and held-out.
        sha256: Hash of the whole file.
        unigram_entropy: Entropy of the train split, as in `Corpus`.
    """

    tokens: int
    sha256: str
    unigram_entropy: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corpus:
    """Token ids for training and for evaluation.

    Attributes:
        name: The user's name for it.
        vocab_size: Upper bound of the token ids, exclusive.
        sha256: Hash of the data, train then held-out; losses are comparable only if it is the same.
        train: Token ids, one dimension.
        heldout: Token ids for evaluation only, one dimension.
        unigram_entropy: Entropy of the train split's token frequencies, in nats per token: the loss of a model
            that predicts these frequencies.
    """

    name: str
    vocab_size: int
    sha256: str
    train: TokenIds = field(repr=False)
    heldout: TokenIds = field(repr=False)
    unigram_entropy: float

    def batch(self, seed: int, step: int, sequences: int, context: int) -> NDArray[np.int64]:
        """The training batch of one step, a pure function of its arguments.

        Args:
            seed: The recipe's seed.
            step: Updates made before this one.
            sequences: Windows to draw, uniformly from the train split.
            context: Input tokens of a window.

        Returns:
            Token ids [sequences, context + 1]: columns 0 to context − 1 are inputs, 1 to context their targets.

        Raises:
            BadCorpus: The train split is shorter than one window.
        """
        self._check(self.train, "train", context)
        starts = np.random.default_rng((seed, step)).integers(0, len(self.train) - context, size=sequences)
        return _windows(self.train, starts, context)

    def heldout_windows(self, count: int, context: int) -> NDArray[np.int64]:
        """Evenly spaced windows of the held-out split, the same every time: token ids [count, context + 1].

        They overlap if the split is shorter than all of them together.

        Raises:
            BadCorpus: The held-out split is shorter than one window.
        """
        self._check(self.heldout, "held-out", context)
        starts = np.linspace(0, len(self.heldout) - context - 1, count).astype(np.int64)
        return _windows(self.heldout, starts, context)

    def _check(self, tokens: TokenIds, split: str, context: int) -> None:
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
    measured: TokenFileStats | None = None,
    name: str | None = None,
) -> Corpus:
    """Loads a corpus.

    Args:
        source: `stdlib` for the source of Python's standard library, a path to UTF-8 text (in both, one token per
            byte), or a path to flat little-endian token ids ending in `.bin`, which are memory-mapped.
        token_type: Type of the ids of a `.bin` file.
        vocab_size: Upper bound of the ids of a `.bin` file, exclusive.
        heldout_tokens: Ids at the end of a `.bin` file to hold out; None for one in 16.
        measured: Known statistics of a `.bin` file. If given, only the length of the file is checked and no id is
            read, so the caller must make sure that they are of this file. None reads and checks every id.
        name: Name of the corpus; None takes the source.

    Raises:
        BadCorpus: The file is missing, not UTF-8, of another length than `measured`, or too short to split; or an
            id is out of range.
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
    measured: TokenFileStats | None,
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


def _corpus(name: str, vocab_size: int, train: TokenIds, heldout: TokenIds) -> Corpus:
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


def _stdlib_splits() -> tuple[TokenIds, TokenIds]:
    """Whole files, sorted by name; a hash of its name decides the split of each, so other files do not matter."""
    root = Path(sysconfig.get_paths()["stdlib"])
    splits: tuple[list[bytes], list[bytes]] = ([], [])
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in _sources(root)):
        digest = hashlib.sha256(name.encode()).digest()
        splits[digest[0] % HELDOUT_SHARE == 0].append(path.read_bytes())
    if not all(splits):
        raise BadCorpus(
            f"corpus 'stdlib': too few *.py files under {root}; this Python has no source of its library"
        )
    train, heldout = (np.frombuffer(b"".join(files), dtype=np.uint8) for files in splits)
    return train, heldout


def _sources(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _STDLIB_WITHOUT]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))


def _read_text(name: str, path: Path) -> TokenIds:
    data = path.read_bytes()
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise BadCorpus(
            f"corpus {name!r}: {path} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    return np.frombuffer(data, dtype=np.uint8)


def _map_ids(name: str, path: Path, token_type: TokenType) -> TokenIds:
    kinds: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
    kind = kinds.get(token_type)
    if kind is None:
        raise BadCorpus(f"corpus {name!r}: token_type is {token_type!r}; allowed: uint16, uint32")
    size = path.stat().st_size
    if size == 0 or size % kind.itemsize:
        raise BadCorpus(
            f"corpus {name!r}: {path} has {size} bytes; {token_type} ids need a positive multiple of {kind.itemsize}"
        )
    ids: TokenIds = np.memmap(path, dtype=kind, mode="r")
    if size > _memory_bytes() * _READ_AHEAD_SHARE:
        cast("mmap", ids.base).madvise(MADV_RANDOM)
    return ids


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _tail_split(name: str, tokens: TokenIds, heldout: int | None = None) -> tuple[TokenIds, TokenIds]:
    """Holds out the end of the tokens, so that no window reaches into the other split."""
    if heldout is None:
        heldout = ceil(len(tokens) / HELDOUT_SHARE)
        if heldout >= len(tokens):
            raise BadCorpus(f"corpus {name!r}: {len(tokens)} tokens are too few for a held-out split")
    if not 0 < heldout < len(tokens):
        raise BadCorpus(
            f"corpus {name!r}: heldout_tokens is {heldout}; allowed: 1 to {len(tokens) - 1}, all but one of its tokens"
        )
    return tokens[:-heldout], tokens[-heldout:]


def _chunks(tokens: TokenIds) -> Iterator[TokenIds]:
    return (tokens[start : start + _CHUNK_TOKENS] for start in range(0, len(tokens), _CHUNK_TOKENS))


def _windows(tokens: TokenIds, starts: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    windows: NDArray[np.int64] = tokens[starts[:, None] + np.arange(context + 1)].astype(np.int64)
    return windows
