"""Both paradigms, Fitting and Transfer, at a sweep's held-out scale."""

from __future__ import annotations

from fastapi import APIRouter

from api.access import reads
from api.context import Stored
from api.problem_details import responses
from api.v1.queries import ThatSweep
from orchestrator.documents.comparisons import ComparisonDocument
from orchestrator.heldout.stages import comparison_document

router = APIRouter(prefix="/v1/sweeps/{sweep_id}", tags=["sweeps"], dependencies=[reads])


@router.get(
    "/comparison", summary="Fitting and Transfer at the held-out scale", responses=responses(404, 409)
)
def show_comparison(store: Stored, sweep: ThatSweep) -> ComparisonDocument:
    """Show the contenders with their rates, the excess loss of each, and which paradigm to trust.

    `state` is waiting during the search, then tuning modules, running and complete; or cut short, or not run.
    """
    return comparison_document(store, sweep)
