"""Data frames as run tables: pandas, Polars, PyArrow, or a mapping of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.errors import BadInput
from orchestrator.tables.checked_table import TableBlock, WrittenTable, checked_table
from orchestrator.tables.column_names import check_names, read_names
from orchestrator.tables.run_table import RunTable

EXCLUDED: Final = "excluded"
"""Column of Etalon's own runs with the reason why one is left out of the law; such rows are left out here too."""

_MISSING: Final = frozenset({"None", "nan", "NaN", "NaT", "<NA>"})
"""Missing values as text."""


def table_of(frame: Any) -> RunTable:
    """Check a data frame as a run table; messages count its rows from 0.

    Args:
        frame: a mapping of columns, or anything with ``columns`` or ``column_names`` that gives a column for a name.

    Raises:
        BadInput: no data frame, columns of different lengths, or as for a file.
    """
    names = _names(frame)
    check_names(read_names([str(name) for name in names]))
    columns = {str(name): _texts(str(name), frame[name]) for name in names}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise BadInput(f"The columns of a table have one length; these differ: {listed}.")
    kept = list(range(min(lengths.values())))
    if {"sweep_id", EXCLUDED} <= columns.keys():
        kept = [row for row in kept if not columns[EXCLUDED][row]]
        columns = {name: [column[row] for row in kept] for name, column in columns.items()}
    rows = TableBlock(rows=kept, columns=list(columns.values()))
    return checked_table(WrittenTable(names=list(columns), blocks=[rows]))


def _names(frame: Any) -> list[Any]:
    if isinstance(frame, Mapping):
        return list(frame)
    names = getattr(frame, "column_names", None)  # PyArrow's `columns` are the columns themselves
    if names is None:
        names = getattr(frame, "columns", None)
    if names is None:
        raise BadInput(
            f"A table is the path of a file, a data frame or a mapping of columns, not {type(frame).__name__}."
        )
    return list(names)


def _texts(name: str, column: Any) -> list[str]:
    """The values of a column as text; a missing one is empty."""
    for reader in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, reader):
            column = getattr(column, reader)()
            break
    if isinstance(column, str) or not hasattr(column, "__iter__"):
        raise BadInput(f"Column {name} is a single value; a column has one value for each run.")
    texts = (str(value).strip() for value in column)
    return ["" if text in _MISSING else text for text in texts]
