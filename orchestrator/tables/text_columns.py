"""Columns of a run table as they are written, and the numbers in them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.amounts import parse_amount

TextColumn = NDArray[Any]  # of np.dtypes.StringDType, which NDArray cannot name
"""One text per row, in UTF-8: 16 bytes each if it is short."""

MISSING: Final = frozenset({"", "na", "n/a", "#n/a", "<na>", "null", "none"})
"""Cells without a value, in lower case."""

MOST_SHOWN: Final = 50
"""Most values of a column that a message lists."""

LONGEST_SHOWN: Final = 100
"""Most characters of a value that a message repeats."""


def text_column(cells: Sequence[str]) -> TextColumn:
    """The cells of a column, one text per row."""
    return np.array(cells, dtype=np.dtypes.StringDType())


def different(column: TextColumn) -> set[str]:
    """The different texts of a column."""
    return set(column.tolist())


def numbers(cells: Collection[str], *, amounts: bool = False) -> NDArray[np.float64]:
    """The cells of a column as numbers; NaN where there is none.

    Args:
        cells: one text per row.
        amounts: whether ``125M`` and ``1,000,000`` are numbers too.
    """
    if "".join(cells).isascii():  # float would read the digits of every script
        with suppress(ValueError):
            found = map(float, cells if all(cells) else [cell or "nan" for cell in cells])
            return np.fromiter(found, dtype=np.float64, count=len(cells))
    known = {cell: number(cell, amounts=amounts) for cell in set(cells)}
    return np.fromiter(map(known.__getitem__, cells), dtype=np.float64, count=len(cells))


def number(text: str, *, amounts: bool = False) -> float:
    """A text as a number; NaN if it is none."""
    if text.isascii():
        with suppress(ValueError):
            return float(text)
    if amounts:
        with suppress(ValueError):
            return parse_amount(text)
    return math.nan


def is_number(text: str) -> bool:
    """Whether a text is a number; NaN is one."""
    return not math.isnan(number(text)) or text.lower().lstrip("+-") == "nan"


def is_missing(text: str) -> bool:
    """Whether a cell has no value."""
    return text.lower() in MISSING


def shown(value: str) -> str:
    """A value in quotes, as a message repeats it."""
    return repr(value) if len(value) <= LONGEST_SHOWN else repr(value[:LONGEST_SHOWN]) + "…"


def did_you_mean(value: str, known: Sequence[str]) -> str:
    """The nearest of the known values, of any case, as a question that ends a clause; empty if none is near."""
    if is_number(value):
        return ""
    spelled = {text.lower(): text for text in reversed(known)}
    near = get_close_matches(value[:LONGEST_SHOWN].lower(), spelled, n=1, cutoff=0.75)
    return f" (did you mean {listed([spelled[near[0]]])[0]}?)" if near else ""


def listed(values: Sequence[str]) -> list[str]:
    """Values as a message lists them: of very many only the first, and how many more there are."""
    short = [
        value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…" for value in values[:MOST_SHOWN]
    ]
    return short if len(values) <= MOST_SHOWN else [*short, f"… and {len(values) - MOST_SHOWN} more"]
