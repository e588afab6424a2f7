"""Corpora by name: registered in the settings, or prepared by ``etalon corpus prepare``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from orchestrator.errors import BadInput
from orchestrator.settings import CorpusSource, Settings

BUILT_IN: Final = "stdlib"
TOKENS_FILE: Final = "tokens.bin"
TOKENIZER_FILE: Final = "tokenizer.json"
DOCUMENT_FILE: Final = "corpus.json"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SAMPLE_BLOCKS: Final = 64
_BLOCK_BYTES: Final = 4096


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusPlan(_Document):
    """The plan of a corpus's preparation: equal plans over equal files give equal bytes.

    Attributes:
        vocab_size: most tokens of the vocabulary; a small text has fewer pairs to merge and gets fewer.
        suffixes: endings of the files that are used.
        tokenizers: version of the ``tokenizers`` library.
    """

    vocab_size: PositiveInt
    suffixes: tuple[str, ...]
    tokenizers: str


class CorpusOrigin(_Document):
    """The text of a corpus.

    Attributes:
        path: of the file or folder.
        files, bytes: its size.
        sha256: of the files' names and sizes.
    """

    path: str
    files: PositiveInt
    bytes: PositiveInt
    sha256: str


class CorpusDocument(_Document):
    """``corpus.json``: the description of a prepared corpus.

    Attributes:
        name: its name when it was prepared.
        vocab_size: token ids are below this.
        dtype: type of the ids, little-endian.
        train_tokens, heldout_tokens: numbers of ids; the file holds the training ids first, then those held out.
        train_bytes, heldout_bytes: sizes of their text.
        heldout_bytes_per_token: turns a loss in nats per token into bits per byte: loss / ln 2 / this.
        heldout_rule: how the held-out text was chosen, as a sentence.
        unigram_entropy: of the training ids, in nats per token.
        sha256: of the whole token file.
        sample_sha256: of its size and a sample of it (``sample_sha256``).
        tokenizer_sha256: of the tokenizer's file.
        plan: how it was prepared.
        source: its text.
    """

    name: str
    vocab_size: Annotated[int, Field(ge=2)]
    dtype: Literal["uint16", "uint32"]
    train_tokens: PositiveInt
    heldout_tokens: PositiveInt
    train_bytes: PositiveInt
    heldout_bytes: PositiveInt
    heldout_bytes_per_token: Annotated[float, Field(gt=0)]
    heldout_rule: str
    unigram_entropy: Annotated[float, Field(ge=0)]
    sha256: str
    sample_sha256: str
    tokenizer_sha256: str
    plan: CorpusPlan
    source: CorpusOrigin

    @property
    def tokens(self) -> int:
        """Ids in the token file."""
        return self.train_tokens + self.heldout_tokens


class PreparedSource(CorpusSource):
    """A prepared corpus, for the API and the workers.

    Attributes:
        document: its description.
    """

    document: CorpusDocument

    def unreadable(self) -> str | None:
        """The reason why this is not the prepared file, judged by its size and a sample; None if it is.

        At most 64 blocks of 4 KiB are read, so the cost does not depend on the size. An edit between the blocks that
        keeps the size is missed.
        """
        try:
            sample = sample_sha256(self.path)
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        if sample != self.document.sample_sha256:
            return f"{self.path} is not the file that was prepared: its size or a sample of it differs"
        return None


def sample_sha256(path: Path) -> str:
    """A hash of a file's size and of up to 64 evenly spaced blocks of 4 KiB, the first and the last included.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size}".encode())
    last = max(0, size - _BLOCK_BYTES)
    with path.open("rb") as file:
        for number in range(_SAMPLE_BLOCKS):
            file.seek(last * number // (_SAMPLE_BLOCKS - 1))
            digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()


def check_name(name: str) -> None:
    """Refuse a name that is not a portable folder name, or is reserved.

    Raises:
        BadInput: lists the allowed names.
    """
    if _NAME.fullmatch(name) and name != BUILT_IN:
        return
    message = (
        f"{name!r} cannot name a corpus; allowed: up to 100 of the letters a-z and A-Z, digits, '.', '_' and '-', the "
        f"first a letter or digit, and not {BUILT_IN!r}"
    )
    raise BadInput.at("name", message)


def read_document(folder: Path) -> CorpusDocument:
    """The description of a prepared corpus.

    Raises:
        BadInput: it is missing or cannot be read.
    """
    path = folder / DOCUMENT_FILE
    try:
        return CorpusDocument.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a corpus of this version"
        raise BadInput(f"{path} cannot be read: {reason}. Prepare the corpus again.") from error


def find_corpus(name: str, settings: Settings) -> CorpusSource | None:
    """The source of a corpus; None for the built-in one and for an unknown name.

    Args:
        name: as in a specification; a registered corpus takes precedence over a prepared one.
        settings: name the registered corpora and the folder of prepared ones.

    Raises:
        BadInput: the description of the prepared corpus cannot be read.
    """
    if name in settings.corpora or name == BUILT_IN:
        return settings.corpora.get(name)
    if not _NAME.fullmatch(name) or not (settings.corpora_folder / name).is_dir():
        return None
    folder = settings.corpora_folder.absolute() / name
    document = read_document(folder)
    return PreparedSource(
        path=folder / TOKENS_FILE,
        dtype=document.dtype,
        vocab_size=document.vocab_size,
        heldout_tokens=document.heldout_tokens,
        document=document,
    )


def corpus_names(settings: Settings) -> list[str]:
    """Every corpus name that a sweep may use here, the built-in one first."""
    return [BUILT_IN, *sorted({*settings.corpora, *prepared_names(settings)} - {BUILT_IN})]


def prepared_names(settings: Settings) -> Iterator[str]:
    """The names of prepared corpora, without unfinished ones."""
    if settings.corpora_folder.is_dir():
        yield from (
            entry.name
            for entry in settings.corpora_folder.iterdir()
            if _NAME.fullmatch(entry.name) and (entry / DOCUMENT_FILE).is_file()
        )
