"""``etalon corpus prepare``: a text becomes a corpus that sweeps find by its name.

Everything is made in a hidden folder beside the finished ones and renamed into place at the end. What is in that
folder can be gone on with as long as the plan and the list of files are the same.
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
from orchestrator.errors import BadInput, Conflict, FieldProblem
from orchestrator.private import make_folder
from workers.preparation.encoding import JOURNAL_FILE, encode, measure, write_whole
from workers.preparation.files import Source, differences, list_lines, list_source, read_list
from workers.preparation.pieces import Split, check_text, places, split, text_of
from workers.preparation.progress import Progress, Stage, Tell
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
class Prepared:
    """A finished corpus: its document, its folder, and whether this call made it."""

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
    tell: Tell,
) -> Prepared:
    """Make a corpus, go on with one that was interrupted, or find that it is there.

    Args:
        source: a folder of text or one text file, UTF-8.
        name: what sweeps call it.
        folder: of prepared corpora.
        vocab_size: tokens of the tokenizer, at most.
        suffixes: endings of the files to take from a folder.
        again: whether what is there may be replaced.
        tell: is told of progress.

    Raises:
        BadInput: a name, number or text that cannot be used.
        Conflict: there is a corpus or a beginning of another text or plan and not ``again``; or another process
            is preparing it; or the text is being written to.
        OSError: the disk is full, or something cannot be read; what is done is kept.
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
            return Prepared(document=_as_asked(finished, plan, files), folder=finished, new=False)
        _begin(staging, plan, files, again=again)
        document = _make(staging, name, source.absolute(), plan, files, tell)
        write_whole(staging / DOCUMENT_FILE, document.model_dump_json(indent=2).encode() + b"\n")
        _put_in_place(staging, finished)
    return Prepared(document=document, folder=finished, new=True)


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Hold the name's lock; the system gives it back when its process ends, however that is."""
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
        raise BadInput(f"vocab_size: {message}.", fields=(FieldProblem(path="vocab_size", message=message),))
    for suffix in suffixes:
        if not suffix.startswith(".") or len(suffix) < 2 or "/" in suffix:
            message = f"{suffix!r} is not the ending of a file's name; write it with its dot, as .txt"
            raise BadInput(f"suffix: {message}.", fields=(FieldProblem(path="suffix", message=message),))


def _as_asked(finished: Path, plan: CorpusPlan, files: Source) -> CorpusDocument:
    """The document of a finished corpus.

    Raises:
        Conflict: it was made of another text or to another plan, or its token file is damaged.
    """
    document = read_document(finished)
    same_library = document.plan.model_copy(update={"tokenizers": plan.tokenizers})
    changes = _changes(finished, same_library, plan, files)
    if sample_sha256(finished / TOKENS_FILE) != document.sample_sha256:
        changes.append("its token file is not the one that was written")
    if changes:
        raise Conflict(
            f"The corpus {finished.name!r} is there, but since it was prepared {'; '.join(changes)}. Keep it as it "
            "is, prepare the other under another --name, or replace it with --again."
        )
    return document


def _begin(staging: Path, plan: CorpusPlan, files: Source, *, again: bool) -> None:
    """Make the hidden folder, or find that what is in it can be gone on with.

    Raises:
        Conflict: it was begun with something else, and has come as far as a tokenizer.
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
                f"This corpus was begun and not finished, and since then {'; '.join(changes)}. Begin anew with --again."
            )
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    write_whole(staging / LIST_FILE, list_lines(files.files))
    write_whole(staging / PLAN_FILE, plan.model_dump_json().encode())


def _changes(folder: Path, before: CorpusPlan, now: CorpusPlan, files: Source) -> list[str]:
    """What is no longer as it was when the folder was made, in words."""
    settings = [
        f"{field} changed from {_words(old)} to {_words(new)}"
        for field, old in before.model_dump().items()
        if (new := getattr(now, field)) != old
    ]
    return settings + differences(read_list(folder / LIST_FILE), files.files)


def _words(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _make(
    staging: Path, name: str, origin: Path, plan: CorpusPlan, files: Source, tell: Tell
) -> CorpusDocument:
    divided = split(files)
    tokenizer = _tokenizer(staging / TOKENIZER_FILE, files, divided, plan.vocab_size, tell)
    vocab_size = tokenizer.get_vocab_size()
    dtype: Literal["uint16", "uint32"] = "uint16" if vocab_size <= 1 << 16 else "uint32"
    written = encode(files.root, divided, tokenizer, staging, dtype, tell)
    found = measure(staging / TOKENS_FILE, dtype, vocab_size, written.train_tokens, tell)
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


def _tokenizer(path: Path, files: Source, divided: Split, vocab_size: int, tell: Tell) -> Tokenizer:
    """The tokenizer of an earlier call, or one trained on the train split once all of the text is known to be text."""
    if not path.exists():
        done = 0
        for size in check_text(files.root, places(divided)):
            done += size
            tell(Progress(stage=Stage.CHECKING, done=done, total=files.size))
        trained = train_tokenizer(_sample(files, divided, tell), vocab_size)
        write_whole(path, trained.to_str(pretty=True).encode())
    return load_tokenizer(path)


def _sample(files: Source, divided: Split, tell: Tell) -> Iterator[str]:
    """Pieces of the train split, evenly spread, of no more text in all than a tokenizer is trained on."""
    train = (place for place in places(divided) if not place.heldout)
    size = sum(span.end - span.start for span in divided.train)
    every = -(-size // SAMPLE_BYTES)
    total, done = size // every, 0
    for place in islice(train, 0, None, every):
        text = text_of(files.root, place)
        done += len(text.encode())
        tell(Progress(stage=Stage.TRAINING, done=min(done, total), total=total))
        yield text


def _put_in_place(staging: Path, finished: Path) -> None:
    """The finished folder appears whole; what stood there goes last."""
    replaced = staging.with_name(f".{finished.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if finished.exists():
        finished.rename(replaced)
    staging.rename(finished)
    for passing in (PLAN_FILE, JOURNAL_FILE):
        (finished / passing).unlink(missing_ok=True)
    shutil.rmtree(replaced, ignore_errors=True)
