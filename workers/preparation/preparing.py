"""Prepares a corpus, which sweeps find by its name.

All files are written to a hidden folder beside the finished corpora, which is renamed at the end. An interrupted
preparation continues from that folder if the plan and the list of files are the same.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from filelock import FileLock, Timeout
from pydantic import ValidationError
from tokenizers import Tokenizer

from orchestrator.corpora import (
    DOCUMENT_FILE,
    TOKENIZER_FILE,
    TOKENS_FILE,
    CorpusDocument,
    CorpusOrigin,
    CorpusPlan,
    check_name,
    read_document,
    sample_sha256,
)
from orchestrator.errors import BadInput, Conflict
from orchestrator.private import make_folder
from workers.preparation.encoding import JOURNAL_FILE, encode, measure, write_whole
from workers.preparation.files import TextSource, differences, list_lines, list_source, read_list
from workers.preparation.pieces import TextSplit, check_text, pieces, split_text, text_of
from workers.preparation.progress import OnProgress, PreparationProgress, PreparationStage
from workers.preparation.tokenizer import (
    LEAST_VOCABULARY,
    MOST_VOCABULARY,
    SAMPLE_BYTES,
    load_tokenizer,
    train_tokenizer,
)

PLAN_FILE: Final = "plan.json"
LIST_FILE: Final = "files.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCorpus:
    """A finished corpus: its document, its folder, and whether this call prepared it."""

    document: CorpusDocument
    folder: Path
    new: bool


def prepare(
    source: Path,
    name: str,
    *,
    folder: Path,
    vocab_size: int,
    suffixes: tuple[str, ...],
    again: bool,
    on_progress: OnProgress,
) -> PreparedCorpus:
    """Prepares a corpus, continues an interrupted preparation, or finds that the corpus exists.

    Args:
        source: a folder of text or one text file, UTF-8.
        name: the name for sweeps.
        folder: of prepared corpora.
        vocab_size: most tokens of the tokenizer.
        suffixes: endings of the files to take from a folder.
        again: replaces an existing corpus or preparation of another text or plan.
        on_progress: called with the progress.

    Raises:
        BadInput: a name, number or text that cannot be used.
        Conflict: a corpus or preparation of another text or plan exists, without ``again``; another process is
            preparing it; or the text is being written to.
        OSError: the disk is full or a file cannot be read; finished work is kept.
    """
    check_name(name)
    _check_plan(vocab_size, suffixes)
    files = list_source(source.absolute(), suffixes)
    plan = CorpusPlan(
        vocab_size=vocab_size,
        suffixes=() if source.is_file() else suffixes,
        tokenizers=version("tokenizers"),
    )
    make_folder(folder)
    with _alone(folder, name):
        finished, staging = folder / name, folder / f".{name}.partial"
        if finished.exists() and not again:
            return PreparedCorpus(
                document=_existing_document(finished, plan, files), folder=finished, new=False
            )
        _begin(staging, plan, files, again=again)
        document = _make(staging, name, source.absolute(), plan, files, on_progress)
        write_whole(staging / DOCUMENT_FILE, document.model_dump_json(indent=2).encode() + b"\n")
        _put_in_place(staging, finished)
    return PreparedCorpus(document=document, folder=finished, new=True)


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Holds the name's lock, which the system releases when the process ends."""
    try:
        with FileLock(folder / f".{name}.lock", timeout=0):
            yield
    except Timeout as error:
        raise Conflict(
            f"Another process is preparing the corpus {name!r} in {folder}; wait for it."
        ) from error


def _check_plan(vocab_size: int, suffixes: tuple[str, ...]) -> None:
    if not LEAST_VOCABULARY <= vocab_size <= MOST_VOCABULARY:
        message = f"{vocab_size} is out of range; it must be from {LEAST_VOCABULARY} (every byte and the end of a text) to {MOST_VOCABULARY}"
        raise BadInput.at("vocab_size", message)
    for suffix in suffixes:
        if not suffix.startswith(".") or len(suffix) < 2 or "/" in suffix:
            message = f"{suffix!r} is not the ending of a file's name; write it with its dot, as .txt"
            raise BadInput.at("suffix", message)


def _existing_document(finished: Path, plan: CorpusPlan, files: TextSource) -> CorpusDocument:
    """The document of a finished corpus.

    Raises:
        Conflict: it was prepared from another text or with another plan, or its token file is damaged.
    """
    document = read_document(finished)
    same_library = document.plan.model_copy(update={"tokenizers": plan.tokenizers})
    changes = _changes(finished, same_library, plan, files)
    if sample_sha256(finished / TOKENS_FILE) != document.sample_sha256:
        changes.append("its token file was changed")
    if changes:
        raise Conflict(
            f"The corpus {finished.name!r} exists, but since it was prepared {'; '.join(changes)}. Keep it, use another "
            "--name, or replace it with --again."
        )
    return document


def _begin(staging: Path, plan: CorpusPlan, files: TextSource, *, again: bool) -> None:
    """Creates the hidden folder, or keeps it to continue from.

    Raises:
        Conflict: it has a tokenizer already, and was begun with another text or plan.
    """
    try:
        before = CorpusPlan.model_validate_json((staging / PLAN_FILE).read_bytes())
        changes = _changes(staging, before, plan, files)
    except (FileNotFoundError, ValidationError):
        pass  # killed before its plan was written
    else:
        if not changes:
            return
        if not again and (staging / TOKENIZER_FILE).exists():
            raise Conflict(
                f"The preparation of this corpus was interrupted, and since then {'; '.join(changes)}. Start again with --again."
            )
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    write_whole(staging / LIST_FILE, list_lines(files.files))
    write_whole(staging / PLAN_FILE, plan.model_dump_json().encode())


def _changes(folder: Path, before: CorpusPlan, now: CorpusPlan, files: TextSource) -> list[str]:
    """Sentences about changes of plan and files since the folder was created."""
    settings = [
        f"{field} changed from {_words(old)} to {_words(new)}"
        for field, old in before.model_dump().items()
        if (new := getattr(now, field)) != old
    ]
    return settings + differences(read_list(folder / LIST_FILE), files.files)


def _words(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _make(
    staging: Path, name: str, origin: Path, plan: CorpusPlan, files: TextSource, on_progress: OnProgress
) -> CorpusDocument:
    divided = split_text(files)
    tokenizer = _tokenizer(staging / TOKENIZER_FILE, files, divided, plan.vocab_size, on_progress)
    vocab_size = tokenizer.get_vocab_size()
    dtype: Literal["uint16", "uint32"] = "uint16" if vocab_size <= 1 << 16 else "uint32"
    written = encode(files.root, divided, tokenizer, staging, dtype, on_progress)
    found = measure(staging / TOKENS_FILE, dtype, vocab_size, written.train_tokens, on_progress)
    return CorpusDocument(
        name=name,
        vocab_size=vocab_size,
        dtype=dtype,
        **written.model_dump(exclude={"pieces"}),
        heldout_bytes_per_token=written.heldout_bytes / written.heldout_tokens,
        heldout_rule=divided.rule,
        unigram_entropy=found.unigram_entropy,
        sha256=found.sha256,
        sample_sha256=sample_sha256(staging / TOKENS_FILE),
        tokenizer_sha256=hashlib.sha256((staging / TOKENIZER_FILE).read_bytes()).hexdigest(),
        plan=plan,
        source=CorpusOrigin(path=str(origin), files=len(files.files), bytes=files.size, sha256=files.sha256),
    )


def _tokenizer(
    path: Path, files: TextSource, divided: TextSplit, vocab_size: int, on_progress: OnProgress
) -> Tokenizer:
    """The tokenizer of an earlier call, or one trained on the train split after all text is checked."""
    if not path.exists():
        done = 0
        for size in check_text(files.root, pieces(divided)):
            done += size
            on_progress(PreparationProgress(stage=PreparationStage.CHECKING, done=done, total=files.size))
        trained = train_tokenizer(_sample(files, divided, on_progress), vocab_size)
        write_whole(path, trained.to_str(pretty=True).encode())
    return load_tokenizer(path)


def _sample(files: TextSource, divided: TextSplit, on_progress: OnProgress) -> Iterator[str]:
    """Evenly spaced pieces of the train split, of at most ``SAMPLE_BYTES`` in total."""
    train = (piece for piece in pieces(divided) if not piece.heldout)
    size = sum(span.size for span in divided.train)
    every = -(-size // SAMPLE_BYTES)
    total, done = size // every, 0
    for piece in islice(train, 0, None, every):
        text = text_of(files.root, piece)
        done += len(text.encode())
        on_progress(PreparationProgress(stage=PreparationStage.TRAINING, done=min(done, total), total=total))
        yield text


def _put_in_place(staging: Path, finished: Path) -> None:
    """Renames the finished folder, and deletes the one that it replaces last."""
    replaced = staging.with_name(f".{finished.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if finished.exists():
        finished.rename(replaced)
    staging.rename(finished)
    for passing in (PLAN_FILE, JOURNAL_FILE):
        (finished / passing).unlink(missing_ok=True)
    shutil.rmtree(replaced, ignore_errors=True)
