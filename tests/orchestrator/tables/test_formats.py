"""Formats of run tables: the content decides, and messages count rows as the format does."""

from __future__ import annotations

import pytest

from orchestrator.errors import BadInput
from orchestrator.tables import formats
from orchestrator.tables.checked_table import TableBlock, WrittenTable
from orchestrator.tables.formats import TableFormat, read_table
from orchestrator.tables.run_table import REQUIRED

CSV = b"params,tokens,batch_tokens,learning_rate,loss\n1e6,1e8,1024,1e-3,3.5\n"


def read_rows(data: bytes) -> WrittenTable:
    rows = [line.split() for line in data.decode().splitlines()[1:]]
    blocks = [
        TableBlock(rows=[number], columns=[[cell] for cell in row]) for number, row in enumerate(rows, 1)
    ]
    return WrittenTable(names=REQUIRED, blocks=blocks)


@pytest.fixture
def spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A further format, before CSV: rows of numbers between blanks, under a line with its name."""
    spaced = TableFormat(
        name="spaced",
        media_types=("text/spaced",),
        example="",
        begins=lambda data: data.startswith(b"spaced"),
        read=read_rows,
    )
    monkeypatch.setattr(formats, "FORMATS", (spaced, *formats.FORMATS))


@pytest.mark.usefixtures("spaced")
def test_the_content_of_a_table_decides_its_format() -> None:
    rows = b"spaced\n1e6 1e8 1024 1e-3 3.5\n"

    assert read_table(rows).loss == read_table(CSV).loss == [3.5]
    with pytest.raises(BadInput, match="one column only"):
        read_table(b"neither")


@pytest.mark.usefixtures("spaced")
def test_messages_count_rows_from_the_first_of_the_format() -> None:
    with pytest.raises(BadInput, match="row 1, column params"):
        read_table(b"spaced\nx 1e8 1024 1e-3 3.5\n")
    with pytest.raises(BadInput, match="row 2, column loss"):
        read_table(b"spaced\n1e6 1e8 1024 1e-3 3.5\n1e6 1e8 1024 1e-3 x\n")
