"""Strategies compared on recorded runs, as ``etalon compare`` reports them."""

from __future__ import annotations

from pydantic import Field

from orchestrator.documents.document import Document
from orchestrator.documents.notices import NoticedDocument
from orchestrator.documents.predictions import TargetDocument


class StrategyScore(Document):
    """One strategy at one share of the full grid's FLOPs, over all replays."""

    share: float = Field(description="The share that it might spend; 0.01 is 1 %.")
    excess_loss: float = Field(description="Mean over targets and replays; 0.001 is 0.1 %.")
    standard_error: float | None = Field(description="Of that mean over the replays; null with one replay.")
    spent_share: float = Field(description="The share that it spent, on average.")
    runs: float = Field(description="Runs that it made, on average.")


class StrategyDocument(Document):
    """One strategy, with a score per share."""

    strategy: str = Field(examples=["law"])
    scores: list[StrategyScore]


class RecordedGrid(Document):
    """The recorded runs that strategies may ask for."""

    cells: int
    runs: int
    flops: float


class StrategiesDocument(NoticedDocument):
    """Strategies compared on one run table."""

    targets: list[TargetDocument] = Field(
        description="The cells that the strategies are judged at and may not run."
    )
    full_grid: RecordedGrid
    replicates: int = Field(description="Replays of each strategy.")
    excess_loss_without_runs: float = Field(description="Of the middle of the lattice, which costs no run.")
    excess_loss_of_full_grid: float | None = Field(
        description="Of the law of all runs; null where they give no law."
    )
    strategies: list[StrategyDocument]
    picture: str | None = Field(description="The file of the picture; null where none was asked for.")
