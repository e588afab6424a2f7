"""The grid of a sweep: sizes, horizons, batches and the lattice of learning rates."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import Discriminator, Field, Tag, model_validator

from orchestrator.amounts import number
from orchestrator.cells import CLOSE
from orchestrator.spec.fields import BadField, Count, Integer, Number, Rate, Strict

MAX_LATTICE: Final = 200
MAX_AXIS: Final = 200
MAX_CELLS: Final = 10_000
MAX_RUNS: Final = 100_000
"""Cells × rates × seeds of one sweep. Planning takes memory and time in proportion."""


class Lattice(Strict):
    """Log-spaced learning rates from ``min`` up to at most ``max``."""

    min: Rate
    max: Rate
    per_octave: Annotated[Number, Field(gt=0, le=32)] = 2

    @model_validator(mode="after")
    def _spans_something(self) -> Lattice:
        if self.min >= self.max:
            raise ValueError(f"min {number(self.min, 6)} must be below max {number(self.max, 6)}")
        if self.steps >= MAX_LATTICE:
            raise ValueError(
                f"min {number(self.min, 6)}, max {number(self.max, 6)} and per_octave {self.per_octave:g} make {self.steps + 1} rates; "
                f"at most {MAX_LATTICE} are allowed"
            )
        if self.steps < 1:
            least = number(1.005 / math.log2(self.max / self.min))
            raise BadField(
                "per_octave",
                f"{self.per_octave:g} makes one rate from {number(self.min, 6)} to {number(self.max, 6)}; two rates need at "
                f"least {least}, and one rate is given as a list",
            )
        return self

    @property
    def steps(self) -> int:
        """Steps from the first rate to the last."""
        return math.floor(math.log2(self.max / self.min) * self.per_octave + 1e-9)

    def rates(self) -> tuple[float, ...]:
        """The learning rates, ascending, rounded to six digits so that all processes agree."""
        return tuple(float(f"{self.min * 2 ** (i / self.per_octave):.6g}") for i in range(self.steps + 1))


def _kind_of_rates(value: object) -> str:
    return "lattice" if isinstance(value, dict | Lattice) else "list"


Rates = Annotated[
    Annotated[Lattice, Tag("lattice")]
    | Annotated[tuple[Rate, ...], Field(max_length=MAX_LATTICE), Tag("list")],
    Discriminator(_kind_of_rates),
]

ScaleT = TypeVar("ScaleT", bound=Strict)


class GridOf(Strict, Generic[ScaleT]):
    """The cells and the lattice of a trainer whose scales are ``ScaleT``.

    Empty parts of a replay's grid mean "all recorded".
    """

    scales: Annotated[tuple[ScaleT, ...], Field(max_length=MAX_AXIS)] = ()
    tokens: Annotated[tuple[Count, ...], Field(max_length=MAX_AXIS)] = ()
    batch_tokens: Annotated[tuple[Count, ...], Field(max_length=MAX_AXIS)] = ()
    learning_rates: Rates = ()
    seeds: Annotated[Integer, Field(ge=1, le=100)] = 1

    def rates(self) -> tuple[float, ...]:
        """The lattice's learning rates, ascending; of rates that a law regards as equal, the lowest."""
        if isinstance(self.learning_rates, Lattice):
            return self.learning_rates.rates()
        rates: list[float] = []
        for rate in sorted(self.learning_rates):
            if not rates or math.log(rate / rates[-1]) > CLOSE:
                rates.append(rate)
        return tuple(rates)


def grid_of(scale: type[Strict]) -> type[GridOf[Any]]:
    """The model of a grid whose scales are of this model."""
    return GridOf[scale]  # type: ignore[valid-type]


AXES: Final = ("scales", "tokens", "batch_tokens")


def check_grid(grid: GridOf[Any], kind: str) -> None:
    """Refuse a grid that makes no run, or more than a sweep may have.

    Args:
        grid: whose cells are all combinations of its axes.
        kind: of the trainer, for messages.

    Raises:
        BadField: at the field at fault.
    """
    for name in AXES:
        if not getattr(grid, name):
            raise BadField(f"grid.{name}", f"is empty; a {kind} sweep needs at least one")
    if not grid.rates():
        raise BadField("grid.learning_rates", "is empty; give {min, max, per_octave} or a list of rates")
    cells = math.prod(len(getattr(grid, name)) for name in AXES)
    if cells > MAX_CELLS:
        raise BadField(
            "grid", f"has {cells} cells (scales × tokens × batch_tokens); at most {MAX_CELLS} are allowed"
        )
    check_size(cells, cells * len(grid.rates()) * grid.seeds)


def check_size(cells: int, runs: int) -> None:
    """Refuse more runs than a sweep may have.

    Args:
        cells: number of cells.
        runs: cells × learning rates × seeds.

    Raises:
        BadField: at ``grid``.
    """
    if runs > MAX_RUNS:
        raise BadField(
            "grid",
            f"makes {runs} runs (learning rates × seeds in {cells} cells); at most {MAX_RUNS} are allowed, "
            "so take fewer of them",
        )
