"""Chooses the next step of a sweep: a pure function of a snapshot, tested as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from orchestrator.amounts import flops
from orchestrator.spec import FIRST_RUNS, Budget
from orchestrator.states import (
    COMPARISON_FINAL,
    RUN_MEASURED,
    RUN_OPEN,
    ComparisonStage,
    RunState,
    SweepState,
)

MOST_DRIVER_DEATHS: Final = 4
"""A sweep fails after this many drivers in a row that each died soon after its start."""

GRACE_SECONDS: Final = 10.0
"""Seconds that live runs may go on after the budget of seconds is spent, so that a run that is about to end counts."""

NO_BUDGET: Final = Budget()


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSnapshot:
    """All that the next step of a sweep depends on.

    Attributes:
        state: of the sweep.
        has_cells: whether the sweep has cells; one without only fits prior runs.
        runs: number of runs by state; absent states have none.
        budget: limits on runs, FLOPs and seconds.
        spent_flops: FLOPs of the runs that ended.
        span_seconds: seconds since the first run started, without pauses.
        most_open: most runs open at once, if batches are topped up as results arrive and there is a law to choose the
            runs by; None if the next batch waits until no run is open.
        is_planned: whether the planner has run since the last run ended, or has chosen to wait until none is open;
            run again for the same results, it would ask for more each time.
        fit_is_current: whether the last fit, or its refusal, saw every result.
        refit_due: whether the law must follow a change at once: a run excluded or included, or another target.
        refusal: why the last fit was refused; None if it gave a law, or before the first.
        driver_alive: whether a driver holds the sweep's lease or was just started.
        driver_rests: whether the last driver ended so recently that the next one waits.
        driver_deaths: drivers in a row that died early, without a new loss or an end of a run.
        driver_message: last log line of the driver that died.
        failure: reason of the newest failed run; None if no run failed.
        early_failures: jobs of a registered program that failed since the sweep began or was resumed; the runs of one trunk
            are one job.
        learns: whether a running run has reported a loss, asked where there are early failures.
        comparison: stage of the comparison at a held-out scale; None if the sweep has none.
    """

    state: SweepState
    has_cells: bool = True
    runs: Mapping[RunState, int] = field(default_factory=dict)
    budget: Budget = NO_BUDGET
    spent_flops: float = 0.0
    span_seconds: float = 0.0
    most_open: int | None = None
    is_planned: bool = False
    fit_is_current: bool = False
    refit_due: bool = False
    refusal: str | None = None
    driver_alive: bool = True
    driver_rests: bool = False
    driver_deaths: int = 0
    driver_message: str | None = None
    failure: str | None = None
    early_failures: int = 0
    learns: bool = False
    comparison: ComparisonStage | None = None

    def count(self, *states: RunState) -> int:
        """Number of runs in any of ``states``."""
        return sum(self.runs.get(state, 0) for state in states)


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Do nothing until something happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveSweep:
    """Move the sweep to another state; ``reason`` is a sentence for its user."""

    to: SweepState
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDriver:
    """Start the process that carries out the runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRuns:
    """Cancel the pending runs because the budget is spent; with ``live``, the running ones too."""

    reason: str
    live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RefitLaw:
    """Fit the law to the new results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRuns:
    """Fit the law if there are new results, then ask the planner for the next batch of runs.

    After the planner has stopped, the comparison, if there is one, asks for its runs instead. While runs are open the
    batch is a top-up, planned as if they had ended.
    """


Action = Idle | MoveSweep | StartDriver | DropRuns | RefitLaw | PlanRuns


def decide(snapshot: SweepSnapshot) -> Action:
    """Choose the next step; each is one transaction, and the following step needs a new snapshot."""
    if snapshot.state is SweepState.QUEUED:
        return MoveSweep(to=SweepState.RUNNING)
    if snapshot.refit_due:
        return RefitLaw()
    if _needs_driver(snapshot) and not snapshot.driver_alive:
        if snapshot.driver_deaths >= MOST_DRIVER_DEATHS:
            return MoveSweep(to=SweepState.FAILED, reason=_driver_failure(snapshot))
        if not snapshot.driver_rests:
            return StartDriver()
    if snapshot.state is SweepState.RUNNING:
        return _running(snapshot)
    if snapshot.state is SweepState.STOPPING and not snapshot.count(*RUN_OPEN):
        return _settled(snapshot, MoveSweep(to=SweepState.STOPPED, reason="stopped on request"))
    return Idle()


def _needs_driver(snapshot: SweepSnapshot) -> bool:
    """Whether the sweep needs a driver: always while it runs, else while its runs are under way.

    Pending runs of a stopping sweep count as under way: they were running when the stop was requested.
    """
    if snapshot.state is SweepState.RUNNING:
        return snapshot.has_cells
    live = RUN_OPEN if snapshot.state is SweepState.STOPPING else {RunState.RUNNING}
    return snapshot.count(*live) > 0


def _running(snapshot: SweepSnapshot) -> Action:
    is_proven = snapshot.learns or snapshot.count(*RUN_MEASURED)
    if snapshot.early_failures >= FIRST_RUNS and not is_proven:
        return MoveSweep(to=SweepState.PAUSED, reason=_early_failure(snapshot))
    spent = _spent(snapshot)
    if spent is not None and snapshot.count(RunState.PENDING):
        return DropRuns(reason=spent)
    if _overdue(snapshot) and snapshot.count(RunState.RUNNING):
        return DropRuns(reason=str(spent), live=True)
    if snapshot.count(*RUN_OPEN):
        return PlanRuns() if spent is None and _has_room(snapshot) else Idle()
    if not snapshot.has_cells:
        return _settled(snapshot, _fit_alone(snapshot))
    if snapshot.failure is not None and not snapshot.count(*RUN_MEASURED):
        return MoveSweep(
            to=SweepState.FAILED, reason=f"Every run failed; reason of the last one: {snapshot.failure}"
        )
    if spent is None or snapshot.comparison in COMPARISON_FINAL | {ComparisonStage.RUNNING}:
        return PlanRuns()  # the comparison's runs have all ended: its next step costs nothing
    undone = "" if snapshot.comparison is None else "; the comparison at the held-out scale was not run"
    return _settled(snapshot, MoveSweep(to=SweepState.COMPLETED, reason=f"{spent}{undone}"))


def _has_room(snapshot: SweepSnapshot) -> bool:
    """Whether there are results that the open runs were not chosen by, and idle workers.

    A sweep without a result of its own is not topped up, so that a sweep whose runs all fail ends.
    """
    if snapshot.most_open is None or snapshot.is_planned or not snapshot.has_cells:
        return False
    if snapshot.count(RunState.PENDING):
        return False
    results = snapshot.count(*RUN_MEASURED)
    return results > 0 and snapshot.count(RunState.RUNNING) < snapshot.most_open


def _settled(snapshot: SweepSnapshot, end: MoveSweep) -> Action:
    """End the sweep, after a last fit if the law has not seen every result."""
    return end if snapshot.fit_is_current else RefitLaw()


def _fit_alone(snapshot: SweepSnapshot) -> MoveSweep:
    if snapshot.refusal is not None:
        return MoveSweep(to=SweepState.FAILED, reason=snapshot.refusal)
    return MoveSweep(to=SweepState.COMPLETED, reason="the law is fitted to the prior runs")


def _spent(snapshot: SweepSnapshot) -> str | None:
    """The spent part of the budget in words; None if some is left. The planner limits the number of runs."""
    budget = snapshot.budget
    if budget.seconds is not None and snapshot.span_seconds >= budget.seconds:
        return f"the budget of {budget.seconds:g} seconds is spent"
    if budget.flops is not None and snapshot.spent_flops >= budget.flops:
        return f"the budget of {flops(budget.flops)} is spent"
    return None


def _overdue(snapshot: SweepSnapshot) -> bool:
    """Whether the grace time of live runs is over."""
    seconds = snapshot.budget.seconds
    return seconds is not None and snapshot.span_seconds >= seconds + GRACE_SECONDS


def _early_failure(snapshot: SweepSnapshot) -> str:
    return (
        f"The first {snapshot.count(RunState.FAILED)} runs failed, so no more are started. Mend the trainer, then resume the sweep; or "
        f"cancel it. Reason of the last one: {snapshot.failure}"
    )


def _driver_failure(snapshot: SweepSnapshot) -> str:
    last = f"its last log line: {snapshot.driver_message}" if snapshot.driver_message else "it logged nothing"
    return f"The driver process died {snapshot.driver_deaths} times soon after its start; {last}"
