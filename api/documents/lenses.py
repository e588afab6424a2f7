"""What the lenses saw of a run."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field

from api.documents.document import Document
from orchestrator.lenses import MODULES
from orchestrator.store.records import LensPoint, Run

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

    @classmethod
    def of(cls, run: Run, point: LensPoint) -> Self:
        """A stored point of a run."""
        values = {name: value for name, value in point.values.items() if math.isfinite(value)}
        spikes = values.get("loss_spikes")
        return cls(
            step=point.step,
            tokens=point.tokens,
            part="trunk" if point.curve == run.trunk_id else "branch",
            gradient_norm=values.get("gradient_norm"),
            gradient_norm_max=values.get("gradient_norm_max"),
            loss_spikes=None if spikes is None else int(spikes),
            attention_logit=values.get("attention_logit"),
            output_logit_rms=values.get("head.activation"),
            expert_imbalance=values.get("expert_imbalance"),
            modules={
                module: ModuleDocument(
                    activation=values.get(f"{module}.activation"),
                    change=values.get(f"{module}.change"),
                    update=values.get(f"{module}.update"),
                )
                for module in MODULES
                if f"{module}.update" in values
            },
        )


class LensesDocument(Document):
    """What the lenses saw of a run, the trunk's part first."""

    run_id: str
    points: list[LensPointDocument]
    reason: str | None = Field(description="Why there are no points; null where there are.")

    @classmethod
    def of(cls, run: Run, points: list[LensPoint], reason: str) -> Self:
        """A run's stored points, or the reason why there are none."""
        return cls(
            run_id=run.id,
            points=[LensPointDocument.of(run, point) for point in points],
            reason=None if points else reason,
        )
