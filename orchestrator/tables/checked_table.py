"""A run table as it is written, in blocks of rows, checked into columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.states import RunState
from orchestrator.tables.column_names import check_names, read_names
from orchestrator.tables.run_table import (
    AMOUNTS,
    MOST_PROBLEMS,
    NOT_POSITIVE,
    NUMBERS,
    REQUIRED,
    Array,
    RunTable,
    bad_cell,
    positive,
    states_in_words,
)
from orchestrator.tables.state_words import ENDED, STATE_WORDS, STATES
from orchestrator.tables.text_columns import (
    TextColumn,
    is_missing,
    is_number,
    numbers,
    text_column,
)

MOST_ROWS: Final = 1_000_000

INFINITE_LOSS: Final = 1e300
"""A loss from here on diverged: some trackers store infinity as the largest number that they have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableBlock:
    """Consecutive rows of a table as it is written.

    Attributes:
        rows: number of each row in messages, as an editor of the file counts.
        columns: the cells of each column without surrounding blanks, in the order of the table's names; a missing
            value is "".
    """

    rows: Sequence[int]
    columns: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTable:
    """A table as it is written, unchecked: its columns and its rows."""

    names: Sequence[str]
    blocks: Iterable[TableBlock]


def checked_table(written: WrittenTable) -> RunTable:
    """Check a run table, block by block.

    Raises:
        BadInput: a missing column, no rows, more columns or rows than allowed, a value that
            is not a positive number, a word that is no state, or a NUL character; with its row and column.
    """
    names = read_names(written.names)
    check_names(names)
    columns = _CheckedColumns(names)
    for block in written.blocks:
        columns.add(block)
    renamed = {name: read for name, read in zip(written.names, names, strict=True) if name != read}
    return replace(columns.table(), renamed=renamed)


class _CheckedColumns:
    """The columns of a table, added block by block."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._numbers: dict[str, list[Array]] = {name: [] for name in REQUIRED}
        self._texts: dict[str, list[TextColumn]] = {name: [] for name in names if name not in REQUIRED}
        self._failed: list[NDArray[np.bool_]] = []
        self._rows: list[NDArray[np.int32]] = []
        self._size = 0
        self._left_out: Counter[RunState] = Counter()
        self._problems = _Problems()

    def add(self, block: TableBlock) -> None:
        """Add the rows of a block.

        Raises:
            BadInput: there are more than ``MOST_ROWS``.
        """
        self._size += len(block.rows)
        if self._size > MOST_ROWS:
            raise BadInput(f"The table has more than {MOST_ROWS} rows; take fewer, or split it.")
        rows, cells = block.rows, dict(zip(self._names, block.columns, strict=True))
        words = cells.get("state", ("",) * len(rows))
        states = self._states(rows, words)
        if not ENDED.issuperset(states.values()):
            ended = [states[word] in ENDED for word in words]
            self._left_out.update(states[word] for word in words if states[word] not in ENDED)
            rows, words = list(compress(rows, ended)), list(compress(words, ended))
            cells = {name: list(compress(column, ended)) for name, column in cells.items()}
        self._rows.append(np.array(rows, dtype=np.int32))
        self._failed.append(_in_state(RunState.FAILED, words, states))
        for name in NUMBERS:
            self._numbers[name].append(self._positive(name, rows, cells[name]))
        completed = _in_state(RunState.COMPLETED, words, states)
        self._numbers["loss"].append(np.where(completed, self._losses(rows, cells["loss"]), np.nan))
        for name, parts in self._texts.items():
            parts.append(self._column(name, rows, cells[name]))

    def table(self) -> RunTable:
        """The table of all blocks.

        Raises:
            BadInput: a value is bad, or no row has a result.
        """
        self._problems.refuse()
        left_out = {state.value: rows for state, rows in self._left_out.items()}
        if not self._size:
            raise BadInput("The table has a header but no rows: a run table needs at least one run.")
        if self._size == self._left_out.total():
            raise BadInput(f"No run of the table has ended: {states_in_words(left_out)}.")
        columns: dict[str, Any] = {name: _joined(parts) for name, parts in self._numbers.items()}
        return RunTable(
            **columns,
            failed=_joined(self._failed),
            rows=_joined(self._rows),
            texts={name: _joined(parts) for name, parts in self._texts.items()},
            left_out=left_out,
        )

    def _states(self, rows: Sequence[int], words: Sequence[str]) -> dict[str, RunState]:
        """The states by the words that a block has for them."""
        states = {word: STATES.get(word.lower()) for word in set(words)}
        if None in states.values():
            wrong = [i for i, word in enumerate(words) if states[word] is None]
            self._problems.add("state", rows, words, wrong, NO_STATE)
        return {word: state or RunState.COMPLETED for word, state in states.items()}

    def _positive(self, name: str, rows: Sequence[int], cells: Sequence[str]) -> Array:
        values = numbers(cells, amounts=name in AMOUNTS)
        self._problems.add(name, rows, cells, np.flatnonzero(~positive(values)).tolist(), NOT_POSITIVE)
        return values

    def _losses(self, rows: Sequence[int], cells: Sequence[str]) -> Array:
        """Losses; NaN where there is none, or one as large as infinity."""
        values = numbers(cells)
        blank = np.flatnonzero(np.isnan(values)).tolist()
        no_number = [i for i in blank if not (is_missing(cells[i]) or is_number(cells[i]))]
        self._problems.add("loss", rows, cells, no_number, "{} is neither a number nor empty")
        negative = np.flatnonzero(np.isfinite(values) & (values <= 0)).tolist()
        self._problems.add("loss", rows, cells, negative, NOT_POSITIVE)
        return np.where(np.abs(values) < INFINITE_LOSS, values, np.nan)

    def _column(self, name: str, rows: Sequence[int], cells: Sequence[str]) -> TextColumn:
        if "\0" in "".join(cells):
            wrong = [i for i, cell in enumerate(cells) if "\0" in cell]
            self._problems.add(name, rows, cells, wrong, "{} has a NUL character")
        return text_column(cells)


NO_STATE: Final = f"{{}} is no state of a run; it may be {', '.join(word for words in STATE_WORDS.values() for word in words)}"


def _in_state(state: RunState, words: Sequence[str], states: Mapping[str, RunState]) -> NDArray[np.bool_]:
    """Whether each row is in a state."""
    found = {word: known is state for word, known in states.items()}
    return np.fromiter(map(found.__getitem__, words), dtype=np.bool_, count=len(words))


class _Problems:
    """Bad values by column: the first ones, and how many there are."""

    def __init__(self) -> None:
        self._first: dict[str, list[FieldProblem]] = {name: [] for name in REQUIRED}
        self._count = 0

    def add(
        self, column: str, rows: Sequence[int], cells: Sequence[str], wrong: Sequence[int], message: str
    ) -> None:
        """Add the cells at the places ``wrong``; a message has ``{}`` for the cell."""
        self._count += len(wrong)
        first = self._first.setdefault(column, [])
        first += [bad_cell(rows[i], column, cells[i], message) for i in wrong[: MOST_PROBLEMS - len(first)]]

    def refuse(self) -> None:
        """Refuse the table if it has bad values.

        Raises:
            BadInput: with the first ones by column, the required columns first.
        """
        if not self._count:
            return
        problems = [problem for first in self._first.values() for problem in first]
        shown = "; ".join(f"{p.path}: {p.message}" for p in problems[:3])
        more = f" ({self._count - 3} more)" if self._count > 3 else ""
        raise BadInput(f"The table has bad values. {shown}{more}.", fields=tuple(problems[:MOST_PROBLEMS]))


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """The parts of a column as one; they are given up, so that memory holds one column twice at most."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole
