"""The next action, as a table: one row per situation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.loop.decision import (
    GRACE_SECONDS,
    MOST_DRIVER_DEATHS,
    Action,
    DropRuns,
    Idle,
    MoveSweep,
    PlanRuns,
    RefitLaw,
    StartDriver,
    SweepSnapshot,
    decide,
)
from orchestrator.spec import Budget
from orchestrator.states import SWEEP_LIVE, SWEEP_TRANSITIONS, ComparisonStage, RunState, SweepState

OPEN_RUN = {RunState.RUNNING: 1}
WAITING_RUN = {RunState.PENDING: 2}
BOTH = {RunState.PENDING: 2, RunState.RUNNING: 1, RunState.COMPLETED: 3}
SOME_LIVE = {RunState.RUNNING: 2, RunState.COMPLETED: 3}
DONE = {RunState.COMPLETED: 5, RunState.DIVERGED: 1, RunState.FAILED: 1, RunState.PRUNED: 4}
SECONDS, FLOPS = Budget(seconds=60), Budget(flops=1e12)

TABLE: list[tuple[str, dict[str, Any], Action]] = [
    ("a queued sweep begins", {"state": "queued"}, MoveSweep(to=SweepState.RUNNING)),
    ("its driver starts before its first batch", {"driver_alive": False}, StartDriver()),
    ("with a driver it is planned", {}, PlanRuns()),
    ("open runs are waited for", {"runs": BOTH}, Idle()),
    ("live runs are waited for", {"runs": OPEN_RUN}, Idle()),
    ("pending runs are waited for", {"runs": WAITING_RUN}, Idle()),
    ("when all are done it is planned", {"runs": DONE}, PlanRuns()),
    ("a fit that is current does not keep from planning", {"runs": DONE, "fit_is_current": True}, PlanRuns()),
    ("a change of what the law sees is fitted at once", {"runs": BOTH, "refit_due": True}, RefitLaw()),
    ("of a completed sweep too", {"state": "completed", "runs": DONE, "refit_due": True}, RefitLaw()),
    ("a lost driver is replaced", {"runs": BOTH, "driver_alive": False}, StartDriver()),
    ("not before it has rested", {"runs": BOTH, "driver_alive": False, "driver_rests": True}, Idle()),
    (
        "planning goes on while a driver rests",
        {"runs": DONE, "driver_alive": False, "driver_rests": True},
        PlanRuns(),
    ),
    (
        "drivers that die again and again end it",
        {
            "runs": BOTH,
            "driver_alive": False,
            "driver_deaths": MOST_DRIVER_DEATHS,
            "driver_message": "no disk",
        },
        MoveSweep(
            to=SweepState.FAILED,
            reason="The driver process died 4 times soon after its start; its last log line: no disk",
        ),
    ),
    (
        "a driver that lives is not judged by those before it",
        {"runs": BOTH, "driver_deaths": MOST_DRIVER_DEATHS},
        Idle(),
    ),
    (
        "a program whose first three runs fail is paused",
        {"runs": {RunState.FAILED: 3, RunState.PENDING: 5}, "early_failures": 3, "failure": "no module"},
        MoveSweep(
            to=SweepState.PAUSED,
            reason="The first 3 runs failed, so no more are started. Mend the trainer, then resume the sweep; or cancel it. "
            "Reason of the last one: no module",
        ),
    ),
    (
        "a pause counts all runs that failed, also those of one trunk or before a resumption",
        {"runs": {RunState.FAILED: 7, RunState.PENDING: 5}, "early_failures": 3, "failure": "no module"},
        MoveSweep(
            to=SweepState.PAUSED,
            reason="The first 7 runs failed, so no more are started. Mend the trainer, then resume the sweep; or cancel it. "
            "Reason of the last one: no module",
        ),
    ),
    (
        "two failures are no three",
        {"runs": {RunState.FAILED: 2, RunState.PENDING: 5}, "early_failures": 2, "failure": "no module"},
        Idle(),
    ),
    (
        "failures after a resumption are counted anew",
        {"runs": {RunState.FAILED: 3, RunState.PENDING: 5}, "early_failures": 0, "failure": "no module"},
        Idle(),
    ),
    (
        "a running run that has reported a loss is not paused for the failures of others",
        {"runs": {RunState.FAILED: 3, RunState.RUNNING: 1}, "early_failures": 3, "learns": True},
        Idle(),
    ),
    (
        "a result proves the program",
        {"runs": {RunState.FAILED: 3, RunState.DIVERGED: 1, RunState.PENDING: 5}, "early_failures": 3},
        Idle(),
    ),
    (
        "open runs are topped up where results are in and workers free",
        {"runs": SOME_LIVE, "most_open": 3},
        PlanRuns(),
    ),
    ("not beyond what the workers hold", {"runs": SOME_LIVE, "most_open": 2}, Idle()),
    ("not while runs wait for a worker", {"runs": BOTH, "most_open": 9}, Idle()),
    ("not twice for the same results", {"runs": SOME_LIVE, "most_open": 3, "is_planned": True}, Idle()),
    (
        "what is planned does not keep from planning when nothing is open",
        {"runs": DONE, "most_open": 3, "is_planned": True},
        PlanRuns(),
    ),
    (
        "not without a result: runs that all fail come to an end",
        {"runs": {RunState.RUNNING: 1, RunState.FAILED: 5}, "most_open": 3, "failure": "out of memory"},
        Idle(),
    ),
    (
        "not when the budget is spent",
        {"runs": SOME_LIVE, "most_open": 3, "budget": FLOPS, "spent_flops": 2e12},
        Idle(),
    ),
    ("not while paused", {"state": "paused", "runs": SOME_LIVE, "most_open": 3}, Idle()),
    ("not while stopping", {"state": "stopping", "runs": SOME_LIVE, "most_open": 3}, Idle()),
    (
        "not before a lost driver is replaced",
        {"runs": SOME_LIVE, "most_open": 3, "driver_alive": False},
        StartDriver(),
    ),
    (
        "runs that all failed end it",
        {"runs": {RunState.FAILED: 3, RunState.PRUNED: 2}, "failure": "out of memory"},
        MoveSweep(to=SweepState.FAILED, reason="Every run failed; reason of the last one: out of memory"),
    ),
    (
        "one result among failures keeps it going",
        {"runs": {RunState.FAILED: 3, RunState.DIVERGED: 1}, "failure": "out of memory"},
        PlanRuns(),
    ),
    (
        "spent seconds drop what has not started",
        {"runs": BOTH, "budget": SECONDS, "span_seconds": 60.0},
        DropRuns(reason="the budget of 60 seconds is spent"),
    ),
    (
        "what is live may end a little beyond the budget",
        {"runs": OPEN_RUN, "budget": SECONDS, "span_seconds": 60.0 + GRACE_SECONDS - 0.1},
        Idle(),
    ),
    (
        "what is live long after the seconds are spent is cancelled",
        {"runs": OPEN_RUN, "budget": SECONDS, "span_seconds": 60.0 + GRACE_SECONDS},
        DropRuns(reason="the budget of 60 seconds is spent", live=True),
    ),
    (
        "live runs may end beyond a budget of FLOPs",
        {"runs": OPEN_RUN, "budget": FLOPS, "spent_flops": 2e12, "span_seconds": 999.0},
        Idle(),
    ),
    (
        "the law sees the last results before the budget ends it",
        {"runs": DONE, "budget": SECONDS, "span_seconds": 99.0},
        RefitLaw(),
    ),
    (
        "a spent budget ends it with the reason",
        {"runs": DONE, "budget": SECONDS, "span_seconds": 99.0, "fit_is_current": True},
        MoveSweep(to=SweepState.COMPLETED, reason="the budget of 60 seconds is spent"),
    ),
    (
        "spent FLOPs drop what has not started",
        {"runs": BOTH, "budget": FLOPS, "spent_flops": 2e12},
        DropRuns(reason="the budget of 1.0e12\u00a0FLOPs is spent"),
    ),
    (
        "a budget spent before the comparison has begun says so",
        {
            "runs": DONE,
            "budget": SECONDS,
            "span_seconds": 99.0,
            "fit_is_current": True,
            "comparison": ComparisonStage.TUNING,
        },
        MoveSweep(
            to=SweepState.COMPLETED,
            reason="the budget of 60 seconds is spent; the comparison at the held-out scale was not run",
        ),
    ),
    (
        "a comparison whose runs have ended costs nothing more",
        {"runs": DONE, "budget": SECONDS, "span_seconds": 99.0, "comparison": ComparisonStage.RUNNING},
        PlanRuns(),
    ),
    (
        "nor does one that is over",
        {"runs": DONE, "budget": FLOPS, "spent_flops": 2e12, "comparison": ComparisonStage.COMPLETE},
        PlanRuns(),
    ),
    (
        "a comparison is waited for",
        {"runs": BOTH, "comparison": ComparisonStage.RUNNING},
        Idle(),
    ),
    ("an unspent budget changes nothing", {"runs": DONE, "budget": FLOPS, "spent_flops": 9e11}, PlanRuns()),
    ("a fit alone needs no driver", {"has_cells": False, "driver_alive": False}, RefitLaw()),
    (
        "a fit alone ends with its law",
        {"has_cells": False, "fit_is_current": True},
        MoveSweep(to=SweepState.COMPLETED, reason="the law is fitted to the prior runs"),
    ),
    (
        "a fit alone that is refused fails with the refusal",
        {"has_cells": False, "fit_is_current": True, "refusal": "No cell has an interior minimum."},
        MoveSweep(to=SweepState.FAILED, reason="No cell has an interior minimum."),
    ),
    ("a paused sweep waits", {"state": "paused", "runs": WAITING_RUN, "driver_alive": False}, Idle()),
    (
        "a paused sweep with live runs keeps a driver",
        {"state": "paused", "runs": BOTH, "driver_alive": False},
        StartDriver(),
    ),
    ("stopping lets live runs end", {"state": "stopping", "runs": OPEN_RUN}, Idle()),
    (
        "stopping keeps a driver for them",
        {"state": "stopping", "runs": OPEN_RUN, "driver_alive": False},
        StartDriver(),
    ),
    ("stopping waits for what its lost driver gave back", {"state": "stopping", "runs": WAITING_RUN}, Idle()),
    (
        "stopping finds another driver for what was given back",
        {"state": "stopping", "runs": WAITING_RUN, "driver_alive": False},
        StartDriver(),
    ),
    ("stopping refits once more", {"state": "stopping", "runs": DONE, "driver_alive": False}, RefitLaw()),
    (
        "then it is stopped",
        {"state": "stopping", "runs": DONE, "fit_is_current": True},
        MoveSweep(to=SweepState.STOPPED, reason="stopped on request"),
    ),
]


@pytest.mark.parametrize(("changes", "action"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_table(changes: dict[str, Any], action: Action) -> None:
    fields = {"state": SweepState.RUNNING, **changes}
    assert decide(SweepSnapshot(**{**fields, "state": SweepState(fields["state"])})) == action


@given(
    st.builds(
        SweepSnapshot,
        state=st.sampled_from(sorted(SWEEP_LIVE)),
        has_cells=st.booleans(),
        runs=st.dictionaries(st.sampled_from(RunState), st.integers(0, 3)),
        budget=st.sampled_from([Budget(), SECONDS, FLOPS]),
        spent_flops=st.floats(0, 2e12),
        span_seconds=st.floats(0, 120),
        most_open=st.none() | st.integers(1, 4),
        is_planned=st.booleans(),
        fit_is_current=st.booleans(),
        refusal=st.none() | st.just("refused"),
        driver_alive=st.booleans(),
        driver_rests=st.booleans(),
        driver_deaths=st.integers(0, MOST_DRIVER_DEATHS + 1),
        failure=st.none() | st.just("failed"),
        early_failures=st.integers(0, 4),
        learns=st.booleans(),
        comparison=st.none() | st.sampled_from(ComparisonStage),
    )
)
def test_every_decision_is_possible_and_ends_no_sweep_with_live_runs(snapshot: SweepSnapshot) -> None:
    action = decide(snapshot)
    if isinstance(action, MoveSweep):
        assert action.to in SWEEP_TRANSITIONS[snapshot.state]
        if action.to in {SweepState.COMPLETED, SweepState.STOPPED}:
            assert snapshot.count(RunState.RUNNING, RunState.PENDING) == 0
    if isinstance(action, PlanRuns):
        assert snapshot.state is SweepState.RUNNING
        assert snapshot.has_cells
        assert snapshot.count(RunState.PENDING) == 0
        live = snapshot.count(RunState.RUNNING)
        assert live == 0 or live < (snapshot.most_open or 0)
