"""Laws: every refit of a sweep."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.access import reads
from api.context import Stored
from api.problem_details import responses
from api.v1.queries import Limit, ThatSweep
from orchestrator.answers.laws import law_document
from orchestrator.documents.document import Page
from orchestrator.documents.laws import LawDocument

router = APIRouter(prefix="/v1/sweeps/{sweep_id}/laws", tags=["laws"], dependencies=[reads])

MOST_LAWS = 2**31 - 1


@router.get("", summary="List a sweep's laws", responses=responses(404, 409, 422))
def list_laws(
    store: Stored,
    sweep: ThatSweep,
    limit: Limit = 50,
    cursor: Annotated[
        int | None, Query(ge=1, le=MOST_LAWS, description="`next_cursor` of the previous page.")
    ] = None,
) -> Page[LawDocument]:
    """List every refit, oldest first: coefficients, covariance, bowls, held-out error, and the rates it ruled out."""
    laws, following, total = store.laws.page(sweep.id, limit=limit, after=cursor or 0)
    return Page(
        items=[law_document(law) for law in laws],
        next_cursor=None if following is None else str(following),
        total=total,
    )


@router.get("/{number}", summary="Show a law", responses=responses(404, 409, 422))
def show_law(
    store: Stored, sweep: ThatSweep, number: Annotated[int, Path(ge=1, le=MOST_LAWS)]
) -> LawDocument:
    """Show one refit."""
    return law_document(store.laws.get(sweep.id, number))
