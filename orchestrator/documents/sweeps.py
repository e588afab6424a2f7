"""Sweeps: in short, as lists have them, and whole."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from orchestrator.documents.document import EXAMPLE_ID, Document
from orchestrator.documents.laws import LawSummary
from orchestrator.documents.notices import NoticedDocument
from orchestrator.documents.predictions import PredictionDocument
from orchestrator.documents.trainers import RegistrationDocument
from orchestrator.spec import SweepSpec, TargetSpec
from orchestrator.states import RunState, SweepState


class Progress(Document):
    """The progress of a sweep."""

    runs_total_known: int = Field(
        description="Runs asked for so far, those of a comparison included, and rates ruled out."
    )
    runs_by_state: dict[RunState, int]
    under_way: int = Field(
        default=0,
        description="Trainings that are running now: all horizons of one trunk are one, and are running in `runs_by_state`.",
    )
    batches: int = Field(description="Batches of runs asked for so far.")
    grid_rates: int = Field(description="Rates of the grid, each seed counted; 0 without a grid.")
    comparison_runs: int = Field(description="Runs of a comparison at a held-out scale, beside the grid.")


class Cost(Document):
    """The cost of a sweep so far, and of its full grid."""

    spent_flops: float = Field(
        description="FLOPs of the search's runs that ended; those of killed runs are not measured."
    )
    comparison_flops: float = Field(
        description="FLOPs of the runs of the comparison at a held-out scale; not part of `spent_flops`."
    )
    full_grid_flops: float = Field(description="Every rate in every cell as an independent run, 6·N·D each.")
    saved_fraction: float | None = Field(
        description="1 − spent / full grid so far; final once the sweep is. Null without a grid, before the first run "
        "has ended, and for a sweep that is queued, failed or cancelled."
    )
    seconds: float | None = Field(
        description="Wall seconds of all runs together; null where none was measured."
    )


class SweepSummary(Document):
    """A sweep in a list."""

    id: str = Field(examples=[EXAMPLE_ID])
    name: str
    state: SweepState
    reason: str | None = Field(description="The reason for its end.")
    target: TargetSpec | None = Field(description="As submitted or changed since.")
    progress: Progress
    cost: Cost
    law_number: int | None
    prediction: PredictionDocument | None = Field(description="At its target, by the newest law.")
    prediction_refused: str | None = Field(description="The reason for no prediction.")
    submitted_by: str | None
    revision: int = Field(description="Of its specification; a PATCH makes the next one. If-Match takes it.")
    created_at: datetime
    updated_at: datetime


class SweepDocument(SweepSummary, NoticedDocument):
    """A sweep."""

    waits_because: str | None = Field(
        description="The reason why none of its runs can start now, and for how long none could: the Ray cluster is too "
        "small, other sweeps have its workers, or the first runs of a program must prove it; of a paused sweep, what goes "
        "on to its end. Null otherwise."
    )
    registration: RegistrationDocument | None = Field(
        default=None, description="Of the program that carries out its runs; null for other trainers."
    )
    warnings: list[str] = Field(
        default=[],
        description="What its runs have told; in the answer to its submission, also what its tables pool and its trainer lacks.",
    )
    spec: SweepSpec = Field(description="As submitted or changed since, defaults filled in.")
    law: LawSummary | None = Field(description="The newest law; its bowls are at /laws/{number}.")
