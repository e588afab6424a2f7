"""Parameters that several resources share: pages, numbers in a range, ids in a path."""

from __future__ import annotations

import math
from typing import Annotated, TypeVar

from fastapi import Depends, Query
from pydantic import AfterValidator, WithJsonSchema

from api.context import Stored
from orchestrator.errors import NotFound
from orchestrator.store.identity import ID_PATTERN
from orchestrator.store.records import Run, Sweep

Number = TypeVar("Number", int, float)


def between(low: Number, high: Number) -> AfterValidator:
    """A check that names the whole range allowed, not only the bound that was passed."""

    def check(value: Number) -> Number:
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"must be from {low:g} to {high:g}")
        return value

    return AfterValidator(check)


def in_schema(kind: str, low: float, high: float) -> WithJsonSchema:
    """The same range for the OpenAPI document."""
    return WithJsonSchema({"type": kind, "minimum": low, "maximum": high})


MOST_ITEMS, MOST_POINTS, LARGEST = 500, 10_000, 1e18

Limit = Annotated[
    int,
    between(1, MOST_ITEMS),
    in_schema("integer", 1, MOST_ITEMS),
    Query(description="Most items of a page."),
]
Cursor = Annotated[
    str | None,
    Query(max_length=200, description="`next_cursor` of the page before; leave it out for the first."),
]
MaxPoints = Annotated[
    int,
    between(2, MOST_POINTS),
    in_schema("integer", 2, MOST_POINTS),
    Query(description="Most points; the curve is downsampled on the server, its first and last points kept."),
]
MOST_FLOPS = 6 * LARGEST**2
"""What a run of the largest size and horizon costs."""
Size = Annotated[float, between(1.0, LARGEST), in_schema("number", 1, LARGEST)]

Flops = Annotated[float, between(1.0, MOST_FLOPS), in_schema("number", 1, MOST_FLOPS)]


def sweep_of(sweep_id: str, store: Stored) -> Sweep:
    """The sweep of the path.

    Raises:
        NotFound: there is none.
    """
    _check_id("sweep", sweep_id)
    return store.sweeps.get(sweep_id)


def run_of(run_id: str, store: Stored) -> Run:
    """The run of the path.

    Raises:
        NotFound: there is none.
    """
    _check_id("run", run_id)
    return store.runs.get(run_id)


def _check_id(noun: str, text: str) -> None:
    if not ID_PATTERN.fullmatch(text):
        raise NotFound(f"There is no {noun} {text!r}: an id has 32 characters, 0 to 9 and a to f.")


ThatSweep = Annotated[Sweep, Depends(sweep_of)]
ThatRun = Annotated[Run, Depends(run_of)]
