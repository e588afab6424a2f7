"""A law of a run table with its predictions, without a sweep: the result of ``etalon fit``."""

from __future__ import annotations

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


class FitDocument(NoticedDocument):
    """A law of a run table, its bowls, and one prediction or refusal per target, in order."""

    law: FittedLaw
    bowls: list[BowlDocument]
    predictions: list[PredictionDocument | RefusedTarget]
    size: FitSizes | None = Field(
        default=None,
        exclude_if=lambda size: size is None,
        description="Only of a table with several counts of parameters.",
    )
