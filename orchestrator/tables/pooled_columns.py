"""Columns of numbers that a law pools although they may be part of the recipe: weight decay, warmup, other sizes."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from orchestrator.law.grouped_runs import clustered, numbered
from orchestrator.law.observations import Array, Index
from orchestrator.tables.run_table import OF_RUNS, OPTIONAL, OTHER_SIZES, RunTable
from orchestrator.tables.text_columns import TextColumn, different, is_missing, is_number, number

MOST_VALUES: Final = 8
"""A column that takes more values within one cell is a measurement."""

REPEATS: Final = 2
"""Least number of runs, or rates, per value within a cell for the values to be settings, not measurements."""


def pooled(table: RunTable) -> dict[str, tuple[str, ...]]:
    """The columns of numbers that take a few values within one (N, D, B), each with those values, ascending.

    Args:
        table: runs of one recipe; only rows with a loss count.

    Returns:
        By column, the values of the cell that has most of them. Left out are seeds, columns that differ in nearly every
        run or follow the learning rate alone, and columns that are constant within every cell, such as a width.
    """
    kept = np.flatnonzero(np.isfinite(table.loss))
    if not len(kept):
        return {}
    cell = numbered(np.log(table.points[kept]))[0]
    rate = clustered(np.log(table.learning_rate[kept]))
    most = int(cell.max()) + 1 + len(cell) // REPEATS
    found = {}
    for name, column in table.texts.items():
        if name in OF_RUNS.union(OPTIONAL) - {*OTHER_SIZES} or "seed" in name.lower():
            continue
        numbers = _few_numbers(column[kept], most)
        values = () if numbers is None else _settings(cell, rate, numbers)
        if values:
            found[name] = tuple(f"{value:.10g}" for value in values)
    return found


def _few_numbers(column: TextColumn, most: int) -> Array | None:
    """A column as numbers, NaN where missing; None if it has text, only one value, or more than ``most`` values."""
    found = {text: number(text) for text in different(column)}
    texts = [
        text
        for text, value in found.items()
        if math.isnan(value) and not (is_number(text) or is_missing(text))
    ]
    if not 1 < len(found) <= most or texts:
        return None
    return np.array([found[text] for text in column.tolist()])


def _settings(cell: Index, rate: Index, numbers: Array) -> tuple[float, ...]:
    """The values of the cell that has most of them if they are settings, else none."""
    known = np.isfinite(numbers)
    if not known.any():
        return ()
    cell, rate, numbers = cell[known], rate[known], numbers[known]
    values, code = np.unique(numbers, return_inverse=True)
    in_cell = _distinct(cell, code)
    held = np.bincount(in_cell[:, 0], minlength=int(cell.max()) + 1)
    several = held > 1
    if not several.any() or held.max() > MOST_VALUES:
        return ()
    rates = _distinct(cell, rate)
    follows_rate = len(_distinct(cell, rate, code)) == len(rates)
    chances = rates[:, 0] if follows_rate else cell
    if REPEATS * held[several].sum() > np.isin(chances, np.flatnonzero(several)).sum():
        return ()
    return tuple(values[in_cell[in_cell[:, 0] == held.argmax(), 1]].tolist())


def _distinct(*columns: Index) -> Index:
    """The distinct rows of some columns of integers, sorted."""
    rows = np.column_stack(columns)[np.lexsort(columns[::-1])]
    fresh = np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])[: len(rows)]
    return np.asarray(rows[fresh])
