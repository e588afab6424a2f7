"""Input and output of planners: cells, runs, requests and plans, as plain values without input or output.

Symbols are those of ``orchestrator.cells``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from orchestrator.cells import TRAINING_FLOPS_PER_PARAM_TOKEN, Cell, Cells, Point
from orchestrator.law import Law, Observations
from orchestrator.law.observations import OWN, Index, point_array


class RunOutcome(StrEnum):
    """State of a known run for planning."""

    OPEN = "open"
    COMPLETED = "completed"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRun:
    """A run that was asked for. ``loss`` is None unless it completed."""

    cell: int
    learning_rate: float
    seed: int
    outcome: RunOutcome
    loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """The target of a sweep and its limits.

    Attributes:
        target: the (N, D, B) of the model to train.
        seeds: seeds 0 … seeds − 1 may be used.
        runs_left, flops_left: rest of the budget beyond the open runs; None is unlimited.
        interval_factor: stop when the 95 % interval at the target is within ×/÷ this; None never stops by it.
        runs_per_batch: most runs of one batch; None lets the strategy choose.
        rates_per_cell: least number of rates to try in every cell before stopping.
        max_parallel: runs that train at once; a batch smaller than this leaves workers idle.
        seed: of the planner's own random choices.
        more_targets: further targets; the mean variance over all targets counts.
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
    """Input of a plan: the cells, the runs asked for so far, and prior runs from elsewhere."""

    cells: Cells
    runs: tuple[KnownRun, ...] = ()
    prior: Observations | None = None

    @property
    def observations(self) -> Observations:
        """The runs as the law takes them: results, NaN for the loss of a diverged run, and prior runs that count."""
        ended = [run for run in self.runs if run.outcome in {RunOutcome.COMPLETED, RunOutcome.DIVERGED}]
        own = [(run.learning_rate, np.nan if run.loss is None else run.loss, run.seed) for run in ended]
        points = point_array(self.cells[run.cell] for run in ended)
        columns = np.column_stack([points, np.array(own, dtype=np.float64).reshape(-1, 3)])
        trunk = self._trunks(ended)
        if self.prior is not None:
            prior = self.prior.counting()
            seed = np.zeros(prior.size) if prior.seed is None else prior.seed
            known = [prior.points, prior.learning_rate, prior.loss, seed]
            columns = np.concatenate([columns, np.column_stack(known)])
            theirs = prior.trunks
            trunk = np.concatenate([trunk, np.where(theirs < 0, OWN, theirs + trunk.max(initial=OWN) + 1)])
        names = ("params", "tokens", "batch_tokens", "learning_rate", "loss", "seed")
        return Observations(**dict(zip(names, columns.T, strict=True)), trunk=trunk)

    def _trunks(self, runs: Sequence[KnownRun]) -> Index:
        """A label for the (trunk, η, seed) of each run, `OWN` if its cell has no trunk, shape [runs]."""
        keys = [(self.cells[run.cell].trunk, run.learning_rate, run.seed) for run in runs]
        labels = {
            key: number for number, key in enumerate(sorted({key for key in keys if key[0] is not None}))
        }
        return np.array([labels.get(key, OWN) for key in keys], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A run to make next. ``flops`` is its cost beyond what is already trained; ``reason`` is for people."""

    cell: int
    learning_rate: float
    seed: int
    flops: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A rate that the law rules out in one cell, with the reason as a sentence."""

    cell: int
    learning_rate: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """Output of a planner. An empty batch with open runs means "wait"; ``stop`` is the reason to end.

    ``pruned`` lists all rates that the newest law rules out and that were not asked for. A rate that an earlier law ruled
    out and that is not in the list may be asked for again.
    """

    batch: tuple[Proposal, ...] = ()
    pruned: tuple[Pruned, ...] = ()
    stop: str | None = None


class Planner(Protocol):
    """A strategy: a pure function of its input, so that a restarted service plans the same batch."""

    def plan(self, history: RunHistory, law: Law | None, request: PlanRequest) -> BatchPlan:
        """Choose the next batch of runs.

        Args:
            history: cells and runs.
            law: the newest law of the history; None while none can be fitted.
            request: the target and the limits.
        """
        ...


def trunk_tokens(
    history: RunHistory, outcomes: Collection[RunOutcome] = (RunOutcome.OPEN, RunOutcome.COMPLETED)
) -> dict[tuple[str, float, int], float]:
    """Tokens of each (trunk, η, seed) after the runs of these outcomes; a run that diverged leaves none to continue."""
    tokens: dict[tuple[str, float, int], float] = {}
    for run in history.runs:
        cell = history.cells[run.cell]
        if cell.trunk is None or run.outcome not in outcomes:
            continue
        key = (cell.trunk, run.learning_rate, run.seed)
        tokens[key] = max(tokens.get(key, 0.0), cell.fork_tokens)
    return tokens


def asked_flops(history: RunHistory) -> float:
    """FLOPs of all runs asked for so far: shared trunks count once, runs that diverged count in full."""
    asked = [history.cells[run.cell] for run in history.runs if run.outcome is not RunOutcome.FAILED]
    apart = sum(cell.flops for cell in asked if cell.trunk is None)
    branches = sum(cell.marginal_flops(cell.fork_tokens) for cell in asked if cell.trunk is not None)
    per_token = {cell.trunk: cell.flops_per_token for cell in history.cells}
    trunks = sum(
        per_token[trunk] * tokens
        for (trunk, _, _), tokens in trunk_tokens(history, set(RunOutcome) - {RunOutcome.FAILED}).items()
    )
    return apart + branches + trunks


def prior_flops(history: RunHistory) -> float:
    """FLOPs of the prior runs: 6·N·D each, N the active parameters if they are known."""
    prior = history.prior
    if prior is None:
        return 0.0
    active = prior.params if prior.params_active is None else prior.params_active
    return TRAINING_FLOPS_PER_PARAM_TOKEN * float(active @ prior.tokens)


def full_grid_flops(cells: Iterable[Cell], seeds: int) -> float:
    """Cost of every rate in every cell as independent runs: Σ 6·N·D over the grid, N the active parameters."""
    return sum(cell.flops * len(cell.rates) for cell in cells) * seeds
