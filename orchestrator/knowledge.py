"""All that is known of a sweep: from the rows of the store to the values that the law and the planner take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

import numpy as np

from orchestrator.cells import Cell, Cells, Point
from orchestrator.errors import BadInput, NotFound
from orchestrator.law import Law, Observations
from orchestrator.law.features import CRITICAL_BATCH, CRITICAL_EXPONENT
from orchestrator.law.observations import point_list
from orchestrator.planner.values import KnownRun, PlanRequest, RunHistory, RunOutcome, asked_flops
from orchestrator.spec import RecordedRows, SweepSpec, TargetSpec
from orchestrator.states import RUN_FINAL, RUN_OPEN, RunState
from orchestrator.store import Store
from orchestrator.store.records import Run, Sweep
from orchestrator.tables.formats import read_table
from orchestrator.tables.run_table import RunTable

OUTCOMES: Final = {
    RunState.PENDING: RunOutcome.OPEN,
    RunState.RUNNING: RunOutcome.OPEN,
    RunState.COMPLETED: RunOutcome.COMPLETED,
    RunState.DIVERGED: RunOutcome.DIVERGED,
    RunState.FAILED: RunOutcome.FAILED,
}
"""The outcome that the planner sees for each state; pruned and cancelled runs were never tried.

An excluded run is one that failed: it says nothing of its rate and is not asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepKnowledge:
    """Everything known of a sweep at one moment.

    Attributes:
        sweep: the sweep.
        cells: the cells of its search.
        runs: all runs of its search, in the order of creation, without those of a held-out comparison.
        prior: the runs of its prior table; None without one.
    """

    sweep: Sweep
    cells: Cells
    runs: tuple[Run, ...]
    prior: Observations | None

    @property
    def history(self) -> RunHistory:
        """The runs as the planner takes them."""
        known = tuple(_known(run) for run in self.runs if run.state in OUTCOMES)
        return RunHistory(cells=self.cells, runs=known, prior=self.prior)

    @property
    def observations(self) -> Observations:
        """The runs as the law takes them: results, NaN for the loss of a diverged run, and prior runs."""
        return self.history.observations

    @property
    def both_counts(self) -> Mapping[str, Observations] | None:
        """The sweep's own results by the count of parameters that is their N; None with a single count."""
        if not any(run.is_evidence for run in self.runs):
            return None
        if any(cell.params_total is None or cell.params_active is None for cell in self.cells):
            return None
        return {
            "params_active": self._by_count(attrgetter("params_active")),
            "params_total": self._by_count(attrgetter("params_total")),
        }

    def _by_count(self, count: Callable[[Cell], float]) -> Observations:
        cells = Cells(replace(cell, params=count(cell)) for cell in self.cells)
        return replace(self.history, cells=cells, prior=None).observations

    def target(self, law: Law | None) -> Point:
        """The target of the specification, completed from a law, the cells and prior runs."""
        return target_of(self.sweep.spec, self.cells, self.prior, law)

    @property
    def asked(self) -> int:
        """Number of runs asked for so far, without those that were cancelled before they began."""
        return sum(
            run.state is not RunState.PRUNED and (run.state is not RunState.CANCELLED or run.attempt > 0)
            for run in self.runs
        )

    @property
    def is_open(self) -> bool:
        """Whether any run is pending or running."""
        return any(run.state in RUN_OPEN for run in self.runs)

    @property
    def ended(self) -> int:
        """Number of runs in a final state."""
        return sum(run.state in RUN_FINAL for run in self.runs)

    @property
    def promised_flops(self) -> float:
        """FLOPs that the open runs are expected to add, without what they share with runs that ended."""
        history = self.history
        ended = tuple(run for run in history.runs if run.outcome is not RunOutcome.OPEN)
        return max(0.0, asked_flops(history) - asked_flops(replace(history, runs=ended)))

    @property
    def spent_flops(self) -> float:
        """Measured FLOPs of the runs that ended."""
        return math.fsum(run.flops for run in self.runs)


def knowledge_of(store: Store, sweep: Sweep, prior: Observations | None) -> SweepKnowledge:
    """Read what is known of a sweep."""
    runs = store.runs.of_sweep(sweep.id)
    cells = store.sweeps.cells(sweep.id)  # after the runs: a cell that is added meanwhile is known
    return SweepKnowledge(
        sweep=sweep,
        cells=cells.searched,
        runs=tuple(run for run in runs if cells[run.cell].role is None),
        prior=prior,
    )


def observations_of(store: Store, sweep: Sweep) -> Observations:
    """The runs that a law of the sweep would be fitted to now."""
    return knowledge_of(store, sweep, prior_of(store, sweep.spec)).observations


def prior_of(store: Store, spec: SweepSpec) -> Observations | None:
    """The prior runs of a sweep; None if it has none.

    Raises:
        BadInput: as ``recorded_runs``.
    """
    source = spec.prior_runs
    return None if source is None else recorded_runs(store, source, "prior_runs").observations()


def _known(run: Run) -> KnownRun:
    return KnownRun(
        cell=run.cell,
        learning_rate=run.learning_rate,
        seed=run.seed,
        outcome=OUTCOMES[run.state] if run.excluded is None else RunOutcome.FAILED,
        loss=run.loss if run.excluded is None else None,
    )


def target_of(
    spec: SweepSpec, cells: Iterable[Cell], prior: Observations | None = None, law: Law | None = None
) -> Point:
    """The target of a sweep.

    Args:
        spec: the sweep; its target may be absent, or lack a batch.
        cells: its cells; at least one, or a prior run.
        prior: the runs of its prior table, if it has one.
        law: its newest law; None before the first.

    Returns:
        The target of the specification. Without a batch, that is the law's best; before there is a law, the
        ``likely_batch`` of the cells and prior runs. Without a target it is one of those cells: of the N and D that cost
        the most FLOPs, the batch nearest to the one just said.
    """
    known = [cell.point for cell in cells] + ([] if prior is None else _points(prior))
    if spec.target is None:
        costliest = max(known, key=lambda point: point.params * point.tokens)
        there = [
            point for point in known if (point.params, point.tokens) == (costliest.params, costliest.tokens)
        ]
        batch_tokens = _asked_batch(costliest, [point.batch_tokens for point in there], law)
        return min(
            there, key=lambda point: (abs(math.log(point.batch_tokens / batch_tokens)), point.batch_tokens)
        )
    at = spec.target
    batch_tokens = at.batch_tokens or _asked_batch(at, [point.batch_tokens for point in known], law)
    return Point(params=at.params, tokens=at.tokens, batch_tokens=batch_tokens)


def _asked_batch(at: Point | TargetSpec, tried: Iterable[float], law: Law | None) -> float:
    """The batch for a target that has none, with its N and D: the law's, or the likely one of those tried."""
    if law is None:
        return likely_batch(at.tokens, tried)
    return law.completed(params=at.params, tokens=at.tokens).batch_tokens


def _points(runs: Observations) -> list[Point]:
    """The different (N, D, B) of runs, in their order."""
    first = np.unique(runs.points, axis=0, return_index=True)[1]
    return point_list(runs.points[np.sort(first)])


def likely_batch(tokens: float, known: Iterable[float]) -> float:
    """The batch to aim at before there is a law: the one nearest to Step Law's best (arXiv 2503.04715, eq. 1).

    Args:
        tokens: D of the target.
        known: B of the cells and prior runs, in tokens per step; at least one.
    """
    likely = math.log(CRITICAL_BATCH * tokens**CRITICAL_EXPONENT)
    return min(known, key=lambda batch: (abs(math.log(batch) - likely), batch))


def plan_request(
    spec: SweepSpec, target: Point, *, runs: int = 0, flops: float = 0.0, has_law: bool = False
) -> PlanRequest:
    """The request to the planner, after ``runs`` and ``flops`` have been spent or promised.

    Args:
        spec: the sweep; its budget limits what is left.
        target: where the rate is wanted.
        runs: runs asked for so far.
        flops: FLOPs spent, and promised to open runs.
        has_law: whether there is a law to choose runs by; without one, small batches teach nothing.
    """
    budget = spec.search.budget
    few = spec.refits_on_arrival and has_law and not spec.training.takes_whole_batches
    return PlanRequest(
        target=target,
        seeds=spec.grid.seeds,
        runs_left=None if budget.runs is None else max(0, budget.runs - runs),
        flops_left=None if budget.flops is None else max(0.0, budget.flops - flops),
        interval_factor=spec.search.stop.interval_factor,
        runs_per_batch=spec.most_open if few else spec.search.runs_per_batch,
        rates_per_cell=spec.search.rates_per_cell,
        max_parallel=spec.resources.max_parallel,
    )


def recorded_runs(store: Store, source: RecordedRows, field: str) -> RunTable:
    """The rows of an uploaded table that a spec names, of one recipe.

    Args:
        store: where uploaded tables lie.
        source: the table's id and what picks a recipe.
        field: the field of the spec that names it, for messages.

    Raises:
        BadInput: no such table, or its rows mix recipes.
    """
    try:
        table = store.tables.get(source.table)
    except NotFound as error:
        message = f"no table {source.table!r}; upload it first with POST /v1/tables"
        raise BadInput.at(f"{field}.table", message) from error
    return read_table(table.data).one_recipe(source.where, source.ignore, f"{field}.where")
