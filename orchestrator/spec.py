"""What a user asks for: the sweep specification of the contract, checked field by field."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from orchestrator.errors import BadInput, FieldProblem

MAX_LATTICE = 200
MAX_CELLS = 10_000


def _number(value: object) -> object:
    """Take ``1e-4`` and ``400_000`` as numbers also where YAML 1.1 reads them as text."""
    if isinstance(value, str):
        try:
            return float(value.replace("_", ""))
        except ValueError:
            return value
    return value


def _count(value: object) -> object:
    """Take ``2e10`` as the whole number it is."""
    number = _number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else number


Positive = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_count), Field(gt=0, le=10**18)]


class Strict(BaseModel):
    """A part of a specification: unknown fields are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Architecture(Strict):
    """The shape of the proxies' layers."""

    kind: Literal["dense"] = "dense"
    qk_norm: bool = True


class Schedule(Strict):
    """Warmup-stable-decay. The warmup is absolute, so that horizons can share one trunk."""

    warmup_tokens: Count = 16_384
    decay_fraction: Annotated[float, BeforeValidator(_number), Field(gt=0, lt=1)] = 0.2
    shape: Literal["linear", "sqrt"] = "linear"


class Optimizer(Strict):
    """AdamW's constants, the same for every run of a sweep."""

    kind: Literal["adamw"] = "adamw"
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    weight_decay: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)] = 0.1
    clip: Positive = 1.0


class ProxyTrainer(Strict):
    """Etalon's own small language models."""

    kind: Literal["proxy"]
    corpus: Annotated[str, Field(min_length=1, max_length=200)] = "stdlib"
    architecture: Architecture = Architecture()
    parametrization: Literal["standard"] = "standard"
    schedule: Schedule = Schedule()
    optimizer: Optimizer = Optimizer()
    context: Annotated[int, Field(ge=8, le=65_536)] = 64


class ReplayTrainer(Strict):
    """Runs nothing: a run answers with the loss recorded in a run table."""

    kind: Literal["replay"]
    table: Annotated[str, Field(min_length=1, max_length=200)]
    where: dict[str, str] = {}


class CommandTrainer(Strict):
    """A program registered by the operator under a name."""

    kind: Literal["command", "python"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    parameters: dict[str, str | float | int | bool] = {}


Trainer = Annotated[ProxyTrainer | ReplayTrainer | CommandTrainer, Field(discriminator="kind")]


class Scale(Strict):
    """The size of one proxy; its parameters are derived (``orchestrator.cells``)."""

    width: Annotated[int, Field(ge=8, le=65_536)]
    depth: Annotated[int, Field(ge=1, le=1_024)]
    heads: Annotated[int, Field(ge=1, le=1_024)] | None = None

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Scale:
        heads = self.attention_heads
        if self.width % heads:
            divisors = [
                n for n in range(1, self.width + 1) if self.width % n == 0 and (self.width // n) % 2 == 0
            ]
            raise ValueError(
                f"width {self.width} is not divisible by {heads} heads; heads that divide it: "
                f"{', '.join(map(str, divisors)) or 'none, take an even width'}"
            )
        if (self.width // heads) % 2:
            raise ValueError(
                f"width {self.width} over {heads} heads gives heads of odd width {self.width // heads}; "
                "rotary positions need an even one"
            )
        return self

    @property
    def attention_heads(self) -> int:
        """Heads as given, or one for every 16 of width."""
        return self.heads if self.heads is not None else max(1, self.width // 16)


class Lattice(Strict):
    """Log-spaced learning rates from ``min`` up to at most ``max``."""

    min: Annotated[float, BeforeValidator(_number), Field(gt=0, le=100)]
    max: Annotated[float, BeforeValidator(_number), Field(gt=0, le=100)]
    per_octave: Annotated[float, BeforeValidator(_number), Field(gt=0, le=32)] = 2

    @model_validator(mode="after")
    def _spans_something(self) -> Lattice:
        if self.min >= self.max:
            raise ValueError(f"min {self.min:g} must be below max {self.max:g}")
        if len(self.rates()) > MAX_LATTICE:
            raise ValueError(f"{len(self.rates())} rates are more than the {MAX_LATTICE} allowed")
        return self

    def rates(self) -> tuple[float, ...]:
        """The learning rates, ascending, rounded to six digits so that every process spells them alike."""
        steps = math.floor(math.log2(self.max / self.min) * self.per_octave + 1e-9)
        return tuple(float(f"{self.min * 2 ** (i / self.per_octave):.6g}") for i in range(steps + 1))


Rate = Annotated[float, BeforeValidator(_number), Field(gt=0, le=100)]


class Grid(Strict):
    """The cells and the lattice that a sweep may use; empty parts of a replay's grid mean "all recorded"."""

    scales: tuple[Scale, ...] = ()
    tokens: tuple[Count, ...] = ()
    batch_tokens: tuple[Count, ...] = ()
    learning_rates: Lattice | Annotated[tuple[Rate, ...], Field(max_length=MAX_LATTICE)] = ()
    seeds: Annotated[int, Field(ge=1, le=100)] = 1

    def rates(self) -> tuple[float, ...]:
        """The lattice's learning rates, ascending and without repeats."""
        if isinstance(self.learning_rates, Lattice):
            return self.learning_rates.rates()
        return tuple(sorted(set(self.learning_rates)))


class Budget(Strict):
    """Hard stops; each is optional. ``flops`` and ``runs`` count what this sweep itself spends."""

    runs: Count | None = None
    flops: Positive | None = None
    seconds: Positive | None = None


class Stop(Strict):
    """When the answer is good enough."""

    interval_factor: Annotated[float, BeforeValidator(_number), Field(gt=1, le=10)] | None = None


class Search(Strict):
    """How the next runs are chosen.

    ``runs_per_batch`` bounds what is asked for between two refits; ``rates_per_cell`` makes the law strategy
    try at least so many rates in every cell before it may stop.
    """

    strategy: Literal["law", "grid", "random", "tpe", "gp"] = "law"
    budget: Budget = Budget()
    stop: Stop = Stop()
    runs_per_batch: Annotated[int, Field(ge=1, le=10_000)] | None = None
    rates_per_cell: Annotated[int, Field(ge=0, le=MAX_LATTICE)] = 0


class TargetSpec(Strict):
    """The model that the user really wants to train."""

    params: Positive
    tokens: Positive
    batch_tokens: Positive | None = None


class Resources(Strict):
    """What one run takes of the Ray cluster, and how many run at once."""

    cpus_per_run: Annotated[float, Field(gt=0, le=1_024)] = 1
    gpus_per_run: Annotated[float, Field(ge=0, le=1_024)] = 0
    max_parallel: Annotated[int, Field(ge=1, le=10_000)] = 2


class PriorRuns(Strict):
    """Knowledge that the sweep need not pay for."""

    table: Annotated[str, Field(min_length=1, max_length=200)]
    where: dict[str, str] = {}


class SweepSpec(Strict):
    """One sweep, as submitted."""

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
    trainer: Trainer | None = None
    grid: Grid = Grid()
    search: Search = Search()
    target: TargetSpec | None = None
    resources: Resources = Resources()
    prior_runs: PriorRuns | None = None

    @model_validator(mode="after")
    def _has_something_to_do(self) -> SweepSpec:
        if self.trainer is None:
            if self.prior_runs is None:
                raise ValueError("give a trainer with a grid, or prior_runs to fit")
            if self.grid != Grid():
                raise ValueError("a grid needs a trainer; without one only prior_runs are fitted")
        if isinstance(self.trainer, ProxyTrainer):
            _check_proxy_grid(self.grid, self.trainer)
        return self


def _check_proxy_grid(grid: Grid, trainer: ProxyTrainer) -> None:
    for name in ("scales", "tokens", "batch_tokens"):
        if not getattr(grid, name):
            raise ValueError(f"grid.{name} is empty: a proxy sweep needs at least one")
    if not grid.rates():
        raise ValueError("grid.learning_rates is empty: give {min, max, per_octave} or a list of rates")
    if len(grid.scales) * len(grid.tokens) * len(grid.batch_tokens) > MAX_CELLS:
        raise ValueError(f"the grid has more than {MAX_CELLS} cells")
    for batch in grid.batch_tokens:
        if batch % trainer.context:
            raise ValueError(
                f"grid.batch_tokens {batch} is not a multiple of the context of {trainer.context} tokens"
            )
    warmup, fraction = trainer.schedule.warmup_tokens, trainer.schedule.decay_fraction
    for tokens in grid.tokens:
        if tokens < max(grid.batch_tokens):
            raise ValueError(f"grid.tokens {tokens} is less than one step of {max(grid.batch_tokens)} tokens")
        if tokens * (1 - fraction) < warmup:
            least = math.ceil(warmup / (1 - fraction))
            raise ValueError(
                f"grid.tokens {tokens} decays before the warmup of {warmup} tokens has ended; "
                f"take at least {least} tokens or a shorter warmup_tokens"
            )


def read_yaml(text: str) -> dict[str, Any]:
    """Read a specification's YAML (or JSON) text into plain fields.

    Raises:
        BadInput: the text is not YAML, or not a mapping of fields.
    """
    try:
        # The loader in Python, not libyaml's: that one crashes the process on text nested very deep.
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
        problem = getattr(error, "problem", None) or str(error)
        raise BadInput(
            f"This is not valid YAML: {problem} at {where}.",
            fields=(FieldProblem(path=where, message=str(problem)),),
        ) from error
    if not isinstance(fields, dict):
        raise BadInput(
            "A sweep is a mapping of fields such as name, trainer, grid and target; this is not one."
        )
    return fields


def parse_spec(fields: dict[str, Any]) -> SweepSpec:
    """Check the fields of a sweep.

    Raises:
        BadInput: with one entry per field at fault: its path, what is wrong, what is allowed.
    """
    try:
        return SweepSpec.model_validate(fields)
    except ValidationError as error:
        raise BadInput(
            "The sweep is not valid: "
            + "; ".join(f"{p.path}: {p.message}" for p in field_problems(error))
            + ".",
            fields=field_problems(error),
        ) from error


def field_problems(error: ValidationError) -> tuple[FieldProblem, ...]:
    """Tell pydantic's findings in the user's words."""
    problems = []
    for item in error.errors(include_url=False):
        message = item["msg"].removeprefix("Value error, ")
        value = item.get("input")
        if (
            isinstance(value, int | float | str)
            and not isinstance(value, bool)
            and repr(value) not in message
        ):
            message = f"{message} (got {value!r})"
        path = ".".join(str(part) for part in item["loc"]) or "the sweep"
        problems.append(FieldProblem(path=path, message=message))
    return tuple(problems)
