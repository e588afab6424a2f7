"""A law, in short and whole."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from orchestrator.documents.document import Document
from orchestrator.documents.predictions import PredictionDocument, TargetDocument


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


class ExponentDocument(Document):
    """An exponent of ln η* and its standard error."""

    value: float
    sd: float
    from_prior: bool


class SizeLaw(Document):
    """What a law is where N is this count of parameters."""

    size: str = Field(examples=["params_active"])
    params: ExponentDocument | None = Field(description="Exponent of N; null where there is no such law.")
    tokens: ExponentDocument | None = Field(description="Exponent of D.")
    mean_excess_loss: float | None = Field(description="Held out, on average; 0.001 is 0.1 %.")
    reason: str | None = Field(description="Why there is no held-out error, or no such law.")


class PairedSizes(Document):
    """What the law in the other count gains over the one in use, cell by cell."""

    cells: int
    gain: float = Field(description="Mean excess loss of the law in use minus that of the other.")
    gain_sd: float | None = Field(description="Its standard error; null with one cell.")


class SizesDocument(Document):
    """The law of a mixture of experts in total and in active parameters."""

    used: str = Field(examples=["params_active"], description="The count that is N.")
    proportional: bool = Field(description="Whether both counts give one law, up to a factor.")
    laws: list[SizeLaw]
    paired: PairedSizes | None
    better: str | None = Field(description="The count that predicts better by more than chance, if one does.")
    summary: str


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
    sizes: SizesDocument | None = Field(
        default=None,
        description="The law in either count of parameters; null where every parameter is active.",
    )


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
