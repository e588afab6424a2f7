"""Plans of sweeps that are not submitted: their cells, and what they would cost."""

from __future__ import annotations

from pydantic import Field

from orchestrator.documents.document import Document
from orchestrator.documents.notices import NoticedDocument
from orchestrator.documents.predictions import TargetDocument


class CellDocument(Document):
    """A cell of the planned sweep."""

    number: int
    params: float = Field(description="N: the count of parameters that the law uses.")
    params_total: float | None
    params_active: float | None = Field(description="Null, like the total, where every parameter is active.")
    tokens: float
    batch_tokens: float
    learning_rates: list[float]
    flops_per_run: float


class FullGrid(Document):
    """The cost of every rate in every cell as an independent run."""

    runs: int
    flops: float
    worker_seconds: float | None


class Expected(Document):
    """The expected cost of the strategy, from a rehearsal on the law of the prior runs or a synthetic one."""

    strategy: str
    runs: int
    batches: int
    flops: float
    saved_fraction: float | None
    worker_seconds: float | None
    ends_because: str = Field(description="The expected reason for the end of the search.")


class ExpectedComparison(Document):
    """The most that the comparison at the held-out scale adds after the search."""

    held_out: TargetDocument
    base: TargetDocument
    seeds: int
    runs: int
    flops: float
    worker_seconds: float | None


class PreviewDocument(NoticedDocument):
    """The plan of a sweep that was not submitted."""

    valid: bool
    name: str
    target: TargetDocument
    cells: list[CellDocument]
    full_grid: FullGrid
    expected: Expected
    comparison: ExpectedComparison | None = Field(description="Null where the sweep has none.")
    seconds_reason: str | None = Field(
        description="The reason for no `worker_seconds`; null where they are known."
    )
