"""The files of a text, what is held out of them, and their pieces."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import BadInput
from workers.preparation.files import list_source
from workers.preparation.pieces import BY_TAIL, pieces, read_piece, split_text, text_of


def lines(number: int) -> str:
    return "".join(
        f"Line {line} of a text in which all lines differ: {line * 7919}.\n" for line in range(number)
    )


def test_hidden_files_other_endings_and_empty_files_are_left_out(tmp_path: Path) -> None:
    for name in ("a.txt", "b.md", ".hidden.txt", ".git/c.txt", "deep/er/d.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "empty.txt").touch()

    assert [file.name for file in list_source(tmp_path, [".txt"]).files] == ["a.txt", "deep/er/d.txt"]
    assert [file.name for file in list_source(tmp_path, [".txt", ".md"]).files] == [
        "a.txt",
        "b.md",
        "deep/er/d.txt",
    ]


@pytest.mark.parametrize(
    ("endings", "message"),
    [((".rst",), "other endings there: 1 .md"), ((".md",), None)],
)
def test_a_folder_without_such_files_says_what_it_holds(
    tmp_path: Path, endings: tuple[str, ...], message: str | None
) -> None:
    (tmp_path / "b.md").write_text("text")
    if message is None:
        assert list_source(tmp_path, endings).size == 4
        return
    with pytest.raises(BadInput, match=message):
        list_source(tmp_path, endings)


def test_the_tail_of_a_single_file_is_held_out_after_a_whole_line(tmp_path: Path) -> None:
    source = tmp_path / "one.txt"
    source.write_text(lines(3_000))

    found = list_source(source, [])
    divided = split_text(found)

    ((train,), (heldout,)) = divided.train, divided.heldout
    data = source.read_bytes()
    assert divided.rule == BY_TAIL
    assert (train.start, train.end, heldout.end) == (0, heldout.start, len(data))
    assert data[train.end - 1 : train.end] == b"\n"
    assert heldout.end - heldout.start == pytest.approx(len(data) / 16, abs=100)


def test_the_tail_of_few_files_is_held_out_whatever_their_names(tmp_path: Path) -> None:
    for name, length in (("a.txt", 10), ("b.txt", 3_000), ("c.txt", 20)):
        (tmp_path / name).write_text(lines(length))

    divided = split_text(list_source(tmp_path, [".txt"]))

    assert divided.rule == BY_TAIL
    assert [span.file.name for span in divided.train] == ["a.txt", "b.txt"]
    assert [span.file.name for span in divided.heldout] == ["b.txt", "c.txt"]


@pytest.mark.parametrize(
    "letters",
    ["a line of text\n", "ä", "日本語", "😀", "x" * 5_000 + "\n", "\r\n", " "],
    ids=["lines", "two bytes", "three bytes", "four bytes", "long lines", "empty lines", "spaces"],
)
def test_pieces_are_text_and_together_the_whole(tmp_path: Path, letters: str) -> None:
    source = tmp_path / "one.txt"
    source.write_bytes((letters * (300_000 // len(letters.encode()))).encode())
    found = list_source(source, [])
    cut = list(pieces(split_text(found)))

    texts = [text_of(found.root, place) for place in cut]

    assert "".join(texts).encode() == source.read_bytes()
    assert len(texts) >= 5
    assert max(len(read_piece(found.root, place)) for place in cut) <= 70_000
