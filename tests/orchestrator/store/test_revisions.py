"""What users change of a sweep and of its runs, on every database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.documents.events import RevisionEvent, RunChangeEvent, SweepEvent
from orchestrator.errors import Conflict, NotFound, Stale
from orchestrator.spec import grown_cells, revised
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import Run, RunResult, Sweep
from orchestrator.store.revisions import Revision

CHANGEABLE = [state for state in SweepState if state not in {SweepState.CANCELLED, SweepState.FAILED}]


def a_revision(store: Store, sweep: Sweep, patch: dict[str, Any], *, runs_on: bool = True) -> Revision:
    spec = revised(sweep.spec, patch)
    trainer: Any = spec.trainer
    cells = grown_cells(store.sweeps.cells(sweep.id), trainer.cells(spec.grid))
    return Revision(spec=spec, cells=cells, changes=patch, runs_on=runs_on, refits=True)


def payloads(store: Store, sweep_id: str) -> list[Any]:
    return [event.payload for event in store.events.after(0, sweep_id=sweep_id)]


def ended(bench: Any, state: RunState = RunState.COMPLETED, *, of: SweepState = SweepState.RUNNING) -> Run:
    """A run that has ended in a sweep in another state."""
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3))
    if state is not RunState.CANCELLED:
        fence = bench.drive(sweep.id)
        (run,) = bench.store.runs.claim(sweep.id, fence=fence)
        loss = 3.0 if state is RunState.COMPLETED else None
        bench.store.runs.finish(
            [RunResult(run_id=run.id, state=state, loss=loss, flops=7.0, seconds=1.0)], fence=fence
        )
    else:
        bench.store.runs.drop(sweep.id, fence=bench.fence, reason="spent")
    if of is not SweepState.RUNNING:
        bench.store.sweeps.move(sweep.id, of)
    (run,) = bench.store.runs.of_sweep(sweep.id)
    return run


@pytest.mark.parametrize("state", CHANGEABLE)
def test_a_revision_is_numbered_told_and_lets_an_ended_sweep_run_on(
    store: Store, bench: Any, state: SweepState
) -> None:
    sweep = bench.sweep(state)
    patch = {"name": "longer", "grid": {"tokens": [65_536, 131_072, 262_144]}}
    changed = store.revisions.revise(sweep, a_revision(store, sweep, patch), actor="ann")

    runs_on = {
        SweepState.COMPLETED: SweepState.QUEUED,
        SweepState.STOPPED: SweepState.QUEUED,
        SweepState.STOPPING: SweepState.RUNNING,
    }
    assert (changed.revision, changed.name, changed.state) == (2, "longer", runs_on.get(state, state))
    assert store.sweeps.get(sweep.id) == changed
    assert changed.full_grid_flops > sweep.full_grid_flops
    assert [cell.tokens for cell in store.sweeps.cells(sweep.id)] == [65_536, 131_072, 262_144]
    told = payloads(store, sweep.id)
    assert RevisionEvent(revision=2, changes=patch, actor="ann") in told
    if state in runs_on:
        assert told[-1] == SweepEvent(state=runs_on[state], reason=None, actor="ann")


@pytest.mark.parametrize("state", [SweepState.CANCELLED, SweepState.FAILED])
def test_a_cancelled_or_failed_sweep_stays_as_it_is(store: Store, bench: Any, state: SweepState) -> None:
    sweep = bench.sweep(state)
    before = store.events.last_id()
    with pytest.raises(Conflict, match="clone"):
        store.revisions.revise(sweep, a_revision(store, sweep, {"name": "late"}))
    assert (store.sweeps.get(sweep.id), store.events.last_id()) == (sweep, before)


def test_of_two_revisions_from_one_state_the_second_is_stale(store: Store, bench: Any) -> None:
    sweep = bench.sweep()
    first = store.revisions.revise(sweep, a_revision(store, sweep, {"name": "first"}))
    with pytest.raises(Stale, match='"2"'):
        store.revisions.revise(sweep, a_revision(store, sweep, {"name": "second"}))
    assert store.sweeps.get(sweep.id) == first


def test_grown_rates_reach_the_cells_and_the_runs_stay(store: Store, bench: Any) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (1, 4e-3))
    before = store.runs.of_sweep(sweep.id)
    store.revisions.revise(
        sweep, a_revision(store, sweep, {"grid": {"learning_rates": [1e-3, 2e-3, 4e-3, 8e-3]}})
    )
    assert {cell.rates for cell in store.sweeps.cells(sweep.id)} == {(1e-3, 2e-3, 4e-3, 8e-3)}
    assert store.runs.of_sweep(sweep.id) == before
    bench.ask(sweep.id, (0, 8e-3))


def test_a_cancelled_run_may_be_asked_for_again(store: Store, bench: Any) -> None:
    run = ended(bench, RunState.CANCELLED)
    bench.ask(run.sweep_id, (0, 1e-3))
    (again,) = store.runs.pending(run.sweep_id)
    assert (again.id, again.ended_at, again.batch) == (run.id, None, 2)


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.DIVERGED])
def test_an_excluded_run_keeps_its_result_and_asks_for_a_refit(
    store: Store, bench: Any, state: RunState
) -> None:
    run = ended(bench, state, of=SweepState.COMPLETED)
    excluded = store.revisions.exclude(run.id, "a bad node", actor="ann")
    assert excluded == replace(run, excluded="a bad node")
    assert not excluded.is_evidence
    assert store.sweeps.results(run.sweep_id) == 0
    assert [sweep.id for sweep in store.sweeps.to_refit()] == [run.sweep_id]
    assert store.sweeps.get(run.sweep_id).state is SweepState.COMPLETED
    told = RunChangeEvent(run_id=run.id, change="exclude", reason="a bad node", actor="ann")
    assert payloads(store, run.sweep_id)[-1] == told

    assert store.revisions.include(run.id) == run
    assert store.sweeps.results(run.sweep_id) == 1
    assert store.sweeps.get(run.sweep_id).refits_asked == 2
    with pytest.raises(Conflict, match="not excluded"):
        store.revisions.include(run.id)


def test_excluding_twice_for_one_reason_is_told_once(store: Store, bench: Any) -> None:
    run = ended(bench)
    first = store.revisions.exclude(run.id, "a bad node")
    last = store.events.last_id()
    assert store.revisions.exclude(run.id, "a bad node") == first
    assert store.events.last_id() == last


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED])
def test_a_run_without_a_result_cannot_be_excluded(store: Store, bench: Any, state: RunState) -> None:
    run = ended(bench, state)
    with pytest.raises(Conflict, match="only a run with a result"):
        store.revisions.exclude(run.id, "why not")
    assert store.runs.get(run.id) == run


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED, RunState.DIVERGED])
@pytest.mark.parametrize("of", [SweepState.RUNNING, SweepState.COMPLETED])
def test_a_retried_run_is_pending_again_and_its_sweep_runs_on(
    store: Store, bench: Any, state: RunState, of: SweepState
) -> None:
    run = ended(bench, state, of=of)
    retried = store.revisions.retry(run.id, actor="ann")
    assert (retried.state, retried.retries, retried.loss, retried.ended_at) == (
        RunState.PENDING,
        1,
        None,
        None,
    )
    assert retried.flops == run.flops, "what it has cost is spent"
    there = SweepState.QUEUED if of is SweepState.COMPLETED else SweepState.RUNNING
    assert store.sweeps.get(run.sweep_id).state is there
    assert RunChangeEvent(run_id=run.id, change="retry", actor="ann") in payloads(store, run.sweep_id)
    with pytest.raises(Conflict, match="is pending"):
        store.revisions.retry(run.id)


def test_a_completed_run_is_retried_only_after_its_exclusion(store: Store, bench: Any) -> None:
    run = ended(bench)
    with pytest.raises(Conflict, match="excluded"):
        store.revisions.retry(run.id)
    store.revisions.exclude(run.id, "a bad node")
    assert store.revisions.retry(run.id).excluded is None


@pytest.mark.parametrize("state", [SweepState.CANCELLED, SweepState.FAILED])
def test_no_run_of_a_cancelled_or_failed_sweep_is_retried(
    store: Store, bench: Any, state: SweepState
) -> None:
    run = ended(bench, RunState.FAILED, of=state)
    with pytest.raises(Conflict, match=str(state)):
        store.revisions.retry(run.id)
    assert store.runs.get(run.id) == run


def test_an_unknown_run_is_not_found(store: Store) -> None:
    for change in (store.revisions.retry, store.revisions.include):
        with pytest.raises(NotFound):
            change("0" * 32)
