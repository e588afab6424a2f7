"""Figures: drawn on the server, shown alike everywhere."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from api.access import reads
from api.context import Stored
from api.figures import FIGURES, figure
from api.figures.selection import MOST_PANELS, CellSelection
from api.problem_details import responses
from api.v1.queries import Size, ThatSweep
from orchestrator.answers.stable_phase import Phase

router = APIRouter(prefix="/v1/sweeps/{sweep_id}/figures", tags=["figures"], dependencies=[reads])

MOST_PAGES: Final = 10_000

Columns = Annotated[
    int | None,
    Query(
        ge=1, le=12, description="Panels side by side: 1 for a telephone; by default the figure's own number."
    ),
]
OnlyParams = Annotated[Size | None, Query(description="Bowls only: cells of this N.")]
OnlyBatch = Annotated[Size | None, Query(description="Bowls only: cells of this B.")]
Page = Annotated[
    int | None,
    Query(
        ge=1,
        le=MOST_PAGES,
        description=f"Bowls only: this page of {MOST_PANELS} cells; by default at most that many, evenly spaced.",
    ),
]


ThatPhase = Annotated[
    Phase,
    Query(
        description="Bowls and law only: `stable` draws the losses before the decay, for comparison. 409 where the runs "
        "have no stable phase."
    ),
]


@router.get(
    "/{name}",
    summary="A figure as Plotly JSON",
    description="Draw a figure of the sweep as it is now. Names and titles: "
    + "; ".join(f"`{entry.name}`, {entry.title}" for entry in FIGURES.values())
    + ".",
    responses=responses(404, 409, 422),
    response_model=dict[str, Any],
)
def show_figure(
    store: Stored,
    sweep: ThatSweep,
    name: str,
    columns: Columns = None,
    params: OnlyParams = None,
    batch_tokens: OnlyBatch = None,
    page: Page = None,
    phase: ThatPhase = Phase.ANNEALED,
) -> JSONResponse:
    """Draw a figure of the sweep as it is now."""
    selection = CellSelection(params=params, batch_tokens=batch_tokens, page=page)
    drawn = figure(store, sweep.id, name, columns=columns, selection=selection, phase=phase)
    return JSONResponse(drawn)
