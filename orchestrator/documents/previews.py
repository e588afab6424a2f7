"""The plan of a sweep that was not submitted."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from orchestrator.documents.document import Document
from orchestrator.documents.predictions import TargetDocument


class CellDocument(Document):
    """A cell that a sweep would use."""

    number: int
    params: float = Field(description="N: the count of parameters that the law uses.")
    params_total: float | None
    params_active: float | None = Field(description="Null, as the total is, where every parameter is active.")
    tokens: float
    batch_tokens: float
    learning_rates: list[float]
    flops_per_run: float


class FullGrid(Document):
    """What every rate in every cell would cost as an independent run."""

    runs: int
    flops: float
    worker_seconds: float | None


class Expected(Document):
    """What the strategy is expected to spend, from a rehearsal on a synthetic law."""

    strategy: str
    runs: int
    batches: int
    flops: float
    saved_fraction: float | None
    worker_seconds: float | None
    ends_because: str


class ExpectedComparison(Document):
    """What the comparison at the held-out scale adds at most, once the search is over."""

    held_out: TargetDocument
    base: TargetDocument
    seeds: int
    runs: int
    flops: float
    worker_seconds: float | None


class PreviewDocument(Document):
    """The plan of a sweep that was not submitted."""

    model_config = ConfigDict(extra="allow")

    valid: bool
    name: str
    target: TargetDocument
    cells: list[CellDocument]
    full_grid: FullGrid
    expected: Expected
    comparison: ExpectedComparison | None = Field(description="Null where the sweep has none.")
    warnings: list[str] = Field(
        description="What keeps its runs from starting on the cluster, as known now, and what its tables pool."
    )
    seconds_reason: str | None = Field(description="Why no seconds are told, where none are.")
