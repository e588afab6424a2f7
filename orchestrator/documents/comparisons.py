"""Both paradigms at a sweep's held-out scale, as clients read it."""

from __future__ import annotations

from pydantic import Field

from orchestrator.documents.document import EXAMPLE_ID, Document
from orchestrator.documents.predictions import TargetDocument
from orchestrator.spec import CellRole
from orchestrator.states import ComparisonStage, RunState


class EstimateDocument(Document):
    """A relative loss (0.001 is 0.1 %) with its standard error and 95 % interval."""

    value: float
    standard_error: float
    low: float
    high: float


class ComparedRun(Document):
    """One run of a contender."""

    run_id: str = Field(examples=[EXAMPLE_ID])
    seed: int
    state: RunState
    loss: float | None


class ContenderDocument(Document):
    """One way to set the rate of the held-out scale, and how it did."""

    name: str = Field(examples=["Fitting", "Transfer", "the same rate", "Step Law", "module-wise"])
    arm: CellRole = Field(description="How it is trained there: standard parametrization, or Transfer's.")
    learning_rate: float = Field(description="In Transfer's arm the global rate, in the base's units.")
    module_rates: dict[str, float] = Field(description="Multipliers by module; empty for none.")
    origin: str = Field(description="Where the rate comes from.")
    source: str | None = Field(description="The paper of a published law.")
    runs: list[ComparedRun]
    diverged: bool | None = Field(
        description="Whether any seed diverged: then there are no numbers. Null while open."
    )
    excess_loss: EstimateDocument | None = Field(
        description="Mean over the seeds, over the best loss there, less one."
    )
    difference: EstimateDocument | None = Field(
        description="Loss over Fitting's with the same seeds, less one: seeds cancel. Null for Fitting and who shares "
        "its runs."
    )


class ReferenceRate(Document):
    """A further rate of the reference bowl, in standard parametrization."""

    learning_rate: float
    runs: list[ComparedRun]


class BestDocument(Document):
    """The bottom of the reference bowl: the best loss of the held-out scale."""

    loss: float
    standard_error: float
    learning_rate: float
    low: float = Field(description="95 % interval of that rate.")
    high: float
    curvature: float
    asymmetry: float
    noise: float = Field(description="Standard deviation of ln loss between runs of one seed.")
    status: str = Field(description="interior, or why the best run stands for the bottom.")


class BaseDocument(TargetDocument):
    """The proxy that Transfer is tuned at."""

    learning_rate: float | None
    origin: str | None


class ModuleSearchDocument(Document):
    """The search for module-wise rates at the base."""

    sampler: str
    runs: int
    ended: int
    span: float
    multipliers: dict[str, float] | None = Field(description="The best so far; 1 for a module left alone.")
    loss: float | None
    loss_without: float | None = Field(description="Of the trial without multipliers.")


class LeftOutDocument(Document):
    """A published law that does not contend, and why."""

    name: str
    reason: str


class ComparisonDocument(Document):
    """Both paradigms at a held-out scale."""

    sweep_id: str = Field(examples=[EXAMPLE_ID])
    state: ComparisonStage
    reason: str | None = Field(description="Why it was not run, or what cut it short.")
    held_out: TargetDocument
    base: BaseDocument
    seeds: int
    law_number: int | None = Field(description="The law that Fitting's rate is from.")
    module_search: ModuleSearchDocument | None
    best: BestDocument | None
    contenders: list[ContenderDocument]
    reference: list[ReferenceRate]
    left_out: list[LeftOutDocument]
    verdict: str | None = Field(description="Which paradigm to trust here, in a sentence.")
