"""The comparison of both paradigms at a held-out scale: its plan, as the store keeps it, and its document."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from orchestrator.documents.document import EXAMPLE_ID, Document
from orchestrator.documents.predictions import TargetDocument
from orchestrator.spec import CellRole
from orchestrator.states import ComparisonStage, RunState

FITTING: Final = "Fitting"
TRANSFER: Final = "Transfer"
SAME_RATE: Final = "the same rate"
MODULE_WISE: Final = "module-wise"


class PlannedContender(Document):
    """One way to set the learning rate of the held-out scale, before it has run."""

    name: str
    arm: CellRole
    learning_rate: float
    module_rates: str = Field(default="", description="Multipliers by module, as text; empty for none.")
    origin: str
    source: str | None = None


class LeftOutDocument(Document):
    """A published law that does not contend, and why."""

    name: str
    reason: str


class BaseOptimum(Document):
    """The best learning rate of the base, to which Transfer is tuned."""

    learning_rate: float
    sd: float = Field(description="Standard deviation of its logarithm.")
    origin: str


class ExpectedBowl(Document):
    """The shape that the law expects of the held-out bowl before anything is run there."""

    curvature: float = Field(description="C of ln L = ln L_min + C·g(ln η − ln η*).")
    asymmetry: float = Field(description="a of the shape g.")
    noise: float = Field(description="Standard deviation of ln loss between equal runs.")


class LineUp(Document):
    """Everything that is run at the held-out scale."""

    contenders: tuple[PlannedContender, ...] = Field(description="Fitting first.")
    reference: tuple[float, ...] = Field(
        description="Further learning rates of the reference bowl, in standard parametrization."
    )
    left_out: tuple[LeftOutDocument, ...]
    expected: ExpectedBowl


class ComparisonPlan(Document):
    """A planned comparison, as the store keeps it: written once, from what the search left, and never changed."""

    search: str = Field(description="Why the search ended, in a sentence.")
    law_number: int = Field(description="The law of Fitting's rate and of the expected bowl.")
    held_out: TargetDocument
    base: TargetDocument
    base_optimum: BaseOptimum
    seeds: int = Field(description="Seeds 0 … seeds − 1 of each contender.")
    line_up: LineUp


class EstimateDocument(Document):
    """A relative loss (0.001 is 0.1 %) with its standard error and 95 % interval."""

    value: float
    standard_error: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval."""
        return self.high - self.value

    @property
    def is_noise(self) -> bool:
        """Whether the 95 % interval holds zero."""
        return self.low <= 0 <= self.high


class ComparedRun(Document):
    """One run of a contender."""

    run_id: str = Field(examples=[EXAMPLE_ID])
    seed: int
    state: RunState
    loss: float | None


class ContenderDocument(Document):
    """One way to set the rate of the held-out scale, and its score."""

    name: str = Field(examples=["Fitting", "Transfer", "the same rate", "Step Law", "module-wise"])
    arm: CellRole = Field(description="Its parametrization there: the standard one, or Transfer's.")
    learning_rate: float = Field(description="Of Transfer the global rate, in the base's units.")
    module_rates: dict[str, float] = Field(description="Multipliers by module; empty for none.")
    origin: str = Field(description="The origin of the rate.")
    source: str | None = Field(description="The paper of a published law.")
    runs: list[ComparedRun]
    diverged: bool | None = Field(
        description="Whether any seed diverged: then there are no numbers. Null while open."
    )
    excess_loss: EstimateDocument | None = Field(
        description="Mean over the seeds, over the best loss there, less one."
    )
    difference: EstimateDocument | None = Field(
        description="Loss over Fitting's with the same seeds, less one: seeds cancel. Null for Fitting and contenders "
        "that share its runs."
    )


class ReferenceRate(Document):
    """A further rate of the reference bowl, in standard parametrization."""

    learning_rate: float
    runs: list[ComparedRun]
    excess_loss: float | None = Field(
        description="Mean over the seeds, over the best loss there, less one. Null while open, and without a completed run."
    )


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
