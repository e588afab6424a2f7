"""Run tables: finished runs as columns, filtered to one recipe and grouped into cells."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.law import Observations
from orchestrator.law.grouped_runs import beginnings, medians, numbered
from orchestrator.tables.picking import PYTHON, ignoring, picking
from orchestrator.tables.recipes import RecipeColumns, recipe_columns
from orchestrator.tables.state_words import STATES
from orchestrator.tables.text_columns import (
    TextColumn,
    did_you_mean,
    different,
    listed,
    number,
    numbers,
    shown,
)
from orchestrator.tables.trunk_column import trunk_labels, trunk_problems

NUMBERS: Final = ("params", "tokens", "batch_tokens", "learning_rate")
REQUIRED: Final = (*NUMBERS, "loss")
OTHER_SIZES: Final = ("params_total", "params_active")
"""Other counts of a model's parameters, where experts make them differ."""
AMOUNTS: Final = frozenset({"params", "tokens", "batch_tokens", *OTHER_SIZES})
"""Columns in which ``125M`` is a number."""
OPTIONAL: Final = ("seed", "state", *OTHER_SIZES, "flops", "gpu_seconds", "batch", "trunk")
"""Columns that say nothing of the recipe; ``batch`` numbers a sweep's batches of runs in an export, and runs with one
``trunk`` are branches of it."""
OF_RUNS: Final = frozenset(
    {"id", "sweep_id", "cell", "attempt", "trunk_loss", "diverged_tokens", "seconds", "reason", "excluded"}
    | {"created_at", "started_at", "ended_at"}
)
"""Further columns of Etalon's own runs that say nothing of the recipe."""
MOST_PROBLEMS: Final = 20
NOT_POSITIVE: Final = "must be a positive number, not {}"

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunTable:
    """Runs as columns, in the order of the file; a diverged or failed run has the loss NaN.

    Attributes:
        params, tokens, batch_tokens, learning_rate: positive and finite, [rows].
        loss: in the table's own unit, NaN where the run did not complete, [rows].
        failed: whether the run ended for another reason than its rate, [rows].
        texts: every other column as it was written, [rows] each.
        rows: number of each row in messages, [rows].
        left_out: number of rows without a result that the file holds besides these, by state.
        renamed: the columns that are read under another name than the file's: that name by the file's.
    """

    params: Array
    tokens: Array
    batch_tokens: Array
    learning_rate: Array
    loss: Array
    failed: NDArray[np.bool_]
    texts: Mapping[str, TextColumn]
    rows: NDArray[np.int32]
    left_out: Mapping[str, int]
    renamed: Mapping[str, str] = field(default_factory=dict)

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

    def recipe_columns(self) -> RecipeColumns:
        """The text columns with several values: those of recipes, and those that name runs or are dates."""
        apart = OF_RUNS.union(OPTIONAL)
        texts = {name: column for name, column in self.texts.items() if name not in apart}
        return recipe_columns(texts, self.points, self.learning_rate)

    def where(self, conditions: Mapping[str, str]) -> RunTable:
        """The rows in which every named column has the given value; numbers compare as numbers.

        Raises:
            BadInput: the table has no such column, or the column no such value.
        """
        kept = np.ones(len(self), dtype=bool)
        for written, value in conditions.items():
            name = self._column(written)
            matches = self._matches(name, str(value))
            if not matches.any():
                known = self._values(name)
                raise BadInput(
                    f"No row has {name} = {listed([value])[0]}{did_you_mean(value, known)}. "
                    f"The column takes: {', '.join(listed(known))}."
                )
            kept &= matches
        if not kept.any():
            wanted = listed([f"{name} = {value}" for name, value in conditions.items()])
            raise BadInput(f"No row meets all of: {', '.join(wanted)}.")
        rows = np.flatnonzero(kept)
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in (*REQUIRED, "failed", "rows")},
            texts={name: column[rows] for name, column in self.texts.items()},
        )

    def one_recipe(
        self, conditions: Mapping[str, str], ignore: Collection[str] = (), option: str = PYTHON
    ) -> RunTable:
        """The rows that meet ``conditions``, which must be of one recipe.

        Args:
            conditions: as for ``where``.
            ignore: columns that are left out: not of the recipe.
            option: the option that picks rows, for messages (``orchestrator.tables.picking``).

        Raises:
            BadInput: as ``where``; a column to ignore is required or not there; or several recipes remain, which the
                message lists; or the column ``trunk`` contradicts itself.
        """
        table = (self.where(conditions) if conditions else self)._without(ignore)
        for name, values in table.recipe_columns().recipes.items():
            choice = ", ".join(value or "(blank: an empty value)" for value in listed(values))
            states = " If it holds the states of the runs, name it state." if _all_states(values) else ""
            raise BadInput(
                f"The table mixes {len(values)} values of {name}: {choice}. A law is of one recipe: pick one with "
                f"{picking(option, name)}, or if {name} does not matter {ignoring(option, name)}.{states}",
                fields=(FieldProblem(path=f"where.{name}", message=f"one of: {choice}"),),
            )
        table._check_trunks(option)
        return table

    def _check_trunks(self, option: str) -> None:
        """Refuse trunks whose rows contradict each other; failed runs say nothing."""
        if "trunk" not in self.texts:
            return
        kept = np.flatnonzero(~self.failed)
        numbers = {name: getattr(self, name)[kept] for name in REQUIRED}
        numbers["seed"] = np.nan_to_num(self.numbers("seed"))[kept]
        problems = list(trunk_problems(self.texts["trunk"][kept], numbers, self.rows[kept]))
        if problems:
            first = "; ".join(f"{p.path}: {p.message}" for p in problems[:3])
            more = f" ({len(problems) - 3} more)" if len(problems) > 3 else ""
            raise BadInput(
                f"The column trunk contradicts itself. {first}{more}. Leave it empty for a run of its own, or "
                f"{ignoring(option, 'trunk')}.",
                fields=tuple(problems[:MOST_PROBLEMS]),
            )

    def _without(self, columns: Collection[str]) -> RunTable:
        ignored = [self._column(name) for name in columns]
        for name in ignored:
            if name in REQUIRED:
                raise BadInput(f"The column {name} cannot be ignored: every run table needs it.")
        return replace(
            self, texts={name: column for name, column in self.texts.items() if name not in ignored}
        )

    def has_column(self, name: str) -> bool:
        """Whether the table has a column of this name, as it is written or as it is read."""
        return name in REQUIRED or name in self.texts or name in self.renamed

    def _column(self, name: str) -> str:
        """The name under which a column is read.

        Raises:
            BadInput: the table has no such column.
        """
        if not self.has_column(name):
            columns = [*REQUIRED, *self.texts]
            meant = did_you_mean(name, columns)
            raise BadInput(
                f"The table has no column {shown(name)}{meant}; it has: {', '.join(listed(columns))}."
            )
        return self.renamed.get(name, name)

    @property
    def sizes(self) -> tuple[str, ...]:
        """The columns that can be N: ``params``, and those of ``OTHER_SIZES`` that every row fills."""
        return (
            "params",
            *(name for name in OTHER_SIZES if name in self.texts and positive(self.numbers(name)).all()),
        )

    def sized(self, size: str) -> RunTable:
        """The same runs with another count of parameters as N.

        Raises:
            BadInput: the table has no such count, or a row has no positive number there.
        """
        if size == "params":
            return self
        if size not in OTHER_SIZES or size not in self.texts:
            raise BadInput.at(
                "size", f"N cannot be {shown(size)}; in this table it can be: {', '.join(self.sizes)}"
            )
        params = self.numbers(size)
        wrong = np.flatnonzero(~positive(params))[:MOST_PROBLEMS]
        cells = self.texts[size]
        problems = [bad_cell(int(self.rows[row]), size, str(cells[row]), NOT_POSITIVE) for row in wrong]
        if problems:
            first = "; ".join(f"{p.path}: {p.message}" for p in problems[:3])
            raise BadInput(f"N cannot be {size}. {first}.", fields=tuple(problems))
        return replace(self, params=params)

    def numbers(self, name: str) -> Array:
        """A further column as numbers, NaN where there is none, [rows]; all NaN without the column."""
        if name not in self.texts:
            return np.full(len(self), np.nan)
        return numbers(self.texts[name].tolist(), amounts=name in AMOUNTS)

    def observations(self) -> Observations:
        """The columns that a law is fitted to, with machine failures apart from divergence."""
        return Observations(
            **{name: getattr(self, name) for name in REQUIRED},
            seed=np.nan_to_num(self.numbers("seed")),
            failed=self.failed,
            params_active=self.sized("params_active").params if "params_active" in self.sizes else None,
            trunk=trunk_labels(self.texts["trunk"]) if "trunk" in self.texts else None,
        )

    def _matches(self, name: str, value: str) -> NDArray[np.bool_]:
        if name in REQUIRED:
            return np.asarray(getattr(self, name) == number(value, amounts=name in AMOUNTS))
        column, matches = self.texts[name], np.zeros(len(self), dtype=bool)
        for text in different(column):
            if _same(text, value):
                matches |= column == text
        return matches

    def _values(self, name: str) -> list[str]:
        """The different values of a column."""
        if name in REQUIRED:
            return [f"{value:.10g}" for value in np.unique(getattr(self, name)).tolist()]
        return sorted(different(self.texts[name]))


def positive(values: Array) -> NDArray[np.bool_]:
    """Whether each number is positive and finite."""
    return np.asarray(np.isfinite(values) & (values > 0))


def bad_cell(row: int, column: str, cell: str, message: str) -> FieldProblem:
    """The problem of a cell; a message has ``{}`` for what is written there."""
    return FieldProblem(path=f"row {row}, column {column}", message=message.format(shown(cell)))


def states_in_words(rows: Mapping[str, int]) -> str:
    """Numbers of rows by state: ``2 running, 1 pruned``."""
    return ", ".join(f"{count} {state}" for state, count in rows.items())


def _all_states(values: Iterable[str]) -> bool:
    return all(value.lower() in STATES for value in values)


def _same(text: str, value: str) -> bool:
    if text == value or (text.lower() == value.lower() and value.lower() in {"true", "false"}):
        return True
    return math.isfinite(number(text)) and number(text) == number(value)
