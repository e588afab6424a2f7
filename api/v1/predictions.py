"""Predictions: the learning rate at any target."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.access import reads
from api.context import Stored
from api.problem_details import responses
from api.v1.laws import MOST_LAWS
from api.v1.queries import Flops, Size, ThatSweep
from orchestrator.answers.laws import predicted
from orchestrator.documents.predictions import PredictionDocument

router = APIRouter(prefix="/v1/sweeps/{sweep_id}", tags=["predictions"], dependencies=[reads])


@router.get(
    "/prediction", summary="Predict the learning rate at a target", responses=responses(404, 409, 422)
)
def predict(
    store: Stored,
    sweep: ThatSweep,
    params: Annotated[Size, Query(description="N, without embeddings.")],
    tokens: Annotated[Size, Query(description="D, training tokens.")],
    batch_tokens: Annotated[
        Size | None,
        Query(
            description="B, tokens per step; by default the best batch for these params and tokens, which "
            "`target.batch_tokens` names. Where the runs do not show it, `batch.reason` says why."
        ),
    ] = None,
    law: Annotated[
        int | None, Query(ge=1, le=MOST_LAWS, description="Number of the law; by default the newest.")
    ] = None,
    budget_flops: Annotated[
        Flops | None,
        Query(
            description="FLOPs that may be spent on confirming. Where a run at the target costs more, "
            "`confirmation.affordable` names runs in another cell; the runs of `further_size` cost less than this."
        ),
    ] = None,
) -> PredictionDocument:
    """Predict the learning rate with its interval. 409 where the data do not determine it within ×/÷ 3."""
    return predicted(
        store,
        sweep,
        params=params,
        tokens=tokens,
        batch_tokens=batch_tokens,
        law_number=law,
        budget_flops=budget_flops,
    )
