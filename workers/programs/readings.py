"""What is read from a program, whatever the source: a loss, a position, or both."""

from __future__ import annotations

import math
import re
from typing import Final, Literal, NamedTuple

_SUFFIXES: Final = {"K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}


class Reading(NamedTuple):
    """One loss or position.

    Attributes:
        kind: of the loss; ``position`` for a position alone.
        tokens: position; None if the source gave none.
        loss: may be NaN or infinite; None for a position alone.
        decimals: of the loss's text; None if it was no text.
    """

    kind: Literal["training", "validation", "position"]
    tokens: int | None
    loss: float | None = None
    decimals: int | None = None


def read_loss(value: object) -> float | None:
    """A loss from JSON or text: a number, ``nan``, ``inf`` or None, which is NaN; None for anything else."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return None


def read_count(value: object) -> float | None:
    """A position or count from JSON or text, such as ``1.2M`` or ``1,048,576``; None if it is none.

    Suffixes K, M, G or B, and T are powers of 1,000.
    """
    try:
        if isinstance(value, str):
            return _finite(float(value) if value.isdecimal() else _from_text(value))
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return _finite(float(value))
    except (ValueError, OverflowError):
        return None


def decimals_of(text: str) -> int | None:
    """Digits after the point of a number's text; None if it has no digits.

    In scientific notation the exponent moves the point: ``1.05E+01`` has one decimal, ``3.1e-5`` has six.
    """
    whole, _, part = text.partition(".")
    if part.isdecimal() and whole.isdecimal():
        return len(part)  # nearly all of a million lines
    found = re.fullmatch(r"\s*[-+]?\d*\.?(\d*)(?:[eE]([-+]?\d+))?\s*", text)
    if found is None or not any(map(str.isdigit, text)):
        return None
    digits = len(found[1]) if "." in text else 0
    return max(0, digits - int(found[2] or 0))


def _from_text(text: str) -> float:
    number = text.strip().replace(",", "").replace("_", "")
    factor = _SUFFIXES.get(number[-1:].upper())
    return float(number) if factor is None else float(number[:-1]) * factor


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) and number >= 0 else None
