"""Durations and sizes of files in a registration: ``10m``, ``24h``, ``64MiB``."""

from __future__ import annotations

import math
import re
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_BYTES: Final = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1_000**power for power, prefix in enumerate("kMGT", 1)},
    **{f"{prefix}iB": 1_024**power for power, prefix in enumerate("KMGT", 1)},
}


def _read(value: object, units: dict[str, int], example: str) -> object:
    if isinstance(value, bool):
        raise ValueError(f"must be written like {example}")  # noqa: TRY004 - pydantic reports ValueError
    if not isinstance(value, str):
        return value
    found = _QUANTITY.fullmatch(value.strip())
    if found is None or found[2] not in units:
        raise ValueError(
            f"{value!r} must be written like {example}; units are {', '.join(filter(None, units))}"
        )
    return float(found[1]) * units[found[2]]


def _seconds(value: object) -> object:
    return _read(value, _SECONDS, "90s, 10m or 24h")


def _bytes(value: object) -> object:
    size = _read(value, _BYTES, "64MiB or 2GB")
    return math.ceil(size) if isinstance(size, float) else size


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=366 * 86_400, allow_inf_nan=False)]
"""A duration in seconds, written as a number of them or with a unit."""

Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0, le=10**15)]
"""A size in bytes, written as a number of them or with a unit."""
