"""Runs and their learning curves."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from unicodedata import category

from pydantic import ConfigDict, Field, StringConstraints, field_validator

from orchestrator.documents.document import EXAMPLE_ID, Document
from orchestrator.states import RunState


class RunDocument(Document):
    """One training from the first token to the loss of a cell at one rate and seed."""

    TELLING = ("id", "state", "params", "tokens", "batch_tokens", "learning_rate", "seed", "loss", "reason")

    id: str = Field(examples=[EXAMPLE_ID])
    sweep_id: str
    state: RunState
    cell: int = Field(description="Number of its cell in the sweep.")
    params: float = Field(description="N: the count of parameters that the law uses.")
    params_total: float | None = Field(description="Of a mixture of experts; null where every one is active.")
    params_active: float | None = Field(
        description="Parameters that one token meets; null where every one is active."
    )
    tokens: float
    batch_tokens: float
    learning_rate: float
    seed: int
    batch: int | None = Field(
        description="Its batch of runs; null for a rate that was ruled out and never asked for."
    )
    attempt: int
    arm: str | None = Field(
        description="How it is trained in the comparison at a held-out scale; null for a run of the search."
    )
    module_rates: str = Field(
        description="Multipliers of the rate by module, such as attention=0.5,embedding=2; empty for none."
    )
    loss: float | None = Field(description="Annealed held-out loss; null unless completed.")
    trunk: str | None = Field(
        default=None, description="Its trunk, which runs of other horizons share; null for a run of its own."
    )
    trunk_loss: float | None = Field(description="Held-out loss of the undecayed trunk at the fork.")
    diverged_tokens: int | None = Field(
        description="Tokens after which the divergence was noticed; null unless diverged, or if not measured."
    )
    flops: float = Field(description="Spent for this run beyond what its trunk had spent already.")
    seconds: float | None
    reason: str | None = Field(description="The reason why it was asked for, ruled out, diverged or failed.")
    excluded: str | None = Field(description="Why it is left out of the law; null for a run that takes part.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class ExclusionRequest(Document):
    """Why a run is left out of the law."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)] = Field(
        description="A sentence for those who see the run.", examples=["Its node lost a GPU."]
    )

    @field_validator("reason")
    @classmethod
    def _is_storable(cls, reason: str) -> str:
        if any(category(sign) in {"Cc", "Cs"} and sign != "\n" for sign in reason):
            raise ValueError("contains a control character")
        return reason


class LossDocument(Document):
    """One point of a learning curve."""

    step: int
    tokens: int
    loss: float | None = Field(description="Training loss; null where it is not finite.")
    part: str = Field(description="trunk: shared with other horizons; branch: this run's own.")


class CurveDocument(Document):
    """A run's learning curve, the trunk's part first."""

    run_id: str
    recorded: int = Field(description="Points recorded; more than `points` if the curve is thinned.")
    points: list[LossDocument]


class LogDocument(Document):
    """The last lines of a run's output, without control characters."""

    run_id: str
    text: str = Field(description="Empty where the run has printed nothing, or its trainer prints nothing.")
    lines: int = Field(description="Lines in `text`.")
    truncated: bool = Field(description="Whether the output was longer; its last 64 KiB are kept.")
    start_byte: int = Field(description="Bytes of the output before `text`, as the service has read it.")
    end_byte: int = Field(
        description="Bytes of the output up to the end of the last whole line: `after` with it gives what comes."
    )
