"""The lenses' records of a run: stability and feature learning."""

from __future__ import annotations

from pydantic import Field

from orchestrator.documents.document import Document
from orchestrator.lenses import MODULES

_NULL = "null where it was not measured or is not finite."


class ModuleDocument(Document):
    """Feature learning of one part of the model: RMS over its blocks."""

    activation: float | None = Field(
        description=f"RMS of what it adds to the residual stream; for router and head of their logits; {_NULL}"
    )
    change: float | None = Field(
        description=f"RMS of the change of the activation by the update of this step; {_NULL}"
    )
    update: float | None = Field(
        description=f"RMS of the update of this step over the RMS of the weights before it; {_NULL}"
    )


class LensPointDocument(Document):
    """Measurements after one update.

    Points are evenly spaced; those in between were taken when a run seemed about to diverge, and have logits only.
    """

    step: int
    tokens: int
    part: str = Field(description="trunk: shared with other horizons; branch: this run's own.")
    gradient_norm: float | None = Field(
        description=f"Mean over the steps since the last point, before clipping; {_NULL}"
    )
    gradient_norm_max: float | None = Field(description=f"The largest over those steps; {_NULL}")
    loss_spikes: int | None = Field(
        description="Steps since the last point with a loss 7 standard deviations above its moving average."
    )
    attention_logit: float | None = Field(
        description=f"The largest absolute value over heads and blocks; {_NULL}"
    )
    output_logit_rms: float | None = Field(description=f"RMS of the output logits; {_NULL}")
    expert_imbalance: float | None = Field(
        description="Load of the busiest expert over the mean load, the largest over blocks; null for a dense model."
    )
    modules: dict[str, ModuleDocument] = Field(
        description=f"The feature-learning lens, by part of the model: {', '.join(MODULES)}."
    )


class LensesDocument(Document):
    """The lenses' records of a run, the trunk's part first."""

    run_id: str
    points: list[LensPointDocument]
    reason: str | None = Field(description="The reason for no points; null where there are some.")
