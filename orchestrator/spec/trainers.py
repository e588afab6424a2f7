"""Who trains the runs of a sweep."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from orchestrator.spec.architecture import Architecture, Dense, kind_or
from orchestrator.spec.fields import (
    Condition,
    Count,
    FieldError,
    Fraction,
    Parameter,
    Positive,
    Strict,
    as_number,
)
from orchestrator.spec.parametrization import Parametrization


class Schedule(Strict):
    """Warmup-stable-decay, or ``shape: cosine``. The warmup is absolute, so that horizons can share one trunk.

    A cosine decays over everything after the warmup: it has no ``decay_fraction``, and its horizons share the warmup
    alone. ``final_fraction`` is the rate at the end over the peak.
    """

    warmup_tokens: Count = 16_384
    decay_fraction: Fraction = 0.2
    shape: Literal["linear", "sqrt", "cosine"] = "linear"
    final_fraction: Annotated[float, BeforeValidator(as_number), Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _cosine_has_no_fraction(self) -> Schedule:
        if not self.has_stable_phase and "decay_fraction" in self.model_fields_set:
            raise FieldError(
                "decay_fraction",
                f"{self.decay_fraction:g} goes with linear and sqrt: a cosine decays over everything after the warmup, "
                "so leave it out, or take another shape",
            )
        return self

    @model_serializer(mode="wrap")
    def _without_idle_fraction(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what a cosine may not be given, so that what was written can be read again."""
        fields: dict[str, Any] = plain(self)
        if not self.has_stable_phase:
            fields.pop("decay_fraction", None)
        return fields

    @property
    def has_stable_phase(self) -> bool:
        """Whether the rate stays at its peak for a while, on a trunk that horizons share."""
        return self.shape != "cosine"

    def decay_steps(self, steps: int, batch_tokens: int) -> int:
        """Steps of the decay in a run of ``steps`` steps, counted as the trainer does.

        Args:
            steps: of the whole run, at least 1.
            batch_tokens: tokens of one step.

        Returns:
            At least 1; so many that the decay begins within the warmup, where the run is too short for both.
        """
        warmup = math.ceil(self.warmup_tokens / batch_tokens)
        return max(1, round(self.decay_fraction * steps) if self.has_stable_phase else steps - warmup)


class _Constants(Strict):
    """What the optimizers share, the same for every run of a sweep."""

    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    weight_decay: Annotated[float, BeforeValidator(as_number), Field(ge=0, le=1)] = 0.1
    clip: Positive = 1.0


class AdamW(_Constants):
    """AdamW for every parameter."""

    kind: Literal["adamw"] = "adamw"


class Muon(_Constants):
    """Muon for the matrices, AdamW for embedding and head."""

    kind: Literal["muon"]
    momentum: Annotated[float, BeforeValidator(as_number), Field(ge=0, lt=1)] = 0.95


Optimizer = Annotated[Annotated[AdamW, Tag("adamw")] | Annotated[Muon, Tag("muon")], kind_or("adamw")]


class ProxyTrainer(Strict):
    """Etalon's own small language models."""

    kind: Literal["proxy"]
    corpus: Annotated[str, Field(min_length=1, max_length=200)] = "stdlib"
    architecture: Architecture = Dense()
    parametrization: Parametrization = "standard"
    schedule: Schedule = Schedule()
    optimizer: Optimizer = AdamW()
    context: Annotated[int, Field(ge=8, le=65_536)] = 64


class ReplayTrainer(Strict):
    """Runs nothing: a run answers with the loss recorded in a run table."""

    kind: Literal["replay"]
    table: Annotated[str, Field(min_length=1, max_length=200)]
    where: dict[str, Condition] = Field(default_factory=dict)


class CommandTrainer(Strict):
    """A program registered by the operator under a name."""

    kind: Literal["command", "python"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    parameters: dict[str, Parameter] = Field(default_factory=dict)


Trainer = Annotated[ProxyTrainer | ReplayTrainer | CommandTrainer, Field(discriminator="kind")]
