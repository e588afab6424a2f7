"""Laws, and what they predict at a sweep's target: the documents of what the store keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.documents.events import LawEvent
from orchestrator.documents.laws import LawDocument, LawSummary
from orchestrator.documents.predictions import PredictionDocument, RefusalDocument, read_answer
from orchestrator.store import Store
from orchestrator.store.records import LawRecord


def law_summary(law: LawRecord) -> LawSummary:
    """The short document of a stored law."""
    return LawSummary.model_validate(_fields(law))


def law_document(law: LawRecord) -> LawDocument:
    """The whole document of a stored law."""
    prediction, refused = answer_at_target(law.prediction)
    answer = {"prediction": prediction, "prediction_refused": refused}
    return LawDocument.model_validate(
        _fields(law) | {"sweep_id": law.sweep_id, "ruled_out": law.ruled_out} | answer
    )


def _fields(law: LawRecord) -> dict[str, Any]:
    return dict(law.document) | {
        "number": law.number,
        "batch": law.batch,
        "runs": law.runs,
        "spent_flops": law.spent_flops,
        "created_at": law.created_at,
        "sizes": law.sizes,
    }


def answer_at_target(
    content: Mapping[str, Any] | None, *, no_law: str | None = None
) -> tuple[PredictionDocument | None, str | None]:
    """The prediction that a law was stored with, or the reason why there is none.

    Args:
        content: ``prediction`` of the law, or None without a law.
        no_law: the reason why there is no law.
    """
    if content is None:
        return None, no_law or "No law has been fitted yet."
    answer = read_answer(content)
    return (None, answer.detail) if isinstance(answer, RefusalDocument) else (answer, None)


def why_no_law(store: Store, sweep_id: str) -> str | None:
    """The reason of the newest refused fit; None before the first."""
    event = store.events.latest(sweep_id, LawEvent)
    return None if event is None else event.detail
