"""Formats of run tables: how each is recognised and read into columns of texts."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import BadInput
from orchestrator.tables.run_table import RunTable, check_names, checked_table, limited


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A table as it is written, unchecked.

    Attributes:
        texts: every column without surrounding blanks, [rows] each; a missing value is "".
        first_row: number of the first row in messages, as an editor of the file counts.
    """

    texts: Mapping[str, tuple[str, ...]]
    first_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFormat:
    """One format of run tables.

    Attributes:
        name: the format and its encoding, for the documentation.
        media_types: types under which the service accepts it, the preferred one first.
        example: a short table, for the documentation.
        begins: whether the content of a file looks like this format.
        columns: reads a file; raises ``BadInput`` if it is not of this format.
    """

    name: str
    media_types: tuple[str, ...]
    example: str
    begins: Callable[[bytes], bool]
    columns: Callable[[bytes], Columns]


def read_table(data: bytes) -> RunTable:
    """Read and check a run table in the first of ``FORMATS`` that its content looks like.

    Raises:
        BadInput: not of that format, a missing or repeated column, no rows, more columns or rows than allowed, a row of
            the wrong length, or a value that is not a positive number; with its row and column.
    """
    columns = next(known for known in FORMATS if known.begins(data)).columns(data)
    return checked_table(columns.texts, columns.first_row)


def _utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"The table is not UTF-8 text: byte {error.start} cannot be read.") from error


def _csv(data: bytes) -> Columns:
    """Read CSV; the header is row 1, and blank rows are skipped."""
    reader = csv.reader(io.StringIO(_utf8(data), newline=""))
    filled = (row for row in reader if any(cell.strip() for cell in row))
    try:
        header = [name.strip() for name in next(filled, [])]
        check_names(header)
        rows = limited(_full(filled, len(header)))
    except csv.Error as error:
        raise BadInput(f"The table is not CSV: {error}, at line {reader.line_num}.") from error
    texts = {name: tuple(row[i].strip() for row in rows) for i, name in enumerate(header)}
    return Columns(texts=texts, first_row=2)


def _full(rows: Iterable[list[str]], columns: int) -> Iterator[list[str]]:
    """The rows below the header, each checked to have as many values as the header."""
    for number, row in enumerate(rows, start=2):
        if len(row) != columns:
            raise BadInput(f"Row {number} has {len(row)} values where the header has {columns} columns.")
        yield row


FORMATS: Final = (
    TableFormat(
        name="CSV, UTF-8",
        media_types=("text/csv", "application/csv"),
        example="params,tokens,batch_tokens,learning_rate,loss\r\n1e7,2e8,65536,1e-3,3.91\r\n",
        begins=lambda _: True,
        columns=_csv,
    ),
)
"""Every format, the most recognisable first; CSV is last because any content can be CSV."""
