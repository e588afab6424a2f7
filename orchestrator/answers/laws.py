"""Laws, and what they predict at a sweep's target: the documents of what the store keeps."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from orchestrator.answers.formula import formula
from orchestrator.answers.prediction import prediction
from orchestrator.documents.events import LawEvent
from orchestrator.documents.laws import LawDocument
from orchestrator.documents.predictions import PredictionDocument, RefusalDocument, TargetAnswer
from orchestrator.errors import Refused
from orchestrator.knowledge import observations_of
from orchestrator.law import Law, OutdatedLaw
from orchestrator.store import Store
from orchestrator.store.records import LawRecord, Sweep

NO_LAW: Final = "No law has been fitted yet."


def law_document(law: LawRecord) -> LawDocument:
    """The whole document of a stored law."""
    prediction, refused = answer_at_target(law.prediction)
    return LawDocument.of(
        law, law.document, prediction=prediction, prediction_refused=refused, formula=_formula(law)
    )


def _formula(law: LawRecord) -> str | None:
    with suppress(OutdatedLaw):
        return str(formula(Law.from_document(law.document)))
    return None


def answer_at_target(
    answer: TargetAnswer | None, *, no_law: str | None = None
) -> tuple[PredictionDocument | None, str | None]:
    """The prediction that a law was stored with, or the reason why there is none.

    Args:
        answer: ``prediction`` of the law, or None without a law.
        no_law: the reason why there is no law.
    """
    if answer is None:
        return None, no_law or NO_LAW
    return (None, answer.detail) if isinstance(answer, RefusalDocument) else (answer, None)


def predicted(
    store: Store,
    sweep: Sweep,
    *,
    params: float,
    tokens: float,
    batch_tokens: float | None = None,
    law_number: int | None = None,
    budget_flops: float | None = None,
) -> PredictionDocument:
    """Predict the learning rate at a target by a law of a sweep.

    Args:
        store: where the law and its runs are.
        sweep: the sweep.
        params: N of the target.
        tokens: D.
        batch_tokens: B; None takes the best batch there.
        law_number: which law; None takes the newest.
        budget_flops: FLOPs that may be spent on confirming; None for no limit.

    Raises:
        NotFound: there is no law of this number.
        OutdatedLaw: another version of Etalon fitted the law.
        Refused: there is no law yet, or the data do not determine the rate there within ×/÷ 3.
    """
    record = store.laws.latest(sweep.id) if law_number is None else store.laws.get(sweep.id, law_number)
    if record is None:
        reason = why_no_law(store, sweep.id) or f"It is {sweep.state} and no run has finished."
        raise Refused(f"Sweep {sweep.id} has no law yet. {reason}")
    law = Law.from_document(record.document)
    return prediction(
        law,
        law.completed(params=params, tokens=tokens, batch_tokens=batch_tokens),
        sweep_id=sweep.id,
        law_number=record.number,
        runs=(lambda: observations_of(store, sweep)) if law_number is None else None,
        budget_flops=budget_flops,
        spec=sweep.spec,
        planned={cell.params for cell in store.sweeps.cells(sweep.id).searched},
    )


def why_no_law(store: Store, sweep_id: str) -> str | None:
    """The reason of the newest refused fit; None before the first."""
    event = store.events.latest(sweep_id, LawEvent)
    return None if event is None else event.detail
