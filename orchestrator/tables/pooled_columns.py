"""Columns of numbers that a law pools although they may be part of the recipe: weight decay, warmup, other sizes."""

from __future__ import annotations

import math
import re
from typing import Final

import numpy as np

from orchestrator.law.grouped_runs import clustered, numbered
from orchestrator.law.observations import Array, Index
from orchestrator.tables.run_table import OF_RUNS, OPTIONAL, OTHER_SIZES, RunTable
from orchestrator.tables.text_columns import TextColumn, different, is_missing, is_number, number

FEW_VALUES: Final = 8
"""Values within one cell that count as few."""

REPEATS: Final = 2
"""Least number of runs, or rates, per value within a cell for few values to be settings, not measurements."""

MANY_REPEATS: Final = 4
"""Least number of runs per value in all cells together for any number of values to be settings."""

SETTINGS: Final = re.compile(
    r"weight_?decay|(^|_)wd(_|$)|beta_?[0-9]|momentum|(^|_)eps(_|$)|epsilon|warm_?up|dropout|clip|init_|smoothing|z_loss"
)
"""Names of settings, whatever their values."""

MEASUREMENTS: Final = re.compile(
    r"(?<!z_)loss|perplexity|(^|_)ppl|bpb|accura|(^|_)acc(_|$)|score|norm(_|$)|entropy|time|second|minute|hour|duration"
    r"|epoch|(^|_)steps?(_|$)|throughput|per_sec|mfu|flops|memory|seed|rank|(^|_)(id|index|row)(_|$)"
)
"""Names of what a run measures, or is told apart by, whatever the values."""


def pooled(table: RunTable) -> dict[str, tuple[str, ...]]:
    """The columns of numbers that hold settings that vary within one (N, D, B), each with those values, ascending.

    A setting is known by its name, or by values that runs have in common.

    Args:
        table: runs of one recipe; only rows with a loss count.

    Returns:
        By column, the values of the cell that has most of them. Left out are seeds and measurements, columns that follow
        the learning rate alone, and columns that are constant within every cell, such as a width.
    """
    kept = np.flatnonzero(np.isfinite(table.loss))
    if not len(kept):
        return {}
    cell = numbered(np.log(table.points[kept]))[0]
    x = np.log(table.learning_rate[kept])
    most = int(cell.max()) + 1 + len(cell) // REPEATS
    found = {}
    for name, column in table.texts.items():
        if name in OF_RUNS.union(OPTIONAL) - {*OTHER_SIZES}:
            continue
        is_setting = SETTINGS.search(name.lower()) is not None
        if not is_setting and MEASUREMENTS.search(name.lower()):
            continue
        numbers = _as_numbers(column[kept], len(column) if is_setting else most)
        values = () if numbers is None else _settings(cell, x, numbers, is_setting=is_setting)
        if values:
            found[name] = tuple(f"{value:.10g}" for value in values)
    return found


AXES: Final = ("params", "tokens", "batch_tokens")


def confounded(table: RunTable) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The settings, known by their names, that are constant within each (N, D, B) but not over the table.

    Args:
        table: runs of one recipe; only rows with a loss count.

    Returns:
        By column, its values, ascending, and the axes that it follows: each value of such an axis has one value of it.
    """
    kept = np.flatnonzero(np.isfinite(table.loss))
    logs = np.log(table.points[kept])
    found = {}
    for name, column in table.texts.items():
        if SETTINGS.search(name.lower()) is None:
            continue
        numbers = _as_numbers(column[kept], len(column))
        if numbers is None:
            continue
        known = np.isfinite(numbers)
        values, code = np.unique(numbers[known], return_inverse=True)
        if len(values) < 2 or _most_per_group(numbered(logs[known])[0], code) > 1:
            continue
        follows = tuple(
            axis
            for axis, column_of in zip(AXES, logs[known].T, strict=True)
            if _most_per_group(clustered(column_of), code) == 1
        )
        found[name] = tuple(f"{value:.10g}" for value in values.tolist()), follows
    return found


def _most_per_group(group: Index, code: Index) -> int:
    """The largest number of different codes of one group."""
    return int(np.bincount(_distinct(group, code)[:, 0]).max())


def _as_numbers(column: TextColumn, most: int) -> Array | None:
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


def _settings(cell: Index, x: Array, numbers: Array, *, is_setting: bool) -> tuple[float, ...]:
    """The values of the cell that has most of them if they are settings, else none.

    Args:
        cell: of each row, [rows].
        x: ln η of each row, [rows].
        numbers: values of the column, NaN where missing, [rows].
        is_setting: whether the column's name says that they are settings.
    """
    known = np.isfinite(numbers)
    if not known.any():
        return ()
    cell, x, numbers = cell[known], x[known], numbers[known]
    values, code = np.unique(numbers, return_inverse=True)
    in_cell = _distinct(cell, code)
    held = np.bincount(in_cell[:, 0], minlength=int(cell.max()) + 1)
    several = held > 1
    if not several.any() or _follow_rate(x, code, numbers):
        return ()
    if not is_setting and not _repeat(cell, clustered(x), code, held):
        return ()
    return tuple(values[in_cell[in_cell[:, 0] == held.argmax(), 1]].tolist())


def _follow_rate(x: Array, code: Index, numbers: Array) -> bool:
    """Whether values depend on the learning rate alone: nearly each rate has its own, or all are one multiple of it."""
    rate = clustered(x)
    rates, values = rate.max() + 1, code.max() + 1
    if rates < len(rate) and len(_distinct(rate, code)) == rates < REPEATS * values:
        return True
    return bool((numbers > 0).all() and np.ptp(np.log(numbers) - x) < 1e-3)


def _repeat(cell: Index, rate: Index, code: Index, held: Index) -> bool:
    """Whether values repeat as settings do: a few of them within the cells, or any number in all cells together."""
    several = held > 1
    inside = several[cell]
    if MANY_REPEATS * len(np.unique(code[inside])) <= inside.sum():
        return True
    rates = _distinct(cell, rate)
    follows_rate = len(_distinct(cell, rate, code)) == len(rates)
    chances = rates[:, 0] if follows_rate else cell
    return bool(held.max() <= FEW_VALUES and REPEATS * held[several].sum() <= several[chances].sum())


def _distinct(*columns: Index) -> Index:
    """The distinct rows of some columns of integers, sorted."""
    rows = np.column_stack(columns)[np.lexsort(columns[::-1])]
    fresh = np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])[: len(rows)]
    return np.asarray(rows[fresh])
