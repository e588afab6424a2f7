"""Parameters that resources share: pages, numbers in a range, ids in a path."""

from __future__ import annotations

import math
from typing import Annotated, TypeVar

from fastapi import Depends, Path, Query, Request
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from api.access import Caller, reads
from api.context import Stored
from orchestrator.amounts import as_amount, number
from orchestrator.errors import BadInput, FieldProblem, NotFound
from orchestrator.spec.parsing import MOST_PROBLEMS, MOST_SHOWN
from orchestrator.store.identity import ID_PATTERN
from orchestrator.store.records import Run, Sweep

Number = TypeVar("Number", int, float)


def between(low: Number, high: Number) -> AfterValidator:
    """A validator whose message names the whole range."""

    def check(value: Number) -> Number:
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"must be from {number(low)} to {number(high)}")
        return value

    return AfterValidator(check)


def in_schema(kind: str, low: float, high: float) -> WithJsonSchema:
    """The range of `between` in the OpenAPI document."""
    return WithJsonSchema({"type": kind, "minimum": low, "maximum": high})


MOST_ITEMS, MOST_POINTS, MOST_LINES, LARGEST = 500, 10_000, 10_000, 1e18

Limit = Annotated[
    int,
    between(1, MOST_ITEMS),
    in_schema("integer", 1, MOST_ITEMS),
    Query(description="Items per page, at most."),
]
Cursor = Annotated[
    str | None,
    Query(max_length=200, description="`next_cursor` of the previous page; omit it for the first."),
]
MaxPoints = Annotated[
    int,
    between(2, MOST_POINTS),
    in_schema("integer", 2, MOST_POINTS),
    Query(
        description="Points at most. The server downsamples the curve and keeps its first and last points."
    ),
]
Tail = Annotated[
    int,
    between(1, MOST_LINES),
    in_schema("integer", 1, MOST_LINES),
    Query(description="Lines at most, the last ones of what is kept."),
]
After = Annotated[
    int,
    between(0, int(LARGEST)),
    in_schema("integer", 0, LARGEST),
    Query(description="`end_byte` of an earlier answer: only lines that were printed since."),
]
MOST_FLOPS = 6 * LARGEST**2
"""FLOPs of a run of the largest size and horizon."""
as_written = BeforeValidator(as_amount)
"""Reads ``1.07B`` and ``400k`` as numbers."""

Size = Annotated[float, as_written, between(1.0, LARGEST), in_schema("number", 1, LARGEST)]

Flops = Annotated[float, as_written, between(1.0, MOST_FLOPS), in_schema("number", 1, MOST_FLOPS)]


async def only_known_queries(request: Request, _caller: Annotated[Caller, reads]) -> None:
    """Refuse unknown query parameters: ignoring a misspelt one would silently change the answer.

    Depends on `reads`, so that callers without access learn nothing of the parameters.

    Raises:
        NotSignedIn, NotAllowed: the caller may not read.
        BadInput: naming each unknown parameter and all known ones.
    """
    route = request.scope["route"]
    if not request.query_params or not isinstance(route, APIRoute):
        return
    operation = request.app.openapi()["paths"][route.path_format][request.method.lower()]
    known = sorted(item["name"] for item in operation.get("parameters", ()) if item["in"] == "query")
    unknown = [name[:MOST_SHOWN] for name in request.query_params if name not in known][:MOST_PROBLEMS]
    if not unknown:
        return
    allowed = f"It takes {', '.join(known)}." if known else "This endpoint takes no query parameters."
    names = ", ".join(map(repr, unknown))
    fields = tuple(FieldProblem(path=name, message="unknown query parameter") for name in unknown)
    raise BadInput(f"Unknown query parameter{'s' * (len(unknown) > 1)}: {names}. {allowed}", fields=fields)


SweepName = Annotated[str, Path(description="The sweep's id, or a name that only one sweep has.")]


def sweep_of(sweep_id: SweepName, store: Stored) -> Sweep:
    """The sweep of the path.

    Raises:
        NotFound: there is none.
        Conflict: several have the name.
    """
    return store.sweeps.find(sweep_id)


def run_of(run_id: str, store: Stored) -> Run:
    """The run of the path.

    Raises:
        NotFound: there is none.
    """
    if not ID_PATTERN.fullmatch(run_id):
        raise NotFound(f"There is no run {run_id!r}: an id has 32 characters, 0 to 9 and a to f.")
    return store.runs.get(run_id)


ThatSweep = Annotated[Sweep, Depends(sweep_of)]
ThatRun = Annotated[Run, Depends(run_of)]
