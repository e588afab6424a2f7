"""What a planner is asked, what it knows and what it answers: plain values, no input or output.

Symbols are those of ``orchestrator.cells``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from orchestrator.cells import TRAINING_FLOPS_PER_PARAM_TOKEN, Cell, Cells, Point
from orchestrator.law import Law, Observations


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
