"""The recipes of a run table: which columns of text are part of them, and which describe single runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final

import numpy as np

from orchestrator.law.grouped_runs import clustered, numbered
from orchestrator.law.observations import Array, Index
from orchestrator.tables.text_columns import TextColumn, is_missing, is_number

FEWEST_NAMES: Final = 8
"""Different values from which a column may hold names of runs although some are repeated."""

MOST_RATES: Final = 1.25
"""Learning rates per value and cell, on average, below which values are names: a recipe is run at several rates."""

_DATE: Final = re.compile(
    r"(?P<year>\d{4})(?P<mark>[-/.])(?P<a>\d{1,2})(?P=mark)(?P<b>\d{1,2})(?:[ T,].*)?"
    r"|(?P<c>\d{1,2})(?P<sign>[-/.])(?P<d>\d{1,2})(?P=sign)(?P<last>\d{4})(?:[ T,].*)?",
    re.DOTALL | re.ASCII,
)
"""A year of four digits with a month and a day in either order: `1.0.2` is a version, and part of a recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeColumns:
    """The columns of text with several values.

    Attributes:
        recipes: the values of the columns that may be part of a recipe, ascending; "" where a row has none.
        ignored: the columns that cannot be: dates, and names of runs.
    """

    recipes: Mapping[str, tuple[str, ...]]
    ignored: tuple[str, ...]


def recipe_columns(texts: Mapping[str, TextColumn], points: Array, learning_rate: Array) -> RecipeColumns:
    """Sort the columns of text with several values; numbers and true/false are measurements and are left out.

    A column names the runs if every row has another value, or if it has many and nearly every one stands at a single
    learning rate of a cell.

    Args:
        texts: one text per row, by column.
        points: N, D and B of each row, [rows, 3].
        learning_rate: of each row, [rows].
    """

    @cache
    def places() -> tuple[Index, Index]:
        return numbered(np.log(points))[0], clustered(np.log(learning_rate))

    recipes: dict[str, tuple[str, ...]] = {}
    ignored = []
    for name, column in texts.items():
        values = Counter(column.tolist())
        if len(values) == 1 or all(map(_is_measurement, values)):
            continue
        if all(_is_date(text) or is_missing(text) for text in values) or _names_runs(column, values, places):
            ignored.append(name)
        else:
            recipes[name] = tuple(sorted(values))
    return RecipeColumns(recipes=recipes, ignored=tuple(ignored))


def _names_runs(column: TextColumn, values: Counter[str], places: Callable[[], tuple[Index, Index]]) -> bool:
    names, filled = len(values) - ("" in values), len(column) - values[""]
    if names == filled > 1:
        return True
    if names < FEWEST_NAMES:
        return False
    cell, rate = places()
    if MOST_RATES * names <= rate.max():
        return False
    place = {text: number for number, text in enumerate(values)}
    code = np.fromiter(map(place.__getitem__, column.tolist()), dtype=np.int64, count=len(column))
    kept = code != place.get("", -1)
    in_cell = np.unique(np.column_stack([code, cell])[kept], axis=0)
    at_rate = np.unique(np.column_stack([code, cell, rate])[kept], axis=0)
    return len(at_rate) < MOST_RATES * len(in_cell)


def _is_date(text: str) -> bool:
    with suppress(ValueError):
        datetime.fromisoformat(text)
        return True
    found = _DATE.fullmatch(text)
    if found is None:
        return False
    month, day = sorted(int(found[name]) for name in (("a", "b") if found["year"] else ("c", "d")))
    return 1 <= month <= 12 and day <= 31


def _is_measurement(value: str) -> bool:
    return is_missing(value) or value.lower() in {"true", "false"} or is_number(value)
