"""The optimization of a proxy: its schedule and its optimizer."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from orchestrator.spec.architecture import kind_or
from orchestrator.spec.fields import BadField, Count, Fraction, Number, Positive, Strict


class Schedule(Strict):
    """Warmup-stable-decay, or ``shape: cosine``. The warmup is absolute, so that horizons can share one trunk.

    A cosine decays over everything after the warmup: it has no ``decay_fraction``, and its horizons share the warmup
    alone. ``final_fraction`` is the rate at the end over the peak.
    """

    warmup_tokens: Count = 16_384
    decay_fraction: Fraction = 0.2
    shape: Literal["linear", "sqrt", "cosine"] = "linear"
    final_fraction: Annotated[Number, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _cosine_has_no_fraction(self) -> Schedule:
        if not self.has_stable_phase and "decay_fraction" in self.model_fields_set:
            raise BadField(
                "decay_fraction",
                f"{self.decay_fraction:g} goes with linear and sqrt: a cosine decays over everything after the warmup, "
                "so leave it out, or take another shape",
            )
        return self

    @model_serializer(mode="wrap")
    def _without_idle_fraction(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out ``decay_fraction`` of a cosine, which refuses it when the schedule is read again."""
        fields: dict[str, Any] = plain(self)
        if not self.has_stable_phase:
            fields.pop("decay_fraction", None)
        return fields

    @property
    def has_stable_phase(self) -> bool:
        """Whether the rate stays at its peak after the warmup, on a trunk that horizons share."""
        return self.shape != "cosine"

    def decay_steps(self, steps: int, batch_tokens: int) -> int:
        """Steps of the decay, counted as the trainer counts them.

        Args:
            steps: of the whole run, at least 1.
            batch_tokens: tokens of one step.

        Returns:
            At least 1. In a run too short for both, the decay begins within the warmup.
        """
        warmup = math.ceil(self.warmup_tokens / batch_tokens)
        return max(1, round(self.decay_fraction * steps) if self.has_stable_phase else steps - warmup)


class _Constants(Strict):
    """Constants of all optimizers, the same for every run of a sweep."""

    beta1: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[Number, Field(ge=0, lt=1)] = 0.95
    weight_decay: Annotated[Number, Field(ge=0, le=1)] = 0.1
    clip: Positive = 1.0


class AdamW(_Constants):
    """AdamW for every parameter."""

    kind: Literal["adamw"] = "adamw"


class Muon(_Constants):
    """Muon for the matrices, AdamW for embedding and head."""

    kind: Literal["muon"]
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.95


Optimizer = Annotated[Annotated[AdamW, Tag("adamw")] | Annotated[Muon, Tag("muon")], kind_or("adamw")]


def check_horizon(path: str, tokens: int, batch_tokens: int, schedule: Schedule) -> None:
    """Refuse a horizon too short for its schedule, in whole optimizer steps, as the trainer counts them.

    Raises:
        BadField: at ``path``, if the decay would begin before the warmup ends.
    """
    if tokens < batch_tokens:
        raise BadField(path, f"{tokens} is less than one step of {batch_tokens} tokens")
    end = tokens // batch_tokens
    warmup = math.ceil(schedule.warmup_tokens / batch_tokens)
    if end - schedule.decay_steps(end, batch_tokens) < warmup:
        stable = 1 - schedule.decay_fraction if schedule.has_stable_phase else 1.0
        enough = math.ceil((warmup + 1) / stable) * batch_tokens
        raise BadField(
            path,
            f"{tokens} in steps of {batch_tokens} tokens decays before the warmup of {schedule.warmup_tokens} tokens "
            f"has ended; {enough} tokens are enough, or a shorter trainer.schedule.warmup_tokens",
        )
