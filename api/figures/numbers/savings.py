"""Savings in numbers: what the sweep has spent of its full grid, why the rest was not, and how the interval shrank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from api.figures.numbers.snapshot import Snapshot
from orchestrator.cells import Cells
from orchestrator.states import RUN_OPEN, SWEEP_LIVE, RunState
from orchestrator.store.records import LawRecord, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The FLOPs of the full grid of independent runs, taken apart; the four add up to it.

    Attributes:
        spent: really spent.
        shared: saved because horizons shared the constant-rate part of a run.
        open: of rates asked for but not finished, and, while the sweep lives, of rates not decided yet.
        never_run: saved because the rate was ruled out or not needed.
    """

    spent: float
    shared: float
    open: float
    never_run: float

    @property
    def full(self) -> float:
        """All of it."""
        return self.spent + self.shared + self.open + self.never_run


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCost:
    """One batch of runs: its number, its runs, its own FLOPs and those of all batches up to it."""

    number: int
    runs: int
    flops: float
    cumulative: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refit:
    """One law: the runs it knew and the factor of its 95 % interval at the target; None where it refused."""

    number: int
    runs: int
    spent_flops: float
    factor: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """Cost and knowledge over the life of a sweep.

    Attributes:
        goal: the factor at which the sweep stops; None without one.
    """

    full_grid_flops: float
    split: Split
    batches: tuple[BatchCost, ...]
    refits: tuple[Refit, ...]
    goal: float | None


def savings(snapshot: Snapshot, laws: Sequence[LawRecord]) -> Savings:
    """Add up a sweep's cost and follow its interval.

    Args:
        snapshot: the sweep.
        laws: all its laws, oldest first.
    """
    return Savings(
        full_grid_flops=snapshot.sweep.full_grid_flops,
        split=split(snapshot),
        batches=_batches(snapshot.runs),
        refits=tuple(_refit(record) for record in laws),
        goal=snapshot.sweep.spec.search.stop.interval_factor,
    )


def split(snapshot: Snapshot) -> Split:
    """Take the cost of the full grid apart."""
    full = snapshot.sweep.full_grid_flops
    spent = sum(run.flops for run in snapshot.runs)
    done = _independent_flops(snapshot.cells, snapshot.runs, open_=False)
    waiting = _independent_flops(snapshot.cells, snapshot.runs, open_=True)
    shared = max(done - spent, 0.0)
    left = max(full - spent - shared - waiting, 0.0)
    if snapshot.sweep.state not in SWEEP_LIVE:
        return Split(spent=spent, shared=shared, open=waiting, never_run=left)
    pruned = sum(snapshot.cells[run.cell].flops for run in snapshot.runs if run.state is RunState.PRUNED)
    never_run = min(pruned, left)
    return Split(spent=spent, shared=shared, open=waiting + left - never_run, never_run=never_run)


def _independent_flops(cells: Cells, runs: Sequence[Run], *, open_: bool) -> float:
    """What the finished (or the open) runs would cost each from its first token."""
    done = (RunState.COMPLETED, RunState.DIVERGED)
    states = RUN_OPEN if open_ else done
    return sum(cells[run.cell].flops for run in runs if run.state in states)


def _batches(runs: Sequence[Run]) -> tuple[BatchCost, ...]:
    counts: dict[int, tuple[int, float]] = {}
    for run in runs:
        if run.batch is not None and run.state is not RunState.PRUNED:
            known, flops = counts.get(run.batch, (0, 0.0))
            counts[run.batch] = known + 1, flops + run.flops
    numbers = sorted(counts)
    cumulative = accumulate(counts[number][1] for number in numbers)
    return tuple(
        BatchCost(number=number, runs=counts[number][0], flops=counts[number][1], cumulative=total)
        for number, total in zip(numbers, cumulative, strict=True)
    )


def _refit(record: LawRecord) -> Refit:
    interval = record.prediction.get("interval")
    factor = math.sqrt(interval["high"] / interval["low"]) if interval else None
    return Refit(number=record.number, runs=record.runs, spent_flops=record.spent_flops, factor=factor)
