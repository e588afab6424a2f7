"""Corpora from the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.etalon.cli.running import etalon, plain, refusal_of


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETALON_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def novels(tmp_path: Path) -> Path:
    folder = tmp_path / "novels"
    folder.mkdir()
    for number in range(40):
        lines = (f"Chapter {number}, line {line}: the night was {line * number}.\n" for line in range(60))
        (folder / f"{number}.md").write_text("".join(lines))
    return folder


def test_a_folder_is_prepared_under_its_own_name_and_listed(novels: Path, home: Path) -> None:
    code, printed = etalon("corpus", "prepare", str(novels), "--suffix", ".md", "--vocab-size", "300")
    printed = plain(printed)

    assert code == 0
    assert "a vocabulary of 300" in printed
    assert "trainer.corpus: novels" in printed
    assert [
        stage
        for stage in ("checking the text", "training the tokenizer", "encoding", "measuring")
        if stage in printed
    ]
    rows = json.loads(etalon("corpus", "list", "--json")[1])
    assert [row["name"] for row in rows] == ["stdlib", "novels"]
    assert (rows[1]["vocab_size"], rows[1]["where"]) == (300, str(home / "corpora" / "novels" / "tokens.bin"))
    assert (
        rows[1]["tokens"] * 2
        == rows[1]["bytes"]
        == (home / "corpora" / "novels" / "tokens.bin").stat().st_size
    )
    assert 1 < rows[1]["bytes_per_token"] < 8


def test_a_corpus_belongs_to_its_user_alone_whatever_the_umask(
    novels: Path, home: Path, open_to_others: Callable[[Path], list[Path]]
) -> None:
    before = os.umask(0)
    try:
        etalon("corpus", "prepare", str(novels), "--suffix", ".md", "--vocab-size", "300")
    finally:
        assert os.umask(before) == 0
    assert (home / "corpora" / "novels" / "tokens.bin").exists()
    assert not open_to_others(home)


def test_the_document_is_printed_for_programs_the_first_time_and_the_second(novels: Path, home: Path) -> None:
    command = (
        "corpus",
        "prepare",
        str(novels),
        "--suffix",
        ".md",
        "--name",
        "mine",
        "--vocab-size",
        "300",
        "--json",
    )
    first, second = etalon(*command), etalon(*command)

    assert first == second
    document = json.loads(first[1])
    folder = home / "corpora" / "mine"
    assert document == json.loads((folder / "corpus.json").read_text()) | {"folder": str(folder)}
    assert "its text is unchanged; nothing to do" in plain(etalon(*command[:-1])[1])


def test_a_vocabulary_smaller_than_asked_for_is_reported(novels: Path) -> None:
    code, printed = etalon("corpus", "prepare", str(novels), "--suffix", ".md", "--vocab-size", "50000")
    printed = plain(printed)

    assert code == 0
    assert "below the 50000 asked for" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "gone does not exist; give a folder of text"),
        (["novels"], "other endings there: 40 .md"),
        (["novels", "--suffix", "md"], "write it with its dot"),
        (["novels", "--suffix", ".md", "--vocab-size", "100"], "from 257"),
        (["novels", "--suffix", ".md", "--name", "stdlib"], "cannot name a corpus"),
        (["novels", "--suffix", ".md", "--name", "../x"], "cannot name a corpus"),
    ],
)
def test_what_cannot_be_prepared_is_refused_and_leaves_nothing(
    novels: Path, home: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(novels.parent)

    assert message in refusal_of("corpus", "prepare", *arguments)
    assert not home.exists()


def test_registered_and_broken_corpora_are_listed_with_what_is_wrong(
    novels: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etalon("corpus", "prepare", str(novels), "--suffix", ".md", "--vocab-size", "300")
    (home / "corpora" / "novels" / "tokens.bin").write_bytes(b"\0\0")
    (tmp_path / "ids.bin").write_bytes(b"\1\0" * 64)
    registered = {
        "ids": {"path": str(tmp_path / "ids.bin"), "dtype": "uint16", "vocab_size": 9},
        "gone": str(tmp_path / "gone.txt"),
    }
    monkeypatch.setenv("ETALON_CORPORA", json.dumps(registered))

    rows = {row["name"]: row for row in json.loads(etalon("corpus", "list", "--json")[1])}

    assert list(rows) == ["stdlib", "gone", "ids", "novels"]
    assert (rows["ids"]["tokens"], rows["ids"]["vocab_size"], rows["ids"]["problem"]) == (64, 9, None)
    assert "No such file" in rows["gone"]["problem"]
    assert "not the file that was prepared" in rows["novels"]["problem"]
    assert "not the file that was prepared" in plain(etalon("corpus", "list")[1])


def test_a_file_that_cannot_be_read_is_named(novels: Path) -> None:
    (novels / "dangling.md").symlink_to(novels / "gone")

    code, printed = etalon("corpus", "prepare", str(novels), "--suffix", ".md")
    printed = plain(printed)

    assert code == 1
    assert "dangling.md: No such file or directory" in printed
    assert "the same command continues" in printed


def test_an_interruption_reports_how_to_continue(novels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workers.preparation.preparing.prepare", interrupt)

    code, printed = etalon("corpus", "prepare", str(novels), "--suffix", ".md")
    printed = plain(printed)

    assert code == 130
    assert "the same command continues" in printed
