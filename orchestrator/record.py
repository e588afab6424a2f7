"""What is known of a sweep, from the store's rows to the values that the law and the planner take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from orchestrator.law import Observations, Target
from orchestrator.planner.values import Cell, KnownRun, Outcome, Record, asked_flops
from orchestrator.prediction import target_of
from orchestrator.states import RUN_FINAL, RUN_OPEN, RunState
from orchestrator.store import Store
from orchestrator.store.records import Run, Sweep
from orchestrator.submission import recorded_runs

OUTCOMES: Final = {
    RunState.PENDING: Outcome.OPEN,
    RunState.RUNNING: Outcome.OPEN,
    RunState.COMPLETED: Outcome.COMPLETED,
    RunState.DIVERGED: Outcome.DIVERGED,
    RunState.FAILED: Outcome.FAILED,
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
    cells: tuple[Cell, ...]
    runs: tuple[Run, ...]
    prior: Observations | None

    @property
    def record(self) -> Record:
        """What the planner knows."""
        known = tuple(_known(run) for run in self.runs if run.state in OUTCOMES)
        return Record(cells=self.cells, runs=known, prior=self.prior)

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
    def target(self) -> Target:
        """Where the rate is wanted: the spec's target, completed from the cells and prior runs."""
        places = [(cell.params, cell.tokens, cell.batch_tokens) for cell in self.cells]
        if self.prior is not None:
            rows = zip(self.prior.params, self.prior.tokens, self.prior.batch_tokens, strict=True)
            places += [(float(n), float(d), float(b)) for n, d, b in rows]
        return target_of(self.sweep.spec, tuple(places))

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
        ended = tuple(run for run in record.runs if run.outcome is not Outcome.OPEN)
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
        cells=tuple(cell for cell in cells if cell.arm is None),
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
    loss = run.loss if outcome is Outcome.COMPLETED else None
    return KnownRun(cell=run.cell, learning_rate=run.learning_rate, seed=run.seed, outcome=outcome, loss=loss)


def _loss(run: Run) -> float:
    return math.nan if run.loss is None else run.loss


def _columns(prior: Observations) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    seed = np.zeros(prior.size) if prior.seed is None else prior.seed
    return np.vstack([prior.params, prior.tokens, prior.batch_tokens, prior.learning_rate, prior.loss, seed])
