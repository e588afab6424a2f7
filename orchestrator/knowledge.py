"""What is known of a sweep, from the store's rows to the values that the law and the planner take."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from orchestrator.errors import BadInput, FieldProblem, NotFound
from orchestrator.law import Observations, Point
from orchestrator.law.point import points_of
from orchestrator.planner.values import (
    Cell,
    Cells,
    KnownRun,
    PlanRequest,
    RunHistory,
    RunOutcome,
    asked_flops,
)
from orchestrator.spec import RecordedRows, SweepSpec
from orchestrator.states import RUN_FINAL, RUN_OPEN, RunState
from orchestrator.store import Store
from orchestrator.store.records import Run, Sweep
from orchestrator.tables.run_table import RunTable, parse_csv

OUTCOMES: Final = {
    RunState.PENDING: RunOutcome.OPEN,
    RunState.RUNNING: RunOutcome.OPEN,
    RunState.COMPLETED: RunOutcome.COMPLETED,
    RunState.DIVERGED: RunOutcome.DIVERGED,
    RunState.FAILED: RunOutcome.FAILED,
}
"""How a run's state looks to a planner; pruned and cancelled runs were never tried."""

RESULTS: Final = (RunState.COMPLETED, RunState.DIVERGED)
"""States of runs that a law is fitted to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """Everything known of a sweep at one moment.

    Attributes:
        sweep: the sweep.
        cells: the cells of its search, by number.
        runs: all runs of its search, in the order of creation; those of a held-out comparison tell the law nothing.
        prior: the runs that it need not pay for, if it has any.
    """

    sweep: Sweep
    cells: Cells
    runs: tuple[Run, ...]
    prior: Observations | None

    @property
    def record(self) -> RunHistory:
        """What the planner knows."""
        known = tuple(_known(run) for run in self.runs if run.state in OUTCOMES)
        return RunHistory(cells=self.cells, runs=known, prior=self.prior)

    @property
    def observations(self) -> Observations:
        """What the law is fitted to: the results, a diverged run with the loss NaN, and the prior runs."""
        return self._observed(lambda cell: cell.params, self.prior)

    @property
    def both_counts(self) -> Mapping[str, Observations] | None:
        """The sweep's own results by the count of parameters that is their N; None where there is one count alone."""
        if not any(run.state in RESULTS for run in self.runs):
            return None
        if any(cell.params_total is None or cell.params_active is None for cell in self.cells):
            return None
        return {
            "params_active": self._observed(lambda cell: cell.params_active or cell.params),
            "params_total": self._observed(lambda cell: cell.params_total or cell.params),
        }

    def _observed(self, params: Callable[[Cell], float], prior: Observations | None = None) -> Observations:
        results = [run for run in self.runs if run.state in RESULTS]
        own = [
            (params(cell), cell.tokens, cell.batch_tokens, run.learning_rate, _loss(run), float(run.seed))
            for run in results
            for cell in (self.cells[run.cell],)
        ]
        columns = np.array(own, dtype=np.float64).reshape(-1, 6).T
        if prior is not None:
            columns = np.hstack([columns, _columns(prior)])
        sizes, tokens, batch_tokens, learning_rate, loss, seed = columns
        return Observations(
            params=sizes,
            tokens=tokens,
            batch_tokens=batch_tokens,
            learning_rate=learning_rate,
            loss=loss,
            seed=seed,
        )

    @property
    def target(self) -> Point:
        """The spec's target, completed from the cells and prior runs."""
        prior = [] if self.prior is None else points_of(self.prior)
        return target_of(self.sweep.spec, [*(cell.point for cell in self.cells), *prior])

    @property
    def asked(self) -> int:
        """Runs asked for so far, whatever became of them."""
        return sum(run.state is not RunState.PRUNED for run in self.runs)

    @property
    def is_open(self) -> bool:
        """Whether any run is still owed a result."""
        return any(run.state in RUN_OPEN for run in self.runs)

    @property
    def ended(self) -> int:
        """Runs that have said their last word, whatever became of them."""
        return sum(run.state in RUN_FINAL for run in self.runs)

    @property
    def promised_flops(self) -> float:
        """FLOPs that the open runs are expected to add; what they share with runs that ended is not theirs."""
        record = self.record
        ended = tuple(run for run in record.runs if run.outcome is not RunOutcome.OPEN)
        return max(0.0, asked_flops(record) - asked_flops(replace(record, runs=ended)))

    @property
    def spent_flops(self) -> float:
        """FLOPs that the runs have really spent."""
        return math.fsum(run.flops for run in self.runs)


def knowledge_of(store: Store, sweep: Sweep, prior: Observations | None) -> Knowledge:
    """Read what is known of a sweep."""
    cells = store.sweeps.cells(sweep.id)
    return Knowledge(
        sweep=sweep,
        cells=cells.searched,
        runs=tuple(run for run in store.runs.of_sweep(sweep.id) if cells[run.cell].arm is None),
        prior=prior,
    )


def observations_of(store: Store, sweep: Sweep) -> Observations:
    """What the newest law of a sweep is fitted to, or a few results more."""
    source = sweep.spec.prior_runs
    prior = None if source is None else recorded_runs(store, source, "prior_runs").observations()
    return knowledge_of(store, sweep, prior).observations


def _known(run: Run) -> KnownRun:
    outcome = OUTCOMES[run.state]
    loss = run.loss if outcome is RunOutcome.COMPLETED else None
    return KnownRun(cell=run.cell, learning_rate=run.learning_rate, seed=run.seed, outcome=outcome, loss=loss)


def _loss(run: Run) -> float:
    return math.nan if run.loss is None else run.loss


def _columns(prior: Observations) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    seed = np.zeros(prior.size) if prior.seed is None else prior.seed
    return np.vstack([prior.params, prior.tokens, prior.batch_tokens, prior.learning_rate, prior.loss, seed])


def target_of(spec: SweepSpec, known: Collection[Point]) -> Point:
    """The target of a sweep.

    Args:
        spec: the sweep; its target may be absent, or lack a batch.
        known: the points of its cells and prior runs; at least one.

    Returns:
        The spec's target; its batch defaults to the largest known, and the whole target to the point that costs the
        most FLOPs.
    """
    if spec.target is None:
        return max(known, key=lambda point: (point.params * point.tokens, point.batch_tokens))
    batch_tokens = default_batch(spec, (point.batch_tokens for point in known))
    return Point(params=spec.target.params, tokens=spec.target.tokens, batch_tokens=batch_tokens)


def default_batch(spec: SweepSpec, known: Iterable[float]) -> float:
    """B of a target that names none: that of the sweep's own target, or the largest known.

    Args:
        spec: the sweep.
        known: B of its cells or bowls, in tokens per step; at least one.
    """
    own = None if spec.target is None else spec.target.batch_tokens
    return max(known) if own is None else own


def plan_request(
    spec: SweepSpec, target: Point, *, runs: int = 0, flops: float = 0.0, has_law: bool = False
) -> PlanRequest:
    """What the planner is asked, after ``runs`` and ``flops`` have been spent or promised.

    Args:
        spec: the sweep; its budget limits what is left.
        target: where the rate is wanted.
        runs: runs asked for so far.
        flops: FLOPs spent, and promised to open runs.
        has_law: whether there is a law to choose runs by: before, nothing is learnt by asking for few at a time.
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
        source: the table's id and the ``where`` that picks a recipe.
        field: the field of the spec that names it, for messages.

    Raises:
        BadInput: no such table, or its rows mix recipes.
    """
    try:
        table = store.tables.get(source.table)
    except NotFound as error:
        message = f"no table {source.table!r}; upload it first with POST /v1/tables"
        path = f"{field}.table"
        raise BadInput(f"{path}: {message}.", fields=(FieldProblem(path=path, message=message),)) from error
    return parse_csv(table.data).one_recipe(source.where)
