"""A sweep, in a list and whole."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import Field

from api.documents.document import EXAMPLE_ID, Document
from api.documents.laws import LawSummary
from api.documents.predictions import PredictionDocument, prediction_of, why_no_law
from orchestrator.spec import SweepSpec, TargetSpec
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import LawRecord, Sweep


class Progress(Document):
    """How far a sweep is."""

    runs_total_known: int = Field(description="Runs asked for and rates ruled out so far.")
    runs_by_state: dict[RunState, int]
    batches: int = Field(description="Batches of runs asked for so far.")


class Cost(Document):
    """What a sweep has cost, beside what its full grid would."""

    spent_flops: float
    full_grid_flops: float = Field(description="Every rate in every cell as an independent run, 6·N·D each.")
    saved_fraction: float | None = Field(
        description="1 − spent / full grid, so far; final when the sweep is. Null without a grid."
    )
    seconds: float = Field(description="Wall seconds of all runs together.")

    @classmethod
    def of(cls, store: Store, sweep: Sweep) -> Self:
        """What ``sweep`` has spent up to now."""
        spent, full = store.sweeps.spent_flops(sweep.id), sweep.full_grid_flops
        return cls(
            spent_flops=spent,
            full_grid_flops=full,
            saved_fraction=1.0 - spent / full if full else None,
            seconds=store.sweeps.seconds(sweep.id),
        )


class SweepSummary(Document):
    """A sweep in a list."""

    id: str = Field(examples=[EXAMPLE_ID])
    name: str
    state: SweepState
    reason: str | None = Field(description="Why it stopped, failed or completed.")
    target: TargetSpec | None = Field(description="As submitted.")
    progress: Progress
    cost: Cost
    law_number: int | None
    prediction: PredictionDocument | None = Field(description="At its target, by its newest law.")
    prediction_refused: str | None = Field(description="Why there is no prediction.")
    submitted_by: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, store: Store, sweep: Sweep) -> Self:
        """The summary of a stored sweep as it is now."""
        return cls.model_validate(_sweep_fields(store, sweep, _newest_law(store, sweep)))


class SweepDocument(SweepSummary):
    """A sweep."""

    spec: SweepSpec = Field(description="As submitted, defaults filled in.")
    law: LawSummary | None = Field(description="The newest law; its bowls are at /laws/{number}.")

    @classmethod
    def of(cls, store: Store, sweep: Sweep) -> Self:
        """The whole of a stored sweep as it is now."""
        law = _newest_law(store, sweep)
        fields = _sweep_fields(store, sweep, law)
        return cls.model_validate(fields | {"spec": sweep.spec, "law": LawSummary.of(law) if law else None})


def _newest_law(store: Store, sweep: Sweep) -> LawRecord | None:
    return None if sweep.law_number is None else store.laws.latest(sweep.id)


def _sweep_fields(store: Store, sweep: Sweep, law: LawRecord | None) -> dict[str, Any]:
    by_state = store.sweeps.progress(sweep.id)
    no_law = why_no_law(store, sweep.id) if law is None else None
    prediction, refused = prediction_of(law, no_law=no_law)
    return {
        "id": sweep.id,
        "name": sweep.name,
        "state": sweep.state,
        "reason": sweep.reason,
        "target": sweep.spec.target,
        "progress": Progress(
            runs_total_known=sum(by_state.values()),
            runs_by_state={state: by_state.get(state, 0) for state in RunState},
            batches=sweep.batches,
        ),
        "cost": Cost.of(store, sweep),
        "law_number": law.number if law else None,
        "prediction": prediction,
        "prediction_refused": refused,
        "submitted_by": sweep.submitted_by,
        "created_at": sweep.created_at,
        "updated_at": sweep.updated_at,
    }
