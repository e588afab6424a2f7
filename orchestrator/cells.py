"""The places of runs: a point (N, D, B), a cell of a sweep, and the cells of a sweep by number.

| symbol | meaning |
|---|---|
| N, D, B | parameters, training tokens, tokens per optimizer step of a cell |
| η | peak learning rate |
| f | share of a run's tokens spent in the decay branch; 1 where nothing is shared |
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from orchestrator.amounts import sized
from orchestrator.errors import BadInput

TRAINING_FLOPS_PER_PARAM_TOKEN = 6.0
"""Forward and backward of one token through one parameter (Kaplan et al., arXiv 2001.08361, section 2.1)."""


CLOSE = 1e-3  # relative difference up to which two sizes, horizons, batches or rates are the same


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Point:
    """One (N, D, B): params N without embeddings, training tokens D, batch_tokens B per optimizer step, each > 0.

    Raises:
        BadInput: a value is not a positive finite number.
    """

    params: float
    tokens: float
    batch_tokens: float

    @property
    def point(self) -> Point:
        """The (N, D, B) alone, of a cell, a bowl or whatever else lies there."""
        return Point(params=self.params, tokens=self.tokens, batch_tokens=self.batch_tokens)

    @property
    def in_words(self) -> str:
        """For people: ``1 B parameters, 20 B tokens, 1.05 M tokens a batch``."""
        return ", ".join(sized(name, getattr(self, name)) for name in ("params", "tokens", "batch_tokens"))

    def __post_init__(self) -> None:
        for name in ("params", "tokens", "batch_tokens"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise BadInput(f"{name} is {value!r}; it must be a positive finite number.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell(Point):
    """A point of one recipe, with the learning rates that may be tried there.

    Attributes:
        number: its name in the sweep; no position: see `Cells`.
        rates: η that may be tried, ascending; for a replay the recorded ones.
        trunk: cells with the same trunk (same shape, batch and recipe) share the constant-rate part of a
            run at one η and seed; None if runs share nothing.
        decay_fraction: f in (0, 1].
        params_total, params_active: both counts of a mixture of experts, without embeddings; None if every
            parameter is active and N is both.
        with_values: values that make the model of a registered program, as canonical JSON; None for other trainers.
        role: part in the held-out comparison, such as "transfer"; None for a cell of the search.
    """

    number: int
    rates: tuple[float, ...]
    trunk: str | None = None
    decay_fraction: float = 1.0
    params_total: float | None = None
    params_active: float | None = None
    with_values: str | None = None
    role: str | None = None

    @property
    def flops_per_token(self) -> float:
        """Training FLOPs of one token: 6 for each active parameter."""
        active = self.params if self.params_active is None else self.params_active
        return TRAINING_FLOPS_PER_PARAM_TOKEN * active

    @property
    def flops(self) -> float:
        """FLOPs of one run from its first token: 6·N·D, N the active parameters."""
        return self.flops_per_token * self.tokens

    @property
    def fork_tokens(self) -> float:
        """Tokens of the constant-rate trunk: (1 − f)·D."""
        return (1.0 - self.decay_fraction) * self.tokens

    def marginal_flops(self, trunk_tokens: float) -> float:
        """FLOPs of one more run if its trunk has already been trained for ``trunk_tokens``."""
        trunk = max(0.0, self.fork_tokens - trunk_tokens)
        decay = self.decay_fraction * self.tokens
        return self.flops_per_token * (trunk + decay)


class Cells(Collection[Cell]):
    """The cells of a sweep by number, immutable; iterates in order of number.

    A number is no position: numbers may have holes, and a cell that is added later may have any (N, D, B). Arrays over
    cells have one row per cell in order of number; `row_of` turns a number into a row.

    Raises:
        ValueError: two cells have one number.
    """

    __slots__ = ("_by_number", "_rows")

    def __init__(self, cells: Iterable[Cell] = ()) -> None:
        ordered = sorted(cells, key=attrgetter("number"))
        self._by_number = {cell.number: cell for cell in ordered}
        self._rows = {number: row for row, number in enumerate(self._by_number)}
        if len(self._by_number) < len(ordered):
            raise ValueError("two cells have one number")

    def __getitem__(self, number: int) -> Cell:
        """The cell of this number.

        Raises:
            KeyError: there is none.
        """
        return self._by_number[number]

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._by_number.values())

    def __len__(self) -> int:
        return len(self._by_number)

    def __contains__(self, cell: object) -> bool:
        return isinstance(cell, Cell) and self._by_number.get(cell.number) == cell

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cells) and self._by_number == other._by_number

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Cells({list(self)!r})"

    @property
    def next_number(self) -> int:
        """The lowest number above all that are taken."""
        return max(self._by_number, default=-1) + 1

    @property
    def searched(self) -> Cells:
        """The cells of the search: without those of a held-out comparison."""
        return Cells(cell for cell in self if cell.role is None)

    def row_of(self, number: int) -> int:
        """The row of a cell in arrays over all cells.

        Raises:
            KeyError: there is no cell of this number.
        """
        return self._rows[number]
