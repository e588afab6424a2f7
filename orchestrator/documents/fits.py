"""A law of a run table with its predictions, without a sweep: the result of ``etalon fit``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from orchestrator.documents.document import Document
from orchestrator.documents.laws import AlternativeDocument, BowlDocument, FittedLaw
from orchestrator.documents.notices import NoticedDocument
from orchestrator.documents.predictions import PredictionDocument, TargetDocument
from orchestrator.documents.problems import ProblemDocument


class RefusedTarget(ProblemDocument):
    """A target that the runs cannot support, in place of its prediction."""

    target: TargetDocument


class OtherSize(Document):
    """The law in a count of parameters that is not the one in use."""

    size: str = Field(examples=["params_active"])
    mean: float | None = Field(description="Mean excess loss held out; 0.001 is 0.1 %.")
    reason: str | None = Field(description="The reason for no held-out error, or no such law.")
    paired: AlternativeDocument | None = Field(description="Against the law in use, cell by cell.")


class FitSizes(Document):
    """The counts of parameters that a table has."""

    used: str = Field(examples=["params_total"], description="The count that is N.")
    others: list[OtherSize]


class TableLaw(FittedLaw):
    """The law of a run table, with the numbers that its predictions are computed from."""

    version: int = Field(description="Of the form of these numbers.")
    without: list[str] = Field(description="Names of the terms that are left out.")
    scales: dict[str, float] = Field(description="Sizes of noise and of random effects.")
    surface: dict[str, Any] = Field(description="Coefficients of ln L_min.")
    effects: dict[str, Any] = Field(description="Centres of the random effects.")
    pooled: dict[str, Any] = Field(description="All coefficients of ln C and ln η*, and their covariance.")


class FitDocument(NoticedDocument):
    """A law of a run table, its bowls, and one prediction or refusal per target, in order."""

    law: TableLaw
    bowls: list[BowlDocument]
    predictions: list[PredictionDocument | RefusedTarget]
    size: FitSizes | None = Field(
        default=None,
        exclude_if=lambda size: size is None,
        description="Only of a table with several counts of parameters.",
    )
