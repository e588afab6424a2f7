"""Laws: in short, and whole with their bowls and held-out error."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from orchestrator.documents.document import Document
from orchestrator.documents.notices import NoticedDocument
from orchestrator.documents.predictions import PredictionDocument, TargetDocument


class CoefficientDocument(Document):
    """One term of ln η* at the law's reference point."""

    name: str = Field(examples=["ln N"])
    value: float
    sd: float
    prior_sd: float | None = None
    from_prior: bool = Field(
        description="Whether it comes from a documented prior: the runs hardly moved it."
    )


class RuledOut(Document):
    """A rate that a law rules out in one cell, with the reason."""

    cell: int
    learning_rate: float
    reason: str


class ExponentDocument(Document):
    """An exponent of ln η* and its standard error."""

    value: float
    sd: float
    from_prior: bool


class SizeLaw(Document):
    """A law whose N is this count of parameters."""

    size: str = Field(examples=["params_active"])
    params: ExponentDocument | None = Field(description="Exponent of N; null where there is no such law.")
    tokens: ExponentDocument | None = Field(description="Exponent of D.")
    mean_excess_loss: float | None = Field(description="Held out, on average; 0.001 is 0.1 %.")
    reason: str | None = Field(description="The reason for no held-out error, or no such law.")


class PairedSizes(Document):
    """The gain of the law in the other count over the one in use, cell by cell."""

    cells: int
    groups: int = Field(description="Independent groups of these cells: those of a group share trunks.")
    gain: float = Field(description="Mean excess loss of the law in use minus that of the other.")
    gain_sd: float | None = Field(description="Its standard error, by groups; null with one group.")


class SizesDocument(Document):
    """The law of a mixture of experts in total and in active parameters."""

    used: str = Field(examples=["params_active"], description="The count that is N.")
    proportional: bool = Field(description="Whether both counts give one law, up to a factor.")
    laws: list[SizeLaw]
    paired: PairedSizes | None
    better: str | None = Field(
        description="The count that predicts better by more than chance; null if neither does."
    )
    summary: str


class BowlDocument(Document):
    """Loss against ln η in one cell."""

    params: float
    tokens: float
    batch_tokens: float
    learning_rate: float = Field(
        description="The rate at the bottom by the cell's own runs; at an edge a bound, not an optimum."
    )
    sd: float = Field(description="Standard deviation of its logarithm.")
    low: float = Field(description="95 % interval of the rate.")
    high: float
    loss: float | None = Field(description="Loss at the bottom; null where no run finished.")
    curvature: float = Field(description="C of ln L = ln L_min + C·g(ln η − ln η*).")
    asymmetry: float = Field(description="How much steeper the bowl is above its bottom than below.")
    noise: float = Field(description="Standard deviation of ln loss between equal runs of this cell.")
    status: str = Field(
        description="interior, edge_low, edge_high, flat or too_few: whether the runs show a minimum, or why not.",
        examples=["interior"],
    )
    runs: int = Field(description="Runs in the cell, diverged ones included.")
    diverged: int = Field(description="Runs without a loss, or with one too far above the best to fit.")
    doubted: int = Field(default=0, description="Runs with an implausibly low loss, which are left out.")
    r2: float | None = Field(
        description="Share of the variance of ln loss explained near the bottom; null with fewer than three runs there."
    )
    law_learning_rate: float = Field(description="The optimum given the runs of all cells.")
    law_sd: float = Field(description="Standard deviation of its logarithm.")


class HeldOutCellDocument(Document):
    """A cell that was left out of a fit, predicted by the law of the others."""

    params: float
    tokens: float
    batch_tokens: float
    learning_rate: float = Field(description="As predicted.")
    low: float = Field(description="95 % interval of the prediction.")
    high: float
    measured: float = Field(description="The rate at the bottom of the cell's own bowl.")
    excess_loss: float = Field(description="Cost of the predicted rate there; 0.001 is 0.1 %.")
    group: int = Field(
        description="Cells of one number share trunks, and so noise; −1 for a cell that shares none."
    )


class AlternativeDocument(Document):
    """A smaller law at the cells held out."""

    name: str = Field(description="How it differs from the full law.")
    mean: float = Field(description="Its mean excess loss.")
    gain: float = Field(description="Mean excess loss of the full law minus its own.")
    gain_sd: float | None = Field(
        description="Standard error of the gain, by groups of cells that share trunks; null with fewer than two groups."
    )
    cells: int
    groups: int


class HeldOutDocument(Document):
    """Excess loss at the largest cells of a law that is fitted without them."""

    left_out: str = Field(
        description="Which runs were left out.", examples=["cells of 40 M parameters or more"]
    )
    axis: str = Field(description="The axis of which the largest runs were left out.", examples=["params"])
    least: float = Field(description="The least value on that axis that was left out.", examples=[4e7])
    mean: float = Field(description="Mean excess loss over the cells; 0.001 is 0.1 %.")
    worst: float
    coverage: float = Field(description="Share of cells whose own rate lies in the predicted interval.")
    groups: int = Field(
        description="Independent groups of cells: those of a group share trunks, and so noise."
    )
    cells: list[HeldOutCellDocument]
    alternatives: list[AlternativeDocument] = Field(default=[])


class LawTerms(NoticedDocument):
    """The terms of a law."""

    runs: int = Field(description="Number of runs it was fitted to.")
    coefficients: list[CoefficientDocument]
    noise: float = Field(description="Standard deviation of ln loss between equal runs.")


class FittedLaw(LawTerms):
    """A law as it was fitted, without its bowls."""

    covariance: list[list[float]] = Field(description="Of the coefficients, in their order.")
    reference: TargetDocument = Field(description="Where the logarithms of N, D and B are zero.")
    range: dict[str, list[float]] = Field(description="Smallest and largest (N, D, B) among the runs.")
    heldout: HeldOutDocument | None = Field(description="Null with one size and horizon.")
    heldout_reason: str | None = Field(default=None, description="The reason for no held-out error.")
    fingerprint: str = Field(description="sha256 of the runs and options it was fitted with.")


class LawSummary(LawTerms):
    """A law in short."""

    number: int
    batch: int = Field(description="The batch of runs after which it was fitted.")
    spent_flops: float
    created_at: datetime
    sizes: SizesDocument | None = Field(
        default=None,
        description="The law in either count of parameters; null where every parameter is active.",
    )


class LawDocument(LawSummary, FittedLaw):
    """A law whole: immutable, numbered per sweep from 1."""

    TELLING = ("number", "runs", "formula", "prediction_refused")

    formula: str | None = Field(
        default=None,
        description="As a power law and in logarithms, with the point it counts from, in lines; null if another version "
        "of Etalon fitted it.",
        examples=["η* ≈ 3.6e-3 · (N / 49 k)^−0.43 · (D / 131 k)^−0.3"],
    )
    sweep_id: str
    bowls: list[BowlDocument] = Field(description="One per cell.")
    ruled_out: list[RuledOut]
    prediction: PredictionDocument | None = Field(description="At the sweep's target.")
    prediction_refused: str | None = Field(description="The reason for no prediction.")
