"""Separated values (CSV): rows of cells with commas, semicolons or tabs between them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice
from typing import Final

from orchestrator.errors import BadInput
from orchestrator.tables.checked_table import MOST_ROWS, TableBlock, WrittenTable
from orchestrator.tables.column_names import MOST_COLUMNS, read_names
from orchestrator.tables.other_files import refuse_other_files
from orchestrator.tables.run_table import AMOUNTS, REQUIRED
from orchestrator.tables.text_columns import shown

SEPARATORS: Final = (",", ";", "\t")

BLOCK_ROWS: Final = 512
"""Rows read at once: few enough for the processor's cache and Python's garbage collector."""

MOST_LINES: Final = 2 * MOST_ROWS
"""Most lines of a file, blank ones included."""

LONGEST_ROW: Final = 2**20
"""Most characters of a row, whose quoted cells may have several lines."""

_HEADER_BYTES: Final = 2**16
_BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_DECIMAL_COMMA: Final = re.compile(r"[+-]?[0-9]*,[0-9]+(?:e[+-]?[0-9]+)?\s*[kmbgt]?", re.IGNORECASE)
_GROUPED: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")


def read_separated(data: bytes) -> WrittenTable:
    """Read separated values; the first row that is not blank is the header, and blank rows are skipped.

    The header shows the separator. If it is no comma, numbers may have a decimal comma, and a comma groups the
    thousands of a whole amount (``65,536``). Columns without a name are left out if they are blank.

    Raises:
        BadInput: another kind of file, not UTF-8, a single column, or more lines or columns than allowed; the blocks raise it for a row of another length
            than the header, a value without a name, or a row that is too long.
    """
    refuse_other_files(data)
    _check_encoding(data)
    lines = max(data.count(b"\n"), data.count(b"\r"))
    if lines > MOST_LINES:
        raise BadInput(f"The table has {lines} lines; at most {MOST_LINES} are allowed, blank ones included.")
    separator = _separator(data)
    rows = _rows(data, separator)
    number, row = next(((number, row) for number, row in enumerate(rows, start=1) if _filled(row)), (0, []))
    header = [name.strip() for name in row]
    if len(header) > MOST_COLUMNS:
        raise BadInput(f"The table has {len(header)} columns; at most {MOST_COLUMNS} are allowed.")
    if len(header) == 1:
        raise BadInput(
            f"The first line of the table has one column only, {shown(header[0])}: its columns stand between commas, "
            "semicolons or tabs. Is the separator another one, or is the file no table?"
        )
    return WrittenTable(
        names=[name for name in header if name], blocks=_blocks(rows, number + 1, header, separator)
    )


def _check_encoding(data: bytes) -> None:
    """Refuse what is not UTF-8, with the encoding that it seems to have."""
    advice = "save it as UTF-8 (in a spreadsheet: “CSV UTF-8”)"
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)
    if encoding is None and data[:2].count(0) == 1:
        encoding = "UTF-16"
    if encoding is not None:
        raise BadInput(f"The table is {encoding} text, not UTF-8; {advice}.")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"The table is not UTF-8 text: line {line} has the byte 0x{data[error.start]:02X}, as in Latin-1 or "
            f"Windows-1252; {advice}."
        ) from error


def _separator(data: bytes) -> str:
    """The separator with which the header has most of the required columns, or most columns if it has none."""
    lines = data[:_HEADER_BYTES].decode("utf-8-sig", errors="replace").splitlines()
    header = next((line for line in lines if line.strip(" ,;\t")), "")

    def columns(separator: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([header], delimiter=separator))]
        return len({*read_names(names)} & {*REQUIRED}), len(names)

    return max(SEPARATORS, key=columns)


def _rows(data: bytes, separator: str) -> Iterator[list[str]]:
    """The rows of a file; a line of separators alone is an empty row."""
    lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    blank = f"{separator} \t\r\n"
    characters = 0  # of the row that is being read

    def bounded() -> Iterator[str]:
        nonlocal characters
        for number, line in enumerate(lines, start=1):
            is_blank = not characters and not line.strip(blank)
            characters += len(line)
            if characters > LONGEST_ROW:
                raise BadInput(
                    f"The row at line {number} of the table has more than {LONGEST_ROW} characters."
                )
            yield "\n" if is_blank else line

    reader = csv.reader(bounded(), delimiter=separator)
    try:
        for row in reader:
            characters = 0
            yield row
    except csv.Error as error:
        raise BadInput(f"The table is not CSV: {error}, at line {reader.line_num}.") from error


def _filled(row: Iterable[str]) -> bool:
    return any(map(str.strip, row))


def _blocks(
    rows: Iterator[list[str]], first_row: int, header: Sequence[str], separator: str
) -> Iterator[TableBlock]:
    """The rows below the header in blocks, each row checked to have as many cells as the header."""
    named, names = [place for place, name in enumerate(header) if name], read_names(header)
    numbered = _of_length(len(header), rows, first_row)
    while block := list(islice(numbered, BLOCK_ROWS)):
        numbers: Sequence[int] = [number for number, _ in block]
        columns = [list(map(str.strip, column)) for column in zip(*(row for _, row in block), strict=True)]
        if "" in columns[named[0]]:
            filled = list(map(any, zip(*columns, strict=True)))
            numbers, columns = (
                list(compress(numbers, filled)),
                [list(compress(column, filled)) for column in columns],
            )
        if numbers:
            _refuse_nameless(numbers, header, columns)
            yield TableBlock(
                rows=numbers,
                columns=[_with_points(columns[place], names[place], separator) for place in named],
            )


def _of_length(length: int, rows: Iterable[list[str]], first_row: int) -> Iterator[tuple[int, list[str]]]:
    """The rows with as many cells as the header, with their numbers; any other must be blank and is left out."""
    for number, row in enumerate(rows, start=first_row):
        if len(row) == length:
            yield number, row
        elif _filled(row):
            raise BadInput(f"Row {number} has {len(row)} values where the header has {length} columns.")


def _refuse_nameless(rows: Sequence[int], header: Sequence[str], columns: Sequence[Sequence[str]]) -> None:
    for place, (name, column) in enumerate(zip(header, columns, strict=True), start=1):
        if not name and any(column):
            row, cell = next((row, cell) for row, cell in zip(rows, column, strict=True) if cell)
            raise BadInput(
                f"Column {place} has no name in the header, but row {row} has {shown(cell)} there; name it or delete it."
            )


def _with_points(column: list[str], name: str, separator: str) -> list[str]:
    """A column with points for the decimal commas of its numbers, if the separator is no comma."""
    if separator == "," or "," not in "".join(column):
        return column
    return [
        cell.replace(",", ".")
        if _DECIMAL_COMMA.fullmatch(cell) and not (name in AMOUNTS and _GROUPED.fullmatch(cell))
        else cell
        for cell in column
    ]
