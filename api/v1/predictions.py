"""The answer: the learning rate at any target."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.access import reads
from api.context import Stored
from api.problems import responses
from api.v1.laws import MOST_LAWS
from api.v1.queries import Flops, Size, ThatSweep
from orchestrator.answers.laws import why_no_law
from orchestrator.answers.prediction import prediction
from orchestrator.documents.predictions import PredictionDocument
from orchestrator.errors import Unsupported
from orchestrator.knowledge import default_batch, observations_of
from orchestrator.law import Law, Point
from orchestrator.store import Store
from orchestrator.store.records import LawRecord, Sweep

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
        Query(description="B, tokens per step; by default that of the sweep's target, or the largest known."),
    ] = None,
    law: Annotated[
        int | None, Query(ge=1, le=MOST_LAWS, description="Number of the law to ask; by default the newest.")
    ] = None,
    budget_flops: Annotated[
        Flops | None,
        Query(
            description="FLOPs that may be spent on confirming; where a run at the target costs more, "
            "`confirmation.affordable` says what to run instead."
        ),
    ] = None,
) -> PredictionDocument:
    """Predict the learning rate with its interval, or refuse (409) where the data cannot tell within ×/÷ 3."""
    record = _law(store, sweep, law)
    fitted = Law.from_document(dict(record.document))
    batch = batch_tokens or default_batch(sweep.spec, (bowl.batch_tokens for bowl in fitted.bowls))
    target = Point(params=params, tokens=tokens, batch_tokens=batch)
    return prediction(
        fitted,
        target,
        sweep_id=sweep.id,
        law_number=record.number,
        runs=(lambda: observations_of(store, sweep)) if law is None else None,
        budget_flops=budget_flops,
        spec=sweep.spec,
    )


def _law(store: Store, sweep: Sweep, number: int | None) -> LawRecord:
    if number is not None:
        return store.laws.get(sweep.id, number)
    record = store.laws.latest(sweep.id)
    if record is None:
        reason = why_no_law(store, sweep.id) or f"It is {sweep.state} and no run has finished."
        raise Unsupported(f"Sweep {sweep.id} has no law yet. {reason}")
    return record
