"""The states of sweeps, runs and comparisons, and the only moves between them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from orchestrator.errors import Conflict


class SweepState(StrEnum):
    """The state of a sweep."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class RunState(StrEnum):
    """The state of a run. ``diverged`` is caused by the learning rate, ``failed`` by the machine."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    DIVERGED = "diverged"
    PRUNED = "pruned"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ComparisonStage(StrEnum):
    """The stage of a sweep's comparison at a held-out scale."""

    WAITING = "waiting"
    TUNING = "tuning modules"
    RUNNING = "running"
    COMPLETE = "complete"
    CUT_SHORT = "cut short"
    NOT_RUN = "not run"


COMPARISON_FINAL: Final = frozenset(
    {ComparisonStage.COMPLETE, ComparisonStage.CUT_SHORT, ComparisonStage.NOT_RUN}
)
"""The stages after which nothing more happens to a comparison."""

SWEEP_TRANSITIONS: Final[dict[SweepState, frozenset[SweepState]]] = {
    SweepState.QUEUED: frozenset(
        {SweepState.RUNNING, SweepState.PAUSED, SweepState.STOPPED, SweepState.CANCELLED, SweepState.FAILED}
    ),
    SweepState.RUNNING: frozenset(
        {
            SweepState.PAUSED,
            SweepState.STOPPING,
            SweepState.COMPLETED,
            SweepState.CANCELLED,
            SweepState.FAILED,
        }
    ),
    SweepState.PAUSED: frozenset(
        {SweepState.QUEUED, SweepState.RUNNING, SweepState.STOPPING, SweepState.CANCELLED, SweepState.FAILED}
    ),
    SweepState.STOPPING: frozenset(
        {SweepState.RUNNING, SweepState.STOPPED, SweepState.CANCELLED, SweepState.FAILED}
    ),
    SweepState.STOPPED: frozenset({SweepState.QUEUED}),
    SweepState.COMPLETED: frozenset({SweepState.QUEUED}),
    SweepState.CANCELLED: frozenset(),
    SweepState.FAILED: frozenset(),
}
"""For each state of a sweep, the states that may follow. A revision makes an ended or stopping sweep run on."""

SWEEP_RUNS_ON: Final = {
    SweepState.COMPLETED: SweepState.QUEUED,
    SweepState.STOPPED: SweepState.QUEUED,
    SweepState.STOPPING: SweepState.RUNNING,
}
"""The state in which a sweep runs on after a revision or a retried run, where it would not otherwise."""

SWEEP_CHANGEABLE: Final = frozenset(SweepState) - {SweepState.CANCELLED, SweepState.FAILED}
"""States of sweeps that may be revised."""

RUN_TRANSITIONS: Final[dict[RunState, frozenset[RunState]]] = {
    RunState.PENDING: frozenset({RunState.RUNNING, RunState.CANCELLED, RunState.PRUNED}),
    RunState.RUNNING: frozenset(
        {RunState.COMPLETED, RunState.DIVERGED, RunState.FAILED, RunState.CANCELLED, RunState.PENDING}
    ),
    RunState.PRUNED: frozenset({RunState.PENDING}),
    RunState.FAILED: frozenset({RunState.PENDING}),
    RunState.COMPLETED: frozenset({RunState.PENDING}),
    RunState.DIVERGED: frozenset({RunState.PENDING}),
    RunState.CANCELLED: frozenset({RunState.PENDING}),
}
"""For each state of a run, the states that may follow. Running → pending: its machine was lost or taken away;
pruned → pending: a later law no longer rules the rate out; cancelled → pending: the sweep runs on and asks for it
again; the other ends → pending: a user retries it, a completed one only if it is excluded from the law."""

SWEEP_LIVE: Final = frozenset({SweepState.QUEUED, SweepState.RUNNING, SweepState.PAUSED, SweepState.STOPPING})
"""States of sweeps that the orchestrator works on."""

RUN_FINAL: Final = frozenset({RunState.COMPLETED, RunState.DIVERGED, RunState.FAILED, RunState.CANCELLED})
"""States in which a run has ended for good."""

RUN_MEASURED: Final = frozenset({RunState.COMPLETED, RunState.DIVERGED})
"""States of runs with a result."""

RUN_OPEN: Final = frozenset({RunState.PENDING, RunState.RUNNING})
"""States of runs without a result."""


def check_sweep_move(sweep_id: str, state: SweepState, to: SweepState) -> None:
    """Refuse a move that ``SWEEP_TRANSITIONS`` does not list.

    Raises:
        Conflict: ``to`` may not follow ``state``; the message lists the states that may.
    """
    if to in SWEEP_TRANSITIONS[state]:
        return
    allowed = ", ".join(sorted(SWEEP_TRANSITIONS[state])) or "none, because it is final"
    raise Conflict(f"Sweep {sweep_id} is {state} and cannot become {to}. States that may follow: {allowed}.")
