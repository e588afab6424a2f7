"""Numbers as text (rates as 9.4e-4, sizes as 1.07 B, durations as 3 min 20 s), and text as numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Final, TypeVar

Name = TypeVar("Name", bound=str)

SPACE: Final = "\u00a0"
"""Between a number and its unit, to prevent a line break."""

NONE: Final = "–"
"""Stands for a missing number."""

MOST_PLACES: Final = 3
"""Most decimals that distinguish a percentage from 100 %."""

_SUFFIXES: Final = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_POWERS: Final = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12}
_FRACTIONS: Final = {0.5: "½", 0.25: "¼"}
_UNITS: Final = {"params": "parameters", "tokens": "tokens", "batch_tokens": "tokens a batch"}
_AMOUNT: Final = re.compile(
    r"^(?=\.?[0-9])((?:[0-9]{1,3}(?:[,\s][0-9]{3})+|[0-9]*)(?:\.[0-9]+)?)(?:e([+-]?[0-9]{1,9}))?\s*([kmbgt]?)$",
    re.IGNORECASE,
)


def rate(value: float | None, digits: int = 2) -> str:
    """Format a learning rate with ``digits`` significant digits: ``9.4e-4``, ``1e-3``, ``0.12``."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0 or abs(value) >= 0.1:
        return f"{value:.{digits}g}"
    return _scientific(value, digits)


def count(value: float | None, digits: int = 3) -> str:
    """Format parameters or tokens with a suffix: ``1.07 B``, ``400 k``, ``512``."""
    if value is None or not math.isfinite(value):
        return NONE
    for size, suffix in _SUFFIXES:
        if abs(float(f"{value:.{digits}g}")) >= size:
            return f"{_plain(value / size, digits)}{SPACE}{suffix}"
    return _plain(value, digits)


def sized(name: str, value: float, digits: int = 3) -> str:
    """Write params, tokens or batch_tokens with their unit: ``1 B parameters``, ``256 tokens a batch``."""
    return f"{count(value, digits)}{SPACE}{_UNITS[name]}"


def number(value: float, digits: int = 3) -> str:
    """Format a number without a unit: ``0.95``, ``40.7``, ``4.07e4``."""
    text = f"{value:.{digits}g}"
    return _scientific(value, digits) if "e" in text else text


def exact(value: float) -> str:
    """Format a number so that `parse_amount` returns it unchanged: ``20 B``, but ``262144``."""
    short = count(value, 4)
    return short if parse_amount(short) == value else f"{value:.0f}"


def flops(value: float | None, unit: str = "FLOPs") -> str:
    """Format a number of floating-point operations: ``6.4e15 FLOPs``; ``unit`` may be empty, for a column with a unit."""
    if value is None or not math.isfinite(value):
        return NONE
    mantissa, exponent = f"{value:.1e}".split("e")
    number = f"{mantissa}e{int(exponent)}" if value else "0"
    return f"{number}{SPACE}{unit}" if unit else number


def percent(fraction: float | None, digits: int = 2) -> str:
    """Format a fraction in percent: ``64 %``, ``0.031 %``, with ``digits`` significant digits below 10 %.

    A fraction below 1 is never rounded to 100 %: ``99.98 %``, or ``over 99.999 %`` if it needs more decimals.
    """
    if fraction is None or not math.isfinite(fraction):
        return NONE
    value = 100 * fraction
    if 99 < value < 100:
        return f"{_short_of_all(value)}{SPACE}%"
    return f"{value:.0f}{SPACE}%" if abs(value) >= 10 else f"{_plain(value, digits)}{SPACE}%"


def _short_of_all(value: float) -> str:
    """A percentage between 99 and 100, with enough decimals to differ from 100."""
    for places in range(MOST_PLACES + 1):
        if (text := f"{value:.{places}f}") != f"{100:.{places}f}":
            return text
    return f"over 99.{'9' * MOST_PLACES}"


def loss(value: float | None) -> str:
    """Format a loss with four significant digits: ``2.231``."""
    return NONE if value is None or not math.isfinite(value) else f"{value:#.4g}".rstrip(".")


def factor(value: float | None) -> str:
    """Format the half-width of an interval as a factor: ``×/÷ 1.2``."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"×/÷{SPACE}{_plain(value, 3)}"


def multipliers(values: Mapping[Name, float]) -> str:
    """Write multipliers by name: ``attention ×0.5, embedding ×2``."""
    return ", ".join(f"{name} ×{value:g}" for name, value in values.items())


def times(value: float) -> str:
    """Format a multiple of a rate: ``×2``, ``×½``, ``×1.4``; halves and quarters as fractions."""
    return f"×{_FRACTIONS.get(value) or _plain(value, 2)}"


def duration(seconds: float | None) -> str:
    """Format a duration in its two largest units: ``45 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if 0 < seconds < 9.95:
        return f"{seconds:.1f}{SPACE}s"
    total = round(max(seconds, 0.0))
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    for (size, name), (small, small_name) in pairwise(units):
        if total >= size:
            rest = total % size // small
            tail = f" {rest}{SPACE}{small_name}" if rest else ""
            return f"{total // size}{SPACE}{name}{tail}"
    return f"{total}{SPACE}s"


def age(then: datetime, now: datetime) -> str:
    """Format the time since ``then`` in one unit: ``just now``, ``5 min ago``, ``3 d ago``."""
    seconds = (now - then).total_seconds()
    if seconds < 10:
        return "just now"
    return f"{duration(seconds).split(' ')[0]} ago"


def parse_amount(text: str) -> float:
    """Parse a number: ``1.07 B``, ``20e9``, ``524_288``, ``1,000``, ``400k``.

    Suffixes are decimal: k, M, B or G, T, in either case. A comma groups thousands and is never a decimal point.

    Raises:
        ValueError: it is not a positive finite number; the message shows how to write one.
    """
    found = _AMOUNT.match(re.sub(r"(?<=[0-9])_(?=[0-9])", "", text.strip()))
    value = math.nan
    if found is not None:  # not 1.07 times 1e9, which is 1070000000.0000001
        digits, power = re.sub(r"[,\s]", "", found[1]), int(found[2] or 0) + _POWERS[found[3].lower()]
        value = float(f"{digits}e{power}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{text.strip()!r} is not a positive number; write it like 1e9, 1.07 B or 524288.")
    return value


def as_amount(value: object) -> object:
    """Parse text as an amount; other values, and text that is no amount, are returned unchanged."""
    try:
        return parse_amount(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _scientific(value: float, digits: int) -> str:
    """Significant digits and an exponent, without trailing zeros."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def _plain(value: float, digits: int) -> str:
    """Significant digits without an exponent, and without trailing zeros after the point."""
    rounded = float(f"{value:.{digits}g}")
    if rounded == 0 or abs(rounded) >= 10 ** (digits - 1):
        return f"{rounded:.0f}"
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{decimals}f}".rstrip("0").rstrip(".")


def cells_in_words(cells: int, groups: int) -> str:
    """For people: ``21 cells held out``, and of how many independent groups they are if that is fewer."""
    apart = "" if groups == cells else f" ({groups} independent: horizons of one trunk share its noise)"
    return f"{cells} cells held out{apart}"
