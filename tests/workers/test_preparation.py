"""Preparing a corpus: its content, and that interruptions do not change it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from orchestrator.corpora import DOCUMENT_FILE, TOKENIZER_FILE, TOKENS_FILE
from orchestrator.errors import BadInput, Conflict
from trainer import load_corpus
from workers.preparation import encoding, preparing
from workers.preparation.pieces import BY_NAME
from workers.preparation.preparing import PreparedCorpus
from workers.preparation.progress import OnProgress, PreparationProgress, PreparationStage

RESULT = (DOCUMENT_FILE, TOKENIZER_FILE, TOKENS_FILE)


class Killed(Exception):
    """Stands for the end of the process."""


def sentence(number: int) -> str:
    return f"Line {number}: wer reitet so spät durch Nacht und Wind? It is {number * 7919} times the same.\n"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty files that no test changes: two of them held out by their names, one long enough for two pieces."""
    folder = tmp_path_factory.mktemp("corpora") / "text"
    for number in range(40):
        path = folder / f"book{number % 3}" / f"{number:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = 800 if number == 5 else 60
        path.write_text("".join(sentence(number * 10_000 + line) for line in range(lines)))
    return folder


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    """The same, prepared without a disturbance."""
    return prepare(text, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def changing(text: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(text, tmp_path / "text"))


def prepare(
    text: Path,
    home: Path,
    *,
    again: bool = False,
    vocab_size: int = 400,
    kill_at: int | None = None,
    kill_in: PreparationStage | None = None,
    on_progress: OnProgress = lambda progress: None,
) -> PreparedCorpus:
    """Prepare ``text`` as the corpus ``own`` in ``home``; stop at a progress of that number or stage, if given."""
    numbers = count()

    def killed_or_reported(progress: PreparationProgress) -> None:
        if next(numbers) == kill_at or progress.stage is kill_in:
            raise Killed
        on_progress(progress)

    return preparing.prepare(
        text,
        "own",
        folder=home,
        vocab_size=vocab_size,
        suffixes=(".txt",),
        again=again,
        on_progress=killed_or_reported,
    )


def result(folder: Path) -> dict[str, bytes]:
    return {file: (folder / file).read_bytes() for file in RESULT}


def ids_of(prepared: PreparedCorpus) -> tuple[np.ndarray, np.ndarray]:
    ids = np.fromfile(prepared.folder / TOKENS_FILE, dtype=prepared.document.dtype)
    border = prepared.document.train_tokens
    return ids[:border], ids[border:]


def read_back(prepared: PreparedCorpus, ids: np.ndarray) -> str:
    tokenizer = Tokenizer.from_file(str(prepared.folder / TOKENIZER_FILE))
    return tokenizer.decode(ids[ids != 0].tolist())


def test_the_tokens_are_the_text_and_files_are_held_out_by_their_names(
    text: Path, whole: PreparedCorpus
) -> None:
    train, heldout = ids_of(whole)
    sides: tuple[list[str], list[str]] = ([], [])
    for name in sorted(path.relative_to(text).as_posix() for path in text.rglob("*.txt")):
        sides[hashlib.sha256(name.encode()).digest()[0] % 16 == 0].append((text / name).read_text())
    assert read_back(whole, train) == "".join(sides[0])
    assert read_back(whole, heldout) == "".join(sides[1])
    assert (np.count_nonzero(train == 0), np.count_nonzero(heldout == 0)) == (len(sides[0]), len(sides[1]))
    document = whole.document
    assert (document.heldout_rule, document.vocab_size, document.dtype) == (BY_NAME, 400, "uint16")
    assert document.train_bytes == len("".join(sides[0]).encode())
    assert document.heldout_bytes_per_token == document.heldout_bytes / len(heldout)
    assert 2 < document.heldout_bytes_per_token < 6


def test_measurements_are_those_of_the_trainer(whole: PreparedCorpus) -> None:
    document = whole.document

    corpus = load_corpus(
        whole.folder / TOKENS_FILE,
        token_type=document.dtype,
        vocab_size=document.vocab_size,
        heldout_tokens=document.heldout_tokens,
    )

    assert (corpus.sha256, corpus.unigram_entropy) == (document.sha256, document.unigram_entropy)
    assert (len(corpus.train), len(corpus.heldout)) == (document.train_tokens, document.heldout_tokens)


def test_the_characters_of_the_end_of_text_token_are_encoded_as_text(tmp_path: Path) -> None:
    source = tmp_path / "quoting.txt"
    source.write_text("".join(f"{number} <|endoftext|> is written here.\n" for number in range(500)))

    prepared = prepare(source, tmp_path / "home")

    ids = np.concatenate(ids_of(prepared))
    assert np.count_nonzero(ids == 0) == 2, "one after each split_text"
    assert read_back(prepared, ids) == source.read_text()


@pytest.mark.parametrize("stage", list(PreparationStage))
def test_interrupted_in_any_stage_it_continues_to_the_same_bytes(
    text: Path, whole: PreparedCorpus, tmp_path: Path, stage: PreparationStage
) -> None:
    with pytest.raises(Killed):
        prepare(text, tmp_path, kill_in=stage)
    assert not (tmp_path / "own").exists()

    assert prepare(text, tmp_path).new

    assert result(tmp_path / "own") == result(whole.folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".own.lock", "own"]


@pytest.mark.parametrize("part_bytes", [1, 50_000])
def test_interrupted_at_any_piece_it_continues_to_the_same_bytes(
    text: Path, whole: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_bytes: int
) -> None:
    monkeypatch.setattr(encoding, "BATCH_BYTES", 1)
    monkeypatch.setattr(encoding, "PART_BYTES", part_bytes)
    for number in (90, 4, 13, 1):
        with pytest.raises(Killed):
            prepare(text, tmp_path, kill_at=number)

    prepare(text, tmp_path)

    assert result(tmp_path / "own") == result(whole.folder)


def test_what_was_encoded_is_not_encoded_again(text: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        prepare(text, tmp_path, kill_in=PreparationStage.MEASURING)
    progresses: list[PreparationProgress] = []

    prepare(text, tmp_path, on_progress=progresses.append)

    assert {progress.stage for progress in progresses} == {
        PreparationStage.ENCODING,
        PreparationStage.MEASURING,
    }
    assert progresses[0].done == progresses[0].total
    assert progresses[0].tokens > 0


SELF_KILLING = """
import os, signal, sys
from pathlib import Path
from workers.preparation import encoding, preparing
encoding.BATCH_BYTES, encoding.PART_BYTES = 1, 100_000
left = int(sys.argv[3])
def on_progress(progress):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
preparing.prepare(Path(sys.argv[1]), "own", folder=Path(sys.argv[2]), vocab_size=400, suffixes=(".txt",),
                  again=False, on_progress=on_progress)
"""


def test_killed_again_and_again_the_result_is_the_same(
    text: Path, whole: PreparedCorpus, tmp_path: Path
) -> None:
    ends = []
    for events in (60, 100, 10_000):
        command = [sys.executable, "-c", SELF_KILLING, str(text), str(tmp_path), str(events)]
        ends.append(subprocess.run(command, check=False, timeout=60).returncode)

    assert ends == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert result(tmp_path / "own") == result(whole.folder)


def test_a_token_file_shorter_than_its_journal_is_encoded_again(
    text: Path, whole: PreparedCorpus, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        prepare(text, tmp_path, kill_in=PreparationStage.MEASURING)
    os.truncate(tmp_path / ".own.partial" / TOKENS_FILE, 10)

    prepare(text, tmp_path)

    assert result(tmp_path / "own") == result(whole.folder)


def test_a_finished_corpus_of_the_same_text_is_left_alone(text: Path, whole: PreparedCorpus) -> None:
    stamp = (whole.folder / TOKENS_FILE).stat().st_mtime_ns

    second = prepare(text, whole.folder.parent)

    assert (whole.new, second.new) == (True, False)
    assert second.document == whole.document
    assert (whole.folder / TOKENS_FILE).stat().st_mtime_ns == stamp


def test_a_changed_text_is_refused_with_its_changes_without_again(changing: Path, tmp_path: Path) -> None:
    before = prepare(changing, tmp_path / "home")
    (changing / "new.txt").write_text(sentence(1) * 50)
    (changing / "book0" / "00.txt").unlink()
    (changing / "book1" / "01.txt").write_text(sentence(2))

    with pytest.raises(Conflict) as refused:
        prepare(changing, tmp_path / "home", vocab_size=500)

    for change in (
        "vocab_size changed from 400 to 500",
        "1 file added (new.txt)",
        "1 file removed (book0/00.txt)",
        "1 file written to (book1/01.txt)",
        "--again",
    ):
        assert change in refused.value.detail
    assert (before.folder / DOCUMENT_FILE).read_text() == before.document.model_dump_json(indent=2) + "\n"
    after = prepare(changing, tmp_path / "home", vocab_size=500, again=True)
    assert after.new
    assert after.document.vocab_size == 500
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == [".own.lock", "own"]


def test_an_unfinished_corpus_of_another_text_is_refused_with_its_changes(
    changing: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with pytest.raises(Killed):
        prepare(changing, home, kill_in=PreparationStage.ENCODING)
    (changing / "new.txt").write_text(sentence(1))

    with pytest.raises(Conflict, match=r"was interrupted.*1 file added \(new\.txt\).*--again"):
        prepare(changing, home)

    assert prepare(changing, home, again=True).new


def test_a_replacement_that_was_interrupted_continues_and_keeps_the_old_one_meanwhile(
    text: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    before = prepare(text, home)
    with pytest.raises(Killed):
        prepare(text, home, vocab_size=500, again=True, kill_in=PreparationStage.ENCODING)
    assert before.document.tokens * 2 == (home / "own" / TOKENS_FILE).stat().st_size
    assert (home / ".own.partial" / TOKENIZER_FILE).exists()

    assert prepare(text, home, vocab_size=500, again=True).document.vocab_size == 500


def test_a_damaged_token_file_is_refused(text: Path, tmp_path: Path) -> None:
    prepared = prepare(text, tmp_path / "home")
    with (prepared.folder / TOKENS_FILE).open("r+b") as file:
        file.write(b"\xff\xff")

    with pytest.raises(Conflict, match="its token file was changed"):
        prepare(text, tmp_path / "home")


def test_a_second_process_is_refused_and_changes_nothing(
    text: Path, whole: PreparedCorpus, tmp_path: Path
) -> None:
    refusals = []

    def on_progress(progress: PreparationProgress) -> None:
        if progress.stage is PreparationStage.ENCODING and not refusals:
            command = [sys.executable, "-c", SELF_KILLING, str(text), str(tmp_path / "home"), "10000"]
            other = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
            refusals.append((other.returncode, other.stderr))

    prepare(text, tmp_path / "home", on_progress=on_progress)

    ((code, printed),) = refusals
    assert code == 1
    assert "Another process is preparing the corpus 'own'" in printed
    assert result(tmp_path / "home" / "own") == result(whole.folder)


def test_a_file_that_is_written_to_meanwhile_is_refused(changing: Path, tmp_path: Path) -> None:
    def on_progress(progress: PreparationProgress) -> None:
        if progress.stage is PreparationStage.TRAINING:
            (changing / "book2" / "38.txt").write_text("other text")

    with pytest.raises(Conflict, match="38.txt was written to while"):
        prepare(changing, tmp_path / "home", on_progress=on_progress)


def test_files_that_are_not_text_are_named_before_anything_is_encoded(changing: Path, tmp_path: Path) -> None:
    (changing / "latin.txt").write_bytes("spät".encode("latin-1"))
    (changing / "packed.txt").write_bytes(b"\x1f\x8b\x08\xff")

    with pytest.raises(
        BadInput, match=r"2 of the files are not UTF-8 text: latin.txt \(near byte 2\), packed.txt"
    ):
        prepare(changing, tmp_path / "home")

    (changing / "latin.txt").unlink()
    (changing / "packed.txt").unlink()
    assert prepare(changing, tmp_path / "home").new, "nothing was kept that stands in the way"


def test_a_text_too_short_to_hold_some_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")

    with pytest.raises(BadInput, match="too few to hold some out"):
        prepare(tmp_path / "a.txt", tmp_path / "home")


def test_a_large_vocabulary_is_stored_in_four_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, 97 + rng.integers(0, 26, size=26))) for _ in range(8_500)]
    (tmp_path / "words.txt").write_text("\n".join(words * 2))

    prepared = prepare(tmp_path / "words.txt", tmp_path / "home", vocab_size=100_000)

    assert 65_536 < prepared.document.vocab_size <= 100_000
    assert prepared.document.dtype == "uint32"
    assert int(np.concatenate(ids_of(prepared)).max()) < prepared.document.vocab_size


@pytest.mark.parametrize("vocab_size", [256, 0, -1, 1 << 21])
def test_a_vocabulary_out_of_range_is_refused(text: Path, tmp_path: Path, vocab_size: int) -> None:
    with pytest.raises(BadInput, match="from 257"):
        prepare(text, tmp_path / "home", vocab_size=vocab_size)
    assert not (tmp_path / "home").exists()
