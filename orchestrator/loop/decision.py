"""What the orchestrator does next with a sweep: a pure function of a snapshot, tested as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from orchestrator.spec import Budget
from orchestrator.states import COMPARISON_FINAL, RUN_OPEN, ComparisonStage, RunState, SweepState

MOST_DRIVER_DEATHS: Final = 4
"""Drivers that die one after another, each soon after its start, before the sweep is given up."""

GRACE_SECONDS: Final = 10.0
"""How long live runs may go on after the budget of seconds is spent: one that is about to end is not wasted."""

NO_BUDGET: Final = Budget()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A sweep as far as deciding is concerned.

    Attributes:
        state: of the sweep.
        has_cells: whether there is anything to run; a sweep without cells only fits prior runs.
        runs: how many runs are in each state; states left out have none.
        budget: what may be spent.
        spent_flops: really spent so far.
        span_seconds: since the first run started, pauses left out.
        most_open: most runs open at once where they are asked for as results arrive, once there is a law to choose
            them by; None where the next are asked for when none is open.
        is_planned: whether the planner has been asked since the last run ended, or has chosen to wait until none is
            open: asked at every result, it would take each for a reason to go on.
        fit_is_current: whether the last fit, or its refusal, saw every result there is.
        refusal: why the last fit was refused; None if it gave a law or none was tried.
        driver_alive: whether a driver holds the sweep's lease or has just been started.
        driver_rests: whether the last driver ended so recently that the next one waits.
        driver_deaths: drivers that died early, in a row.
        driver_said: the last words of the driver that died.
        failure: reason of the newest failed run, if any.
        comparison: how far the comparison at a held-out scale is; None without one.
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
    refusal: str | None = None
    driver_alive: bool = True
    driver_rests: bool = False
    driver_deaths: int = 0
    driver_said: str | None = None
    failure: str | None = None
    comparison: ComparisonStage | None = None

    def count(self, *states: RunState) -> int:
        """How many runs are in one of ``states``."""
        return sum(self.runs.get(state, 0) for state in states)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to do until something happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Bring the sweep to another state, for a reason that people read."""

    to: SweepState
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDriver:
    """Start the process that carries out the runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Cancel the runs that have not started, or with ``live`` all that are open: the budget is spent."""

    reason: str
    live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refit:
    """Fit the law to the new results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Fit the law if there are new results, then ask the planner for the next batch of runs.

    Once the planner has stopped, the next runs are those of the comparison, where the sweep has one. With runs open the
    batch is a top-up, which counts them as if they were in.
    """


Action = Wait | Move | StartDriver | Drop | Refit | Plan


def decide(snapshot: Snapshot) -> Action:
    """Choose the next step: one transaction, after which a new snapshot is taken."""
    if snapshot.state is SweepState.QUEUED:
        return Move(to=SweepState.RUNNING)
    if _needs_driver(snapshot) and not snapshot.driver_alive:
        if snapshot.driver_deaths >= MOST_DRIVER_DEATHS:
            return Move(to=SweepState.FAILED, reason=_driver_failure(snapshot))
        if not snapshot.driver_rests:
            return StartDriver()
    if snapshot.state is SweepState.RUNNING:
        return _running(snapshot)
    if snapshot.state is SweepState.STOPPING and not snapshot.count(*RUN_OPEN):
        return _settled(snapshot, Move(to=SweepState.STOPPED, reason="stopped on request"))
    return Wait()


def _needs_driver(snapshot: Snapshot) -> bool:
    """A running sweep has one from the start; the others only while runs are under way.

    Pending runs of a stopping sweep are under way too: they were live when it was asked to stop.
    """
    if snapshot.state is SweepState.RUNNING:
        return snapshot.has_cells
    live = RUN_OPEN if snapshot.state is SweepState.STOPPING else {RunState.RUNNING}
    return snapshot.count(*live) > 0


def _running(snapshot: Snapshot) -> Action:
    spent = _spent(snapshot)
    if spent is not None and snapshot.count(RunState.PENDING):
        return Drop(reason=spent)
    if _overdue(snapshot) and snapshot.count(RunState.RUNNING):
        return Drop(reason=str(spent), live=True)
    if snapshot.count(*RUN_OPEN):
        return Plan() if spent is None and _has_room(snapshot) else Wait()
    if not snapshot.has_cells:
        return _settled(snapshot, _fit_alone(snapshot))
    if snapshot.failure is not None and not snapshot.count(RunState.COMPLETED, RunState.DIVERGED):
        return Move(to=SweepState.FAILED, reason=f"Every run failed; the last one said: {snapshot.failure}")
    if spent is None or snapshot.comparison in COMPARISON_FINAL | {ComparisonStage.RUNNING}:
        return Plan()  # all that a comparison is going to run has ended then: it costs nothing more
    undone = "" if snapshot.comparison is None else "; the comparison at the held-out scale was not run"
    return _settled(snapshot, Move(to=SweepState.COMPLETED, reason=f"{spent}{undone}"))


def _has_room(snapshot: Snapshot) -> bool:
    """Whether results are in that the open runs were not chosen by, and workers have nothing to do.

    Without a result of its own a sweep is not topped up: runs that all fail must come to an end.
    """
    if snapshot.most_open is None or snapshot.is_planned or not snapshot.has_cells:
        return False
    if snapshot.count(RunState.PENDING):
        return False
    told = snapshot.count(RunState.COMPLETED, RunState.DIVERGED)
    return bool(told) and snapshot.count(RunState.RUNNING) < snapshot.most_open


def _settled(snapshot: Snapshot, end: Move) -> Action:
    """End the sweep, but not before the law has seen every result."""
    return end if snapshot.fit_is_current else Refit()


def _fit_alone(snapshot: Snapshot) -> Move:
    if snapshot.refusal is not None:
        return Move(to=SweepState.FAILED, reason=snapshot.refusal)
    return Move(to=SweepState.COMPLETED, reason="the law is fitted to the prior runs")


def _spent(snapshot: Snapshot) -> str | None:
    """Which part of the budget is spent, in words; runs are counted when they are asked for, by the planner."""
    budget = snapshot.budget
    if budget.seconds is not None and snapshot.span_seconds >= budget.seconds:
        return f"the budget of {budget.seconds:g} seconds is spent"
    if budget.flops is not None and snapshot.spent_flops >= budget.flops:
        return f"the budget of {budget.flops:.3g} FLOPs is spent"
    return None


def _overdue(snapshot: Snapshot) -> bool:
    """Whether even live runs have had their time."""
    seconds = snapshot.budget.seconds
    return seconds is not None and snapshot.span_seconds >= seconds + GRACE_SECONDS


def _driver_failure(snapshot: Snapshot) -> str:
    said = snapshot.driver_said or "nothing"
    return f"Its driver process died {snapshot.driver_deaths} times soon after its start; the last one said: {said}"
