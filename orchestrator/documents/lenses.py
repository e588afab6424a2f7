"""What the lenses saw of a run."""

from __future__ import annotations

from pydantic import Field

from orchestrator.documents.document import Document
from orchestrator.lenses import MODULES

_NULL = "null where it was not looked at or not finite."


class ModuleDocument(Document):
    """How much one part of the model learns: RMS over its blocks."""

    activation: float | None = Field(
        description=f"RMS of what it adds to the residual stream; of router and head their logits; {_NULL}"
    )
    change: float | None = Field(description=f"RMS of the change of that by the update of this step; {_NULL}")
    update: float | None = Field(
        description=f"RMS of the update of this step over the RMS of the weights before it; {_NULL}"
    )


class LensPointDocument(Document):
    """What was seen after one update.

    Between two points of a steady spacing stand the closer looks at a run that seemed about to be lost: they have
    the logits alone.
    """

    step: int
    tokens: int
    part: str = Field(description="trunk: shared with other horizons; branch: this run's own.")
    gradient_norm: float | None = Field(
        description=f"Mean over the steps since the last point, before the clip; {_NULL}"
    )
    gradient_norm_max: float | None = Field(description=f"The largest of those; {_NULL}")
    loss_spikes: int | None = Field(
        description="Steps since then with a loss 7 standard deviations above its moving average."
    )
    attention_logit: float | None = Field(description=f"The largest in size, over heads and blocks; {_NULL}")
    output_logit_rms: float | None = Field(description=f"RMS of the output logits; {_NULL}")
    expert_imbalance: float | None = Field(
        description="Load of the busiest expert over the mean load, the largest over blocks; null for a dense model."
    )
    modules: dict[str, ModuleDocument] = Field(
        description=f"The feature-learning lens, by part of the model: {', '.join(MODULES)}."
    )


class LensesDocument(Document):
    """What the lenses saw of a run, the trunk's part first."""

    run_id: str
    points: list[LensPointDocument]
    reason: str | None = Field(description="Why there are no points; null where there are.")
