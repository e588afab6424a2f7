"""The grid of a sweep: sizes, horizons, batches and the lattice of learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Final

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from orchestrator.spec.architecture import (
    EXPERT_STEP,
    Architecture,
    Dense,
    ExpertCount,
    ExpertWidth,
    MixtureOfExperts,
)
from orchestrator.spec.fields import Count, FieldError, Rate, Strict, as_number
from orchestrator.spec.trainers import ProxyTrainer, Schedule

MAX_LATTICE: Final = 200
MAX_AXIS: Final = 200
MAX_CELLS: Final = 10_000
MAX_RUNS: Final = 100_000
"""Cells × rates × seeds of one sweep; planning takes memory and time in proportion."""

HEAD_WIDTH: Final = 16
"""Width of an attention head, or a little more, where a scale does not say how many heads it wants."""

SHOWN_HEADS: Final = 6


class Scale(Strict):
    """The size of one proxy; its parameters are derived (``orchestrator.submission.cells``).

    ``experts`` and ``expert_width`` stand in for those of the architecture, so that a mixture's total and active
    parameters can vary apart.
    """

    width: Annotated[int, Field(ge=8, le=65_536)]
    depth: Annotated[int, Field(ge=1, le=1_024)]
    heads: Annotated[int, Field(ge=1, le=1_024)] | None = None
    experts: ExpertCount | None = None
    expert_width: ExpertWidth | None = None

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Scale:
        if self.width % 2:
            raise FieldError(
                "width", f"{self.width} is odd; rotary positions turn pairs, so take an even width"
            )
        heads = self.attention_heads
        allowed = f"heads nearby that suit the width: {', '.join(map(str, _heads_near(self.width, heads)))}"
        if self.width % heads:
            raise FieldError("heads", f"width {self.width} is not divisible by {heads} heads; {allowed}")
        if (self.width // heads) % 2:
            raise FieldError(
                "heads",
                f"width {self.width} over {heads} heads gives heads of odd width {self.width // heads}, "
                f"and rotary positions turn pairs; {allowed}",
            )
        return self

    @property
    def attention_heads(self) -> int:
        """Heads as given, or the most that are at least 16 wide (or the only one) and of an even width."""
        if self.heads is not None:
            return self.heads
        most = max(1, self.width // HEAD_WIDTH)
        return next((heads for heads in range(most, 0, -1) if self.width % (2 * heads) == 0), 1)


def _heads_near(width: int, heads: int) -> list[int]:
    """The numbers of heads nearest to ``heads`` that cut an even width into even parts, ascending."""
    half = width // 2
    small = [n for n in range(1, math.isqrt(half) + 1) if half % n == 0]
    every = {*small, *(half // n for n in small)}
    return sorted(sorted(every, key=lambda n: abs(n - heads))[:SHOWN_HEADS])


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertSize:
    """How many routed experts a proxy has in a block, and how wide each is."""

    count: int
    width: int


def experts_of(scale: Scale, architecture: Architecture) -> ExpertSize | None:
    """The experts of a proxy of this scale; None where it is dense."""
    if isinstance(architecture, Dense):
        return None
    return ExpertSize(
        count=architecture.experts if scale.experts is None else scale.experts,
        width=architecture.expert_width_at(scale.width) if scale.expert_width is None else scale.expert_width,
    )


class Lattice(Strict):
    """Log-spaced learning rates from ``min`` up to at most ``max``."""

    min: Rate
    max: Rate
    per_octave: Annotated[float, BeforeValidator(as_number), Field(gt=0, le=32)] = 2

    @model_validator(mode="after")
    def _spans_something(self) -> Lattice:
        if self.min >= self.max:
            raise ValueError(f"min {self.min:g} must be below max {self.max:g}")
        if self.steps >= MAX_LATTICE:
            raise ValueError(
                f"min {self.min:g}, max {self.max:g} and per_octave {self.per_octave:g} make {self.steps + 1} rates; "
                f"at most {MAX_LATTICE} are allowed"
            )
        return self

    @property
    def steps(self) -> int:
        """Steps from the first rate to the last."""
        return math.floor(math.log2(self.max / self.min) * self.per_octave + 1e-9)

    def rates(self) -> tuple[float, ...]:
        """The learning rates, ascending, rounded to six digits so that every process spells them alike."""
        return tuple(float(f"{self.min * 2 ** (i / self.per_octave):.6g}") for i in range(self.steps + 1))


def _kind_of_rates(value: object) -> str:
    return "lattice" if isinstance(value, dict | Lattice) else "list"


Rates = Annotated[
    Annotated[Lattice, Tag("lattice")]
    | Annotated[tuple[Rate, ...], Field(max_length=MAX_LATTICE), Tag("list")],
    Discriminator(_kind_of_rates),
]


class Grid(Strict):
    """The cells and the lattice that a sweep may use; empty parts of a replay's grid mean "all recorded"."""

    scales: Annotated[tuple[Scale, ...], Field(max_length=MAX_AXIS)] = ()
    tokens: Annotated[tuple[Count, ...], Field(max_length=MAX_AXIS)] = ()
    batch_tokens: Annotated[tuple[Count, ...], Field(max_length=MAX_AXIS)] = ()
    learning_rates: Rates = ()
    seeds: Annotated[int, Field(ge=1, le=100)] = 1

    def rates(self) -> tuple[float, ...]:
        """The lattice's learning rates, ascending and without repeats."""
        if isinstance(self.learning_rates, Lattice):
            return self.learning_rates.rates()
        return tuple(sorted(set(self.learning_rates)))


def check_proxy_grid(grid: Grid, trainer: ProxyTrainer) -> None:
    """Refuse a grid that the proxy trainer cannot train.

    Raises:
        FieldError: at the field at fault.
    """
    for name in ("scales", "tokens", "batch_tokens"):
        if not getattr(grid, name):
            raise FieldError(f"grid.{name}", "is empty; a proxy sweep needs at least one")
    for place, scale in enumerate(grid.scales):
        check_experts(f"grid.scales.{place}", scale, trainer.architecture)
    if not grid.rates():
        raise FieldError("grid.learning_rates", "is empty; give {min, max, per_octave} or a list of rates")
    cells = len(grid.scales) * len(grid.tokens) * len(grid.batch_tokens)
    if cells > MAX_CELLS:
        raise FieldError(
            "grid", f"has {cells} cells (scales × tokens × batch_tokens); at most {MAX_CELLS} are allowed"
        )
    check_size(cells, cells * len(grid.rates()) * grid.seeds)
    for place, batch in enumerate(grid.batch_tokens):
        check_batch(f"grid.batch_tokens.{place}", batch, trainer.context)
    for (place, tokens), batch in product(enumerate(grid.tokens), grid.batch_tokens):
        check_horizon(f"grid.tokens.{place}", tokens, batch, trainer.schedule)


def check_size(cells: int, runs: int) -> None:
    """Refuse more runs than a sweep may have.

    Args:
        cells: how many cells.
        runs: cells × learning rates × seeds.

    Raises:
        FieldError: at ``grid``.
    """
    if runs > MAX_RUNS:
        raise FieldError(
            "grid",
            f"makes {runs} runs (learning rates × seeds in {cells} cells); at most {MAX_RUNS} are allowed, "
            "so take fewer of them",
        )


def check_experts(path: str, scale: Scale, architecture: Architecture) -> None:
    """Refuse experts that the architecture cannot have.

    Raises:
        FieldError: below ``path``, the scale's.
    """
    if isinstance(architecture, MixtureOfExperts):
        if scale.width % EXPERT_STEP:
            raise FieldError(
                f"{path}.width",
                f"{scale.width} is not a multiple of {EXPERT_STEP}, as models with experts must be",
            )
        if scale.experts is not None and architecture.top_k > scale.experts:
            raise FieldError(
                f"{path}.experts",
                f"{scale.experts} is less than trainer.architecture.top_k, which is {architecture.top_k}",
            )
        return
    for name in ("experts", "expert_width"):
        if getattr(scale, name) is not None:
            raise FieldError(
                f"{path}.{name}", "belongs to a mixture of experts; the trainer.architecture is dense"
            )


def check_batch(path: str, batch_tokens: int, context: int) -> None:
    """Refuse a batch that is no whole number of sequences.

    Raises:
        FieldError: at ``path``.
    """
    if batch_tokens % context:
        raise FieldError(path, f"{batch_tokens} is not a multiple of the context of {context} tokens")


def check_horizon(path: str, tokens: int, batch_tokens: int, schedule: Schedule) -> None:
    """Refuse a horizon too short for its schedule, in whole optimizer steps, as the trainer counts.

    Raises:
        FieldError: at ``path``, where the decay would begin before the warm-up is over.
    """
    if tokens < batch_tokens:
        raise FieldError(path, f"{tokens} is less than one step of {batch_tokens} tokens")
    end = tokens // batch_tokens
    warmup = math.ceil(schedule.warmup_tokens / batch_tokens)
    if end - schedule.decay_steps(end, batch_tokens) < warmup:
        stable = 1 - schedule.decay_fraction if schedule.has_stable_phase else 1.0
        enough = math.ceil((warmup + 1) / stable) * batch_tokens
        raise FieldError(
            path,
            f"{tokens} in steps of {batch_tokens} tokens decays before the warmup of {schedule.warmup_tokens} tokens "
            f"has ended; {enough} tokens are enough, or a shorter trainer.schedule.warmup_tokens",
        )
