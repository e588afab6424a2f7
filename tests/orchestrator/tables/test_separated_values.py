"""Separated values: separators, decimal commas, encodings, blank rows and columns, and the bounds of the work."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import pytest

from orchestrator.errors import BadInput
from orchestrator.tables import separated_values
from orchestrator.tables.formats import read_table
from orchestrator.tables.run_table import REQUIRED

HEADER = ",".join(REQUIRED)
ROWS = ("1e6,1e8,1024,1e-3,3.5", "1e6,1e8,1024,2e-3,3.25")
CSV = "\n".join([HEADER, *ROWS, ""])


def numbers(data: bytes) -> list[list[float]]:
    table = read_table(data)
    return [getattr(table, name).tolist() for name in REQUIRED]


@pytest.fixture(params=[1, 2, 1024])
def _block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of any size give the same table."""
    monkeypatch.setattr(separated_values, "BLOCK_ROWS", request.param)


@pytest.mark.usefixtures("_block_rows")
@pytest.mark.parametrize(
    "text",
    [
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        CSV.replace(",", ";").replace(".", ",").replace("1e-3", "0,001"),
        CSV.replace("\n", "\r"),
        CSV.replace("\n", "\r\n"),
        "\ufeff" + CSV,
        "\n\n ,,, ,\n" + CSV.replace("\n", "\n\n , ,,,\n"),
        "\n".join(f"{line},," for line in CSV.splitlines()),
        "\n".join(f",{line}" for line in CSV.splitlines()),
        CSV.replace("1e6", "1M").replace("1e8", '"100,000,000"').replace("1024", "1.024k"),
        CSV.replace(",", ";").replace("1024", "1,024").replace("1e8", "0,1B"),
        CSV.replace("1024", "1.024\u00a0k"),
    ],
)
def test_a_table_is_read_however_it_is_written(text: str) -> None:
    assert numbers(text.encode()) == numbers(CSV.encode())


def test_a_quoted_cell_may_have_lines_and_separators() -> None:
    text = "\n".join([HEADER + ",note", ROWS[0] + ',"one,\ntwo"', ROWS[1] + ',"one,\ntwo"'])

    assert read_table(text.encode()).texts["note"].tolist() == ["one,\ntwo"] * 2


@pytest.mark.usefixtures("_block_rows")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n\n".join([HEADER, ROWS[0], "x,1e8,1024,1e-3,3.5"]), "row 5, column params"),
        ("\n".join([HEADER, "", *ROWS, "1,2"]), "Row 5 has 2 values where the header has 5 columns"),
        (
            "\n".join(f"{k},{line}" if k else f",{line}" for k, line in enumerate(CSV.splitlines())),
            "Column 1 has no name in the header, but row 2 has '1' there",
        ),
        (CSV.replace("1e6", "１０"), "row 2, column params: must be a positive number, not '１０'"),
        (CSV.replace("3.5", "٣"), "row 2, column loss: '٣' is neither a number nor empty"),
        (CSV.replace("3.5", "3\0"), "row 2, column loss"),
        (
            CSV.replace("loss", "loss,note").replace("25", "25,a\0b").replace(".5", ".5,"),
            "row 3, column note: 'a\\x00b' has a NUL",
        ),
        (CSV.replace("loss", "loss,no\0te"), "name has a NUL character"),
        (CSV.replace(",", ";").replace("3.5", "1,234.5"), "row 2, column loss: '1,234.5' is neither"),
        ("\n".join([HEADER, '"' + "x" * 200_000]), "is not CSV"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_row(text: str, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_table(text.encode())

    assert says in refused.value.detail


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (CSV.encode("utf-16"), "is UTF-16 text, not UTF-8; save it as UTF-8"),
        (CSV.encode("utf-16-le"), "is UTF-16 text"),
        (CSV.encode("utf-16-be"), "is UTF-16 text"),
        (CSV.encode("utf-32"), "is UTF-32 text"),
        (
            f"{CSV}é".encode("latin-1"),
            "line 4 has the byte 0xE9, as in Latin-1 or Windows-1252; save it as UTF-8",
        ),
    ],
)
def test_other_encodings_are_refused_by_name(data: bytes, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_table(data)

    assert says in refused.value.detail


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_blank_lines_are_bounded_before_they_are_read(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(separated_values, "MOST_LINES", 10)

    with pytest.raises(BadInput, match="has 13 lines; at most 10"):
        read_table((CSV + 10 * "\n").replace("\n", end).encode())


@pytest.mark.parametrize(("row", "line"), [(101 * ",", 2), (40 * 'a,"\n",', 19)])
def test_a_row_is_bounded_however_many_lines_it_has(
    monkeypatch: pytest.MonkeyPatch, row: str, line: int
) -> None:
    monkeypatch.setattr(separated_values, "LONGEST_ROW", 100)

    with pytest.raises(BadInput, match=f"The row at line {line} of the table has more than 100 characters"):
        read_table(f"{HEADER}\n{row}\n".encode())


def test_a_row_of_another_length_is_refused_before_the_next_is_read() -> None:
    rows = [HEADER, "1," * 10, 'unread,"' + "x" * 200_000]

    with pytest.raises(BadInput, match="Row 2 has 11 values where the header has 5 columns"):
        read_table("\n".join(rows).encode())


def test_a_line_of_separators_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []

    def reader(lines: Iterable[str], *, delimiter: str) -> Iterator[list[str]]:
        return iter(csv.reader((parsed.append(line) or line for line in lines), delimiter=delimiter))

    monkeypatch.setattr(separated_values, "csv", SimpleNamespace(reader=reader, Error=csv.Error))

    assert numbers(CSV.replace("\n", "\n, , ,,\t,\r\n").encode()) == numbers(CSV.encode())
    assert {line for line in parsed if line.startswith(",")} == set()


def test_every_bad_value_counts_and_the_first_are_listed() -> None:
    rows = ["0,1e8,1024,1e-3,3.5"] * 2000 + ["1e6,1e8,1024,1e-3,bad"]

    with pytest.raises(BadInput, match=r"row 2, column params.*\(1998 more\)") as refused:
        read_table("\n".join([HEADER, *rows]).encode())

    assert [problem.path for problem in refused.value.fields] == [
        f"row {row}, column params" for row in range(2, 22)
    ]
