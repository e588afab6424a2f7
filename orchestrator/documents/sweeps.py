"""A sweep, in a list and whole."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from orchestrator.documents.document import EXAMPLE_ID, Document
from orchestrator.documents.laws import LawSummary
from orchestrator.documents.predictions import PredictionDocument
from orchestrator.spec import SweepSpec, TargetSpec
from orchestrator.states import RunState, SweepState


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
