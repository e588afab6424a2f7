"""Who trains the runs of a sweep."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Tag

from orchestrator.spec.architecture import Architecture, Dense, kind_or
from orchestrator.spec.fields import Condition, Count, Fraction, Parameter, Positive, Strict, as_number
from orchestrator.spec.parametrization import Parametrization


class Schedule(Strict):
    """Warmup-stable-decay. The warmup is absolute, so that horizons can share one trunk."""

    warmup_tokens: Count = 16_384
    decay_fraction: Fraction = 0.2
    shape: Literal["linear", "sqrt"] = "linear"


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
