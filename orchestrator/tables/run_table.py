"""Run tables: finished runs as columns; checking them and filtering them to one recipe."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.law import Observations
from orchestrator.law.grouped_runs import beginnings, medians, numbered
from orchestrator.states import RunState

NUMBERS: Final = ("params", "tokens", "batch_tokens", "learning_rate")
REQUIRED: Final = (*NUMBERS, "loss")
OTHER_SIZES: Final = ("params_total", "params_active")
"""Other counts of a model's parameters, where experts make them differ."""
OPTIONAL: Final = ("seed", "state", *OTHER_SIZES, "flops", "gpu_seconds")
STATES: Final = tuple(state.value for state in RunState)
MACHINE_FAILURES: Final = frozenset({"failed", "cancelled"})
"""States of runs that ended for reasons other than their learning rate."""
MOST_PROBLEMS: Final = 20
MOST_COLUMNS: Final = 200
MOST_ROWS: Final = 1_000_000
MOST_SHOWN: Final = 50
"""Most values of a column that a message lists."""

LONGEST_SHOWN: Final = 100
"""Most characters of a value that a message repeats."""

Array = NDArray[np.float64]
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunTable:
    """Runs as columns, in the order of the file; a diverged or failed run has the loss NaN.

    Attributes:
        params, tokens, batch_tokens, learning_rate: positive and finite, [rows].
        loss: in the table's own unit, NaN where the run did not complete, [rows].
        texts: every column as it was written, [rows] each; the required ones included.
        first_row: number of the first row in messages.
    """

    params: Array
    tokens: Array
    batch_tokens: Array
    learning_rate: Array
    loss: Array
    texts: Mapping[str, tuple[str, ...]]
    first_row: int

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def points(self) -> Array:
        """N, D and B of each row, shape [rows, 3]."""
        return np.column_stack([self.params, self.tokens, self.batch_tokens])

    @property
    def cells(self) -> int:
        """Number of different (N, D, B), as a law counts them."""
        return len(numbered(np.log(self.points))[1])

    def grouped(self) -> RunTable:
        """The same runs, in which numbers that a law regards as equal are equal: the medians of each cell and rate.

        Tokens counted in each run, and rounded rates, differ by less than a thousandth.
        """
        cell, _ = numbered(np.log(self.points))
        params, tokens, batch_tokens = (medians(cell, column)[cell] for column in self.points.T)
        x = np.log(self.learning_rate)
        order = np.lexsort((x, cell))
        rate = np.empty(len(self), dtype=np.int64)
        rate[order] = np.cumsum(beginnings(x[order], np.diff(cell[order]) != 0)) - 1
        rates = medians(rate, self.learning_rate)[rate]
        return replace(self, params=params, tokens=tokens, batch_tokens=batch_tokens, learning_rate=rates)

    def recipes(self) -> dict[str, tuple[str, ...]]:
        """The text columns with several values, and these values: more than one recipe if there are any.

        Columns of numbers or of true/false are measurements, and a text that differs in every row names the run. Rows
        with a blank text column are a recipe apart, with the value "".
        """
        found = {}
        for name, column in self.texts.items():
            if name in REQUIRED or name in OPTIONAL:
                continue
            rows = Counter(column)
            blank = rows.pop("", 0)
            names_the_run = len(rows) == len(column) - blank > 1
            if len(rows) + bool(blank) > 1 and not names_the_run and not all(map(_is_measurement, rows)):
                found[name] = tuple(sorted({*rows, ""} if blank else rows))
        return found

    def listed_recipes(self) -> dict[str, list[str]]:
        """As ``recipes``, but of very many values only the first, and how many more there are."""
        return {name: _listed(values) for name, values in self.recipes().items()}

    def where(self, conditions: Mapping[str, str]) -> RunTable:
        """The rows in which every named column has the given value; numbers compare as numbers.

        Raises:
            BadInput: the table has no such column, or the column no such value.
        """
        kept = np.ones(len(self), dtype=bool)
        for name, value in conditions.items():
            if name not in self.texts:
                raise BadInput(
                    f"The table has no column {_shown(name)}; it has: {', '.join(_listed(list(self.texts)))}."
                )
            matches = np.array([_same(text, str(value)) for text in self.texts[name]])
            if not matches.any():
                values = ", ".join(_listed(sorted(set(self.texts[name]))))
                raise BadInput(f"No row has {name} = {_listed([value])[0]}. The column takes: {values}.")
            kept &= matches
        if not kept.any():
            wanted = _listed([f"{name} = {value}" for name, value in conditions.items()])
            raise BadInput(f"No row meets all of: {', '.join(wanted)}.")
        rows = np.flatnonzero(kept)
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in REQUIRED},
            texts={name: tuple(column[row] for row in rows) for name, column in self.texts.items()},
        )

    def one_recipe(self, conditions: Mapping[str, str]) -> RunTable:
        """The rows that meet ``conditions``, which must be of one recipe.

        Raises:
            BadInput: as ``where``, or several recipes remain, which the message lists.
        """
        table = self.where(conditions) if conditions else self
        for name, values in table.recipes().items():
            listed = ", ".join(value or "(blank)" for value in _listed(values))
            raise BadInput(
                f"The table mixes {len(values)} values of {name}: {listed}. "
                f"A law is of one recipe: pick one with where {name}=….",
                fields=(FieldProblem(path=f"where.{name}", message=f"one of: {listed}"),),
            )
        return table

    @property
    def sizes(self) -> tuple[str, ...]:
        """The columns that can be N: ``params``, and those of ``OTHER_SIZES`` that every row fills."""
        return ("params", *(name for name in OTHER_SIZES if name in self.texts and not self._unfit(name)))

    def sized(self, size: str) -> RunTable:
        """The same runs with another count of parameters as N.

        Raises:
            BadInput: the table has no such count, or a row has no positive number there.
        """
        if size == "params":
            return self
        if size not in OTHER_SIZES or size not in self.texts:
            raise BadInput(f"N cannot be {_shown(size)}; in this table it can be: {', '.join(self.sizes)}.")
        problems = self._unfit(size)
        if problems:
            shown = "; ".join(f"{p.path}: {p.message}" for p in problems[:3])
            raise BadInput(f"N cannot be {size}. {shown}.", fields=tuple(problems[:MOST_PROBLEMS]))
        return replace(self, params=np.array([_float(text) for text in self.texts[size]]))

    def _unfit(self, name: str) -> list[FieldProblem]:
        """A problem for every row in which a column is not a positive number."""
        return _positive(name, self.texts[name], self.first_row)[1]

    def observations(self) -> Observations:
        """The columns that a law is fitted to, with machine failures apart from divergence."""
        states = self.texts.get("state", ("",) * len(self))
        return Observations(
            **{name: getattr(self, name) for name in REQUIRED},
            failed=np.array([state.lower() in MACHINE_FAILURES for state in states]),
            params_active=self.sized("params_active").params if "params_active" in self.sizes else None,
        )


def checked_table(texts: Mapping[str, tuple[str, ...]], first_row: int) -> RunTable:
    """Check the columns of a run table.

    Args:
        texts: every column as it is written, [rows] each.
        first_row: number of the first row in messages.

    Raises:
        BadInput: a missing column, no rows, more columns or rows than ``MOST_COLUMNS`` and ``MOST_ROWS``, or a value
            that is not a positive number; with its row and column.
    """
    check_names(list(texts))
    if not limited(texts["loss"]):
        raise BadInput("The table has a header but no rows: a run table needs at least one run.")
    numbers = _positive_columns(texts, first_row)
    _check_states(texts.get("state", ()))
    return RunTable(**numbers, loss=_losses(texts, first_row), texts=texts, first_row=first_row)


def check_names(header: Sequence[str]) -> None:
    """Check the names of a table's columns.

    Raises:
        BadInput: more than ``MOST_COLUMNS``, or a required one is missing, or one is named twice.
    """
    if len(header) > MOST_COLUMNS:
        raise BadInput(f"The table has {len(header)} columns; at most {MOST_COLUMNS} are allowed.")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise BadInput(
            f"The table lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}. "
            f"A run table needs {', '.join(REQUIRED)}; this one has: {', '.join(_listed(header)) or 'nothing'}.",
            fields=tuple(FieldProblem(path=f"column {name}", message="is missing") for name in missing),
        )
    repeated = sorted(name for name, times in Counter(header).items() if times > 1)
    if repeated:
        raise BadInput(f"The table names a column twice: {', '.join(_listed(repeated))}.")


def limited(rows: Iterable[Row]) -> list[Row]:
    """The rows of a table, or the values of a column, refused once there are more than ``MOST_ROWS``.

    Raises:
        BadInput: there are more.
    """
    kept: list[Row] = []
    for row in rows:
        if len(kept) == MOST_ROWS:
            raise BadInput(f"The table has more than {MOST_ROWS} rows; take fewer, or split it.")
        kept.append(row)
    return kept


def _positive_columns(texts: Mapping[str, tuple[str, ...]], first_row: int) -> dict[str, Array]:
    columns: dict[str, Array] = {}
    problems: list[FieldProblem] = []
    for name in NUMBERS:
        columns[name], found = _positive(name, texts[name], first_row)
        problems += found
    if problems:
        shown = "; ".join(f"{p.path}: {p.message}" for p in problems[:3])
        more = f" ({len(problems) - 3} more)" if len(problems) > 3 else ""
        raise BadInput(f"The table has bad values. {shown}{more}.", fields=tuple(problems[:MOST_PROBLEMS]))
    return columns


def _check_states(states: Sequence[str]) -> None:
    """Refuse a column without any state of a run: no row would count as completed."""
    if states and not any(state.lower() in {*STATES, ""} for state in states):
        found = ", ".join(_listed(sorted(set(states))))
        raise BadInput(
            f"The column state takes: {found}. None of these is a state of a run, so no row would count as completed; "
            f"the states are: {', '.join(STATES)}. Write completed, or nothing, where a run finished.",
            fields=(FieldProblem(path="column state", message=f"one of: {', '.join(STATES)}"),),
        )


def _positive(name: str, texts: Sequence[str], first_row: int) -> tuple[Array, list[FieldProblem]]:
    """A column as numbers, and a problem for every value that is not a positive number."""
    values = np.array([_float(text) for text in texts])
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0))).tolist()
    return values, [
        FieldProblem(
            path=f"row {first_row + row}, column {name}",
            message=f"must be a positive number, not {_shown(texts[row])}",
        )
        for row in wrong
    ]


def _losses(texts: Mapping[str, tuple[str, ...]], first_row: int) -> Array:
    """Losses as numbers; NaN where the run diverged or failed.

    Raises:
        BadInput: a text that is not a number, or a loss that is not positive.
    """
    losses = []
    states = texts.get("state", ("completed",) * len(texts["loss"]))
    for row, (text, state) in enumerate(zip(texts["loss"], states, strict=True), start=first_row):
        value = _float(text) if text else math.nan
        if text and math.isnan(value) and text.lower() not in {"nan", "-nan", "na", "null", "none"}:
            raise BadInput(f"Row {row}, column loss: {_shown(text)} is neither a number nor empty.")
        if value <= 0 and math.isfinite(value):
            raise BadInput(f"Row {row}, column loss: must be a positive number, not {_shown(text)}.")
        completed = state.lower() in {"completed", ""}
        losses.append(value if completed and math.isfinite(value) else math.nan)
    return np.array(losses)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_measurement(value: str) -> bool:
    return value.lower() in {"true", "false"} or not math.isnan(_float(value)) or value.lower() == "nan"


def _same(text: str, value: str) -> bool:
    if text == value or (text.lower() == value.lower() and value.lower() in {"true", "false"}):
        return True
    return math.isfinite(_float(text)) and _float(text) == _float(value)


def _listed(values: Sequence[str]) -> list[str]:
    shown = [
        value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…" for value in values[:MOST_SHOWN]
    ]
    return shown if len(values) <= MOST_SHOWN else [*shown, f"… and {len(values) - MOST_SHOWN} more"]


def _shown(value: str) -> str:
    return repr(value) if len(value) <= LONGEST_SHOWN else repr(value[:LONGEST_SHOWN]) + "…"
