"""What a planner is asked, what it knows and what it answers: plain values, no input or output.

| symbol | meaning |
|---|---|
| N, D, B | parameters, training tokens, tokens per optimizer step of a cell |
| η | peak learning rate |
| f | share of a run's tokens spent in the decay branch; 1 where nothing is shared |
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.law import Law, Observations, Point

TRAINING_FLOPS_PER_PARAM_TOKEN = 6.0
"""Forward and backward of one token through one parameter (Kaplan et al., arXiv 2001.08361, section 2.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One (N, D, B) of one recipe, with the learning rates that may be tried there.

    Attributes:
        number: its name in the sweep; no position: see `Cells`.
        params: N, without embeddings.
        tokens: D.
        batch_tokens: B.
        rates: η that may be tried, ascending; what is recorded, for a replay.
        trunk: cells with the same trunk (same shape, batch and recipe) share the constant-rate part of a
            run at one η and seed; None where runs share nothing.
        decay_fraction: f in (0, 1].
        params_total, params_active: both counts of a mixture of experts, without embeddings; None where every
            parameter is active and N is both.
        arm: of the held-out comparison, such as "transfer"; None for a cell of the search.
    """

    number: int
    params: float
    tokens: float
    batch_tokens: float
    rates: tuple[float, ...]
    trunk: str | None = None
    decay_fraction: float = 1.0
    params_total: float | None = None
    params_active: float | None = None
    arm: str | None = None

    @property
    def point(self) -> Point:
        """Its (N, D, B)."""
        return Point(params=self.params, tokens=self.tokens, batch_tokens=self.batch_tokens)

    @property
    def flops_per_token(self) -> float:
        """FLOPs that training takes for one token: 6 for each parameter that the token meets."""
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
        """FLOPs of one more run when its trunk has already been trained for ``trunk_tokens``."""
        trunk = max(0.0, self.fork_tokens - trunk_tokens)
        decay = self.decay_fraction * self.tokens
        return self.flops_per_token * (trunk + decay)


class Cells(Collection[Cell]):
    """The cells of a sweep by number, immutable; iterates in order of number.

    A number is no position: numbers may have holes, and a cell that is added later may have any (N, D, B). Arrays over
    cells have one row per cell in order of number; `row_of` and `rows_of` turn numbers into rows.

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
    def numbers(self) -> tuple[int, ...]:
        """The numbers, ascending: that of each row."""
        return tuple(self._by_number)

    @property
    def next_number(self) -> int:
        """The lowest number above all that are taken."""
        return max(self._by_number, default=-1) + 1

    @property
    def searched(self) -> Cells:
        """The cells of the search: without those of a held-out comparison."""
        return Cells(cell for cell in self if cell.arm is None)

    def row_of(self, number: int) -> int:
        """The row of a cell in arrays over all cells.

        Raises:
            KeyError: there is no cell of this number.
        """
        return self._rows[number]

    def rows_of(self, numbers: Iterable[int]) -> NDArray[np.int64]:
        """The rows of several cells, shape [numbers].

        Raises:
            KeyError: one of them does not exist.
        """
        return np.array([self._rows[number] for number in numbers], dtype=np.int64)


class RunOutcome(StrEnum):
    """How a known run stands, as far as planning is concerned."""

    OPEN = "open"
    COMPLETED = "completed"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRun:
    """A run that was asked for: open, or with its outcome. ``loss`` is None unless completed."""

    cell: int
    learning_rate: float
    seed: int
    outcome: RunOutcome
    loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What the sweep is for and what it may still spend.

    Attributes:
        target: the (N, D, B) that the rate is wanted for.
        seeds: seeds 0 … seeds − 1 may be used.
        runs_left, flops_left: what the budget still allows beyond the open runs; None is unlimited.
        interval_factor: stop when the 95 % interval at the target is within ×/÷ this; None never stops by it.
        runs_per_batch: most runs of one batch; None lets the strategy choose.
        rates_per_cell: least rates to try in every cell before stopping.
        max_parallel: runs that train at once; a batch smaller than this leaves workers idle.
        seed: of the planner's own random choices.
        more_targets: further cells that the rate is wanted for; the mean variance over all of them counts.
    """

    target: Point
    seeds: int = 1
    runs_left: int | None = None
    flops_left: float | None = None
    interval_factor: float | None = None
    runs_per_batch: int | None = None
    rates_per_cell: int = 0
    max_parallel: int = 1
    seed: int = 0
    more_targets: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHistory:
    """Everything known when planning: the cells, the runs asked for so far, and knowledge from elsewhere."""

    cells: Cells
    runs: tuple[KnownRun, ...] = ()
    prior: Observations | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A run to make next. ``flops`` is what it adds to what is already trained; ``reason`` is for people."""

    cell: int
    learning_rate: float
    seed: int
    flops: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A rate that the law rules out in one cell, and why, in a sentence."""

    cell: int
    learning_rate: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """The planner's answer. An empty batch with open runs means "wait"; ``stop`` is the reason to end.

    ``pruned`` is everything that the newest law rules out and that was not asked for, not what is new in it: a rate
    that an earlier law dropped and this list lacks has come back.
    """

    batch: tuple[Proposal, ...] = ()
    pruned: tuple[Pruned, ...] = ()
    stop: str | None = None


class Planner(Protocol):
    """A strategy: a pure function of the history, so that a restarted service plans the same batch."""

    def plan(self, history: RunHistory, law: Law | None, request: PlanRequest) -> BatchPlan:
        """Choose the next batch of runs.

        Args:
            history: what is known.
            law: the newest law fitted to the history, or None while none can be fitted.
            request: the target and the limits.
        """
        ...


def trunk_reach(history: RunHistory) -> Mapping[tuple[str, float, int], float]:
    """Tokens that each (trunk, η, seed) has reached or will reach with the runs already asked for.

    A run that diverged leaves no trunk to go on from.
    """
    return _reached(history, {RunOutcome.OPEN, RunOutcome.COMPLETED})


def _reached(history: RunHistory, outcomes: Collection[RunOutcome]) -> dict[tuple[str, float, int], float]:
    """Tokens that each (trunk, η, seed) has reached with runs of these outcomes."""
    reach: dict[tuple[str, float, int], float] = {}
    for run in history.runs:
        cell = history.cells[run.cell]
        if cell.trunk is None or run.outcome not in outcomes:
            continue
        key = (cell.trunk, run.learning_rate, run.seed)
        reach[key] = max(reach.get(key, 0.0), cell.fork_tokens)
    return reach


def asked_flops(history: RunHistory) -> float:
    """FLOPs of all runs asked for so far: what trunks share is counted once, runs that diverged count whole."""
    apart = sum(cell.flops for cell in _cells_of(history) if cell.trunk is None)
    branches = sum(
        cell.marginal_flops(cell.fork_tokens) for cell in _cells_of(history) if cell.trunk is not None
    )
    per_token = {cell.trunk: cell.flops_per_token for cell in history.cells}
    trunks = sum(
        per_token[trunk] * tokens
        for (trunk, _, _), tokens in _reached(history, set(RunOutcome) - {RunOutcome.FAILED}).items()
    )
    return apart + branches + trunks


def prior_flops(history: RunHistory) -> float:
    """FLOPs of the runs from elsewhere: 6·N·D of each, N the active parameters where they are told."""
    prior = history.prior
    if prior is None:
        return 0.0
    active = prior.params if prior.params_active is None else prior.params_active
    return TRAINING_FLOPS_PER_PARAM_TOKEN * float(active @ prior.tokens)


def _cells_of(history: RunHistory) -> list[Cell]:
    return [history.cells[run.cell] for run in history.runs if run.outcome is not RunOutcome.FAILED]


def full_grid_flops(cells: Iterable[Cell], seeds: int) -> float:
    """What every rate in every cell would cost as independent runs: Σ 6·N·D over the grid, N the active parameters."""
    return sum(cell.flops * len(cell.rates) for cell in cells) * seeds
