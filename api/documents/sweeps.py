"""A sweep, in a list and whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Self

from pydantic import Field

from api.documents.document import EXAMPLE_ID, Document
from api.documents.laws import LawSummary
from api.documents.predictions import PredictionDocument, prediction_of, why_no_law
from orchestrator.spec import SweepSpec, TargetSpec
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import Sweep, Tally
from orchestrator.submission.capacity import waits_because

NOTHING_SAVED: Final = frozenset({SweepState.QUEUED, SweepState.FAILED, SweepState.CANCELLED})
"""The states of a sweep that did not do what it was asked for: what it left undone is no saving."""

MEASURED: Final = (RunState.COMPLETED, RunState.DIVERGED)


class Progress(Document):
    """How far a sweep is."""

    runs_total_known: int = Field(
        description="Runs asked for, those of a comparison included, and rates ruled out so far."
    )
    runs_by_state: dict[RunState, int]
    batches: int = Field(description="Batches of runs asked for so far.")


class Cost(Document):
    """What a sweep has cost, beside what its full grid would."""

    spent_flops: float = Field(
        description="Of the search's runs that ended; what a killed run had spent is not measured."
    )
    comparison_flops: float = Field(
        description="Of the runs of the comparison at a held-out scale, beside it."
    )
    full_grid_flops: float = Field(description="Every rate in every cell as an independent run, 6·N·D each.")
    saved_fraction: float | None = Field(
        description="1 − spent / full grid, so far; final when the sweep is. Null without a grid, before the first "
        "run has ended, and of a sweep that is queued, failed or cancelled."
    )
    seconds: float | None = Field(
        description="Wall seconds of all runs together; null where none was measured."
    )

    @classmethod
    def of(cls, sweep: Sweep, tally: Tally) -> Self:
        """What ``sweep`` has spent up to now."""
        spent, full = tally.spent_flops, sweep.full_grid_flops
        told = full and sweep.state not in NOTHING_SAVED and any(tally.by_state[state] for state in MEASURED)
        return cls(
            spent_flops=spent,
            comparison_flops=tally.compared_flops,
            full_grid_flops=full,
            saved_fraction=1.0 - spent / full if told else None,
            seconds=tally.seconds,
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
    def of_page(cls, store: Store, sweeps: Sequence[Sweep]) -> list[Self]:
        """The summaries of stored sweeps as they are now, in their order."""
        ids = [sweep.id for sweep in sweeps]
        tallies, predictions = store.sweeps.tallies(ids), store.laws.predictions(ids)
        return [
            cls.model_validate(_sweep_fields(store, sweep, tallies[sweep.id], predictions.get(sweep.id)))
            for sweep in sweeps
        ]


class SweepDocument(SweepSummary):
    """A sweep."""

    waits_because: str | None = Field(
        description="Why none of its runs can start now: the Ray cluster is too small for one. Null otherwise."
    )
    warnings: list[str] = Field(
        default_factory=list, description="What the tables that it names pool; told when it is submitted."
    )
    spec: SweepSpec = Field(description="As submitted, defaults filled in.")
    law: LawSummary | None = Field(description="The newest law; its bowls are at /laws/{number}.")

    @classmethod
    def of(cls, store: Store, sweep: Sweep, warnings: Sequence[str] = ()) -> Self:
        """The whole of a stored sweep as it is now, with the warnings of its submission."""
        law = None if sweep.law_number is None else store.laws.latest(sweep.id)
        tally = store.sweeps.tallies([sweep.id])[sweep.id]
        fields = _sweep_fields(store, sweep, tally, None if law is None else law.prediction)
        own = {
            "waits_because": waits_because(store, sweep),
            "warnings": list(warnings),
            "spec": sweep.spec,
            "law": None if law is None else LawSummary.of(law),
            "law_number": None if law is None else law.number,
        }
        return cls.model_validate(fields | own)


def _sweep_fields(
    store: Store, sweep: Sweep, tally: Tally, answer: Mapping[str, Any] | None
) -> dict[str, Any]:
    no_law = why_no_law(store, sweep.id) if answer is None else None
    prediction, refused = prediction_of(answer, no_law=no_law)
    return {
        "id": sweep.id,
        "name": sweep.name,
        "state": sweep.state,
        "reason": sweep.reason,
        "target": sweep.spec.target,
        "progress": Progress(
            runs_total_known=sum(tally.by_state.values()),
            runs_by_state=dict(tally.by_state),
            batches=sweep.batches,
        ),
        "cost": Cost.of(sweep, tally),
        "law_number": sweep.law_number,
        "prediction": prediction,
        "prediction_refused": refused,
        "submitted_by": sweep.submitted_by,
        "created_at": sweep.created_at,
        "updated_at": sweep.updated_at,
    }
