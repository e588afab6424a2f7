"""A law, in short and whole."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import ConfigDict, Field

from api.documents.document import Document
from api.documents.predictions import PredictionDocument, TargetDocument, prediction_of
from orchestrator.store.records import LawRecord


class Coefficient(Document):
    """One term of ln η* at the law's reference point."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(examples=["ln N"])
    value: float
    sd: float
    prior_sd: float | None = None
    from_prior: bool = Field(description="Whether the runs hardly moved it: it is the documented prior's.")


class RuledOut(Document):
    """A rate that a law dropped, and why."""

    cell: int
    learning_rate: float
    reason: str


class LawSummary(Document):
    """A law in short."""

    number: int
    batch: int = Field(description="The batch of runs after which it was fitted.")
    runs: int = Field(description="Runs that it was fitted to.")
    spent_flops: float
    created_at: datetime
    coefficients: list[Coefficient]
    noise: float = Field(description="Standard deviation of ln loss between equal runs.")
    warnings: list[str]

    @classmethod
    def of(cls, law: LawRecord) -> Self:
        """The summary of a stored law."""
        return cls.model_validate(_law_fields(law))


class LawDocument(LawSummary):
    """A law whole: immutable, numbered per sweep from 1."""

    sweep_id: str
    covariance: list[list[float]] = Field(description="Of the coefficients, in their order.")
    reference: TargetDocument = Field(description="Where the logarithms of N, D and B count from.")
    range: dict[str, list[float]] = Field(description="Smallest and largest (N, D, B) among the runs.")
    bowls: list[dict[str, Any]] = Field(description="Each cell's bowl, with its interval and status.")
    heldout: dict[str, Any] | None = Field(
        description="Excess loss at the largest cells when the law is fitted without them; null with one size and horizon."
    )
    fingerprint: str = Field(description="sha256 of the runs and options it was fitted with.")
    ruled_out: list[RuledOut]
    prediction: PredictionDocument | None = Field(description="At the sweep's target.")
    prediction_refused: str | None = Field(description="Why there is no prediction.")

    @classmethod
    def of(cls, law: LawRecord) -> Self:
        """The whole of a stored law."""
        prediction, refused = prediction_of(law.prediction)
        return cls.model_validate(
            _law_fields(law)
            | {
                "sweep_id": law.sweep_id,
                "ruled_out": [dict(item) for item in law.ruled_out],
                "prediction": prediction,
                "prediction_refused": refused,
            }
        )


def _law_fields(law: LawRecord) -> dict[str, Any]:
    return dict(law.document) | {
        "number": law.number,
        "batch": law.batch,
        "runs": law.runs,
        "spent_flops": law.spent_flops,
        "created_at": law.created_at,
    }
