"""Figures: drawn on the server, shown alike everywhere."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from api.access import reads
from api.context import Stored
from api.figures import figure
from api.problems import responses
from api.v1.queries import ThatSweep

router = APIRouter(prefix="/v1/sweeps/{sweep_id}/figures", tags=["figures"], dependencies=[reads])

Columns = Annotated[
    int | None,
    Query(
        ge=1, le=12, description="Panels side by side: 1 on a telephone; by default what the figure likes."
    ),
]


@router.get(
    "/{name}", summary="A figure as Plotly JSON", responses=responses(404, 422), response_model=dict[str, Any]
)
def show_figure(store: Stored, sweep: ThatSweep, name: str, columns: Columns = None) -> JSONResponse:
    """A figure of the sweep as it is now: bowls, law, coverage, losses, residuals or savings."""
    return JSONResponse(figure(store, sweep.id, name, columns=columns))
