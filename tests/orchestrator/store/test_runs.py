"""Runs: asked for once, claimed once, finished once, and never by those who lost their lease."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import Conflict, NotFound
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import NewRun, Run, RunResult, Sweep


def states(store: Store, sweep_id: str) -> dict[tuple[int, float], str]:
    return {(run.cell, run.learning_rate): run.state for run in store.runs.of_sweep(sweep_id)}


def done(run_id: str, **changes: Any) -> RunResult:
    fields: dict[str, Any] = {"state": RunState.COMPLETED, "loss": 2.0, "flops": 1e9, "seconds": 1.0}
    return RunResult(run_id=run_id, **(fields | changes))


def started(bench: Any, *places: tuple[int, float]) -> tuple[Sweep, int, list[Run]]:
    """A sweep, the fence of its driver, and the runs that it has claimed."""
    sweep = bench.sweep()
    bench.ask(sweep.id, *places)
    fence = bench.drive(sweep.id)
    return sweep, fence, bench.store.runs.claim(sweep.id, fence=fence)


def test_a_batch_makes_pending_runs_and_counts_itself(bench: Any) -> None:
    sweep = bench.sweep()
    assert bench.ask(sweep.id, (0, 1e-3), (1, 2e-3)) == 1
    assert bench.ask(sweep.id, (0, 2e-3)) == 2
    assert [(run.batch, run.state, run.attempt) for run in bench.store.runs.of_sweep(sweep.id)] == [
        (1, "pending", 0),
        (1, "pending", 0),
        (2, "pending", 0),
    ]
    assert bench.store.sweeps.get(sweep.id).batches == 2


def test_the_runs_of_a_comparison_are_found_without_those_of_the_search(bench: Any) -> None:
    sweep = bench.sweep(comparison={"scale": {"width": 128, "depth": 2}})
    held_out = [cell.number for cell in bench.store.sweeps.cells(sweep.id) if cell.role]
    bench.ask(sweep.id, (0, 1e-3), *((number, 1e-3) for number in held_out))
    assert [run.cell for run in bench.store.runs.of_comparison(sweep.id)] == held_out
    bench.ask(bench.sweep().id, (0, 1e-3))
    assert len(bench.store.runs.of_comparison(sweep.id)) == 2


def test_a_batch_writes_an_event(bench: Any, new_run: Callable[..., NewRun]) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), pruned=[(0, 4e-3)], ended=7)
    event = bench.store.events.after(0, sweep_id=sweep.id)[-1]
    assert (event.kind, event.data) == ("batch", {"batch": 1, "runs": 1, "pruned": 1, "ended": 7})


def test_asking_for_a_run_again_does_not_repeat_it(bench: Any) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3))
    before = bench.store.runs.of_sweep(sweep.id)
    bench.ask(sweep.id, (0, 1e-3))
    assert bench.store.runs.of_sweep(sweep.id) == before


def test_a_pruned_rate_comes_back_when_it_is_asked_for(bench: Any, new_run: Callable[..., NewRun]) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), pruned=[(0, 4e-3)])
    (pruned,) = (run for run in bench.store.runs.of_sweep(sweep.id) if run.state is RunState.PRUNED)
    assert pruned.batch is None
    assert bench.ask(sweep.id, (0, 4e-3)) == 2
    again = bench.store.runs.get(pruned.id)
    assert (again.state, again.batch) == (RunState.PENDING, 2)


def test_pruning_touches_nothing_that_exists(bench: Any, new_run: Callable[..., NewRun]) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3))
    bench.ask(sweep.id, (0, 2e-3), pruned=[(0, 1e-3)])
    assert states(bench.store, sweep.id) == {(0, 1e-3): "pending", (0, 2e-3): "pending"}


def test_pruning_alone_is_no_batch(bench: Any, new_run: Callable[..., NewRun]) -> None:
    sweep = bench.sweep()
    assert bench.ask(sweep.id, pruned=[(0, 4e-3)]) == 0
    assert states(bench.store, sweep.id) == {(0, 4e-3): "pruned"}
    assert bench.store.sweeps.get(sweep.id).batches == 0


@pytest.mark.parametrize("state", [state for state in SweepState if state is not SweepState.RUNNING])
def test_only_a_running_sweep_takes_a_batch(bench: Any, state: SweepState) -> None:
    sweep = bench.sweep(state)
    with pytest.raises(Conflict, match=f"is {state}"):
        bench.ask(sweep.id, (0, 1e-3))
    assert bench.store.runs.of_sweep(sweep.id) == []


def test_a_leader_that_was_replaced_cannot_ask(bench: Any, new_run: Callable[..., NewRun]) -> None:
    sweep = bench.sweep()
    stale = bench.fence
    bench.lead("another")
    with pytest.raises(Conflict, match=f"fence {stale}"):
        bench.store.runs.add_batch(sweep.id, [new_run(0, 1e-3)], fence=stale)
    with pytest.raises(Conflict, match=f"fence {stale}"):
        bench.store.runs.drop(sweep.id, fence=stale, reason="budget")
    assert bench.store.runs.of_sweep(sweep.id) == []


def test_horizons_of_one_rate_share_a_trunk_and_rates_do_not(bench: Any) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (1, 1e-3), (0, 2e-3))
    short, long, other = bench.store.runs.of_sweep(sweep.id)
    assert short.trunk_id == long.trunk_id != other.trunk_id


def test_runs_and_trunks_differ_by_their_module_rates(bench: Any, new_run: Callable[..., NewRun]) -> None:
    sweep = bench.sweep()
    runs = [replace(new_run(cell, 1e-3), module_rates=rates) for rates in ("", "head=2") for cell in (0, 1)]
    bench.store.runs.add_batch(sweep.id, [*runs, *runs], fence=bench.fence)
    plain, plain_long, other, other_long = bench.store.runs.of_sweep(sweep.id)
    assert [run.module_rates for run in (plain, other)] == ["", "head=2"]
    assert plain.trunk_id == plain_long.trunk_id != other.trunk_id == other_long.trunk_id


def test_a_claim_starts_the_runs_and_counts_the_attempt(bench: Any) -> None:
    sweep, _, claimed = started(bench, (0, 1e-3), (0, 2e-3))
    assert claimed == bench.store.runs.of_sweep(sweep.id)
    assert {(run.state, run.attempt) for run in claimed} == {(RunState.RUNNING, 1)}
    assert all(run.started_at is not None for run in claimed)
    assert bench.store.runs.pending(sweep.id) == []
    recorded = bench.store.events.after(0)[-1]
    assert (recorded.kind, recorded.data) == ("progress", {"claimed": 2})


def test_a_claim_can_pick_and_leaves_out_what_is_taken(bench: Any) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (0, 2e-3), (0, 4e-3))
    fence = bench.drive(sweep.id)
    first, second, third = (run.id for run in bench.store.runs.pending(sweep.id))
    bench.store.runs.claim(sweep.id, fence=fence, run_ids=[first])
    claimed = bench.store.runs.claim(sweep.id, fence=fence, run_ids=[first, second])
    assert [run.id for run in claimed] == [second]
    assert [run.id for run in bench.store.runs.pending(sweep.id)] == [third]


@pytest.mark.parametrize("state", [SweepState.PAUSED, SweepState.STOPPING, SweepState.CANCELLED])
def test_nothing_is_claimed_unless_the_sweep_runs(bench: Any, state: SweepState) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3))
    bench.store.sweeps.move(sweep.id, state)
    assert bench.store.runs.claim(sweep.id, fence=bench.drive(sweep.id)) == []


def test_a_driver_that_was_replaced_can_neither_claim_nor_finish(bench: Any) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (0, 2e-3))
    stale = bench.drive(sweep.id, "first")
    run = bench.store.runs.claim(sweep.id, fence=stale)[0]
    fence = bench.drive(sweep.id, "second")
    with pytest.raises(Conflict, match=f"fence {stale}"):
        bench.store.runs.claim(sweep.id, fence=stale)
    bench.store.runs.release(sweep.id, fence=fence, reason="the driver was lost")
    bench.store.runs.claim(sweep.id, fence=fence)
    assert bench.store.runs.finish([done(run.id, loss=9.0)], fence=stale) == 0
    assert bench.store.runs.finish([done(run.id, loss=2.0)], fence=fence) == 1
    assert bench.store.runs.get(run.id).loss == 2.0


def test_finishing_writes_what_was_measured(bench: Any) -> None:
    _, fence, (run,) = started(bench, (0, 1e-3))
    bench.store.runs.finish([done(run.id, trunk_loss=2.5)], fence=fence)
    ended = bench.store.runs.get(run.id)
    assert (ended.state, ended.loss, ended.trunk_loss, ended.flops, ended.seconds) == (
        RunState.COMPLETED,
        2.0,
        2.5,
        1e9,
        1.0,
    )
    assert ended.ended_at is not None
    assert ended.reason == "asked"
    assert ended.diverged_tokens is None


def test_a_divergence_keeps_the_tokens_at_which_it_was_noticed(bench: Any) -> None:
    _, fence, (run,) = started(bench, (0, 1e-3))
    result = RunResult(run_id=run.id, state=RunState.DIVERGED, diverged_tokens=20_480)
    bench.store.runs.finish([result], fence=fence)
    assert bench.store.runs.get(run.id).diverged_tokens == 20_480


def test_a_repeated_result_changes_nothing_and_writes_no_event(bench: Any) -> None:
    _, fence, (run,) = started(bench, (0, 1e-3))
    assert bench.store.runs.finish([done(run.id)], fence=fence) == 1
    ended, events = bench.store.runs.get(run.id), bench.store.events.after(0)
    assert bench.store.runs.finish([done(run.id, loss=3.0)], fence=fence) == 0
    assert bench.store.runs.get(run.id) == ended
    assert bench.store.events.after(0) == events


def test_each_finished_run_writes_an_event(bench: Any) -> None:
    _, fence, (low, high) = started(bench, (0, 1e-3), (0, 4e-3))
    diverged = RunResult(run_id=high.id, state=RunState.DIVERGED, reason="not finite at step 9")
    bench.store.runs.finish([done(low.id), diverged], fence=fence)
    recorded = [event.data for event in bench.store.events.after(0) if event.kind == "run"]
    assert recorded == [
        {"run_id": low.id, "cell": 0, "learning_rate": 1e-3, "seed": 0, "state": "completed", "loss": 2.0},
        {"run_id": high.id, "cell": 0, "learning_rate": 4e-3, "seed": 0, "state": "diverged", "loss": None},
    ]
    assert bench.store.runs.get(high.id).reason == "not finite at step 9"


def test_a_cancelled_run_keeps_its_state_whatever_comes_late(bench: Any) -> None:
    sweep, fence, (run,) = started(bench, (0, 1e-3))
    bench.store.sweeps.move(sweep.id, SweepState.CANCELLED)
    assert bench.store.runs.finish([done(run.id)], fence=fence) == 0
    assert bench.store.runs.get(run.id).state is RunState.CANCELLED


@pytest.mark.parametrize(
    "result",
    [
        RunResult(run_id="r", state=RunState.COMPLETED),
        RunResult(run_id="r", state=RunState.DIVERGED, loss=2.0),
        RunResult(run_id="r", state=RunState.PENDING),
        RunResult(run_id="r", state=RunState.CANCELLED),
    ],
)
def test_a_result_that_says_nothing_or_too_much_is_refused(store: Store, result: RunResult) -> None:
    with pytest.raises(ValueError, match="run r"):
        store.runs.finish([result], fence=1)


def test_a_new_driver_takes_over_what_the_lost_one_left(bench: Any) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (0, 2e-3))
    lost = bench.store.runs.claim(sweep.id, fence=bench.drive(sweep.id, "first"))
    fence = bench.drive(sweep.id, "second")
    assert bench.store.runs.release(sweep.id, fence=fence, reason="its driver was lost") == 2
    assert bench.store.runs.release(sweep.id, fence=fence, reason="its driver was lost") == 0
    again = bench.store.runs.claim(sweep.id, fence=fence)
    assert [run.id for run in again] == [run.id for run in lost]
    assert {run.attempt for run in again} == {2}


def test_a_late_driver_cannot_give_back_what_its_successor_runs(bench: Any) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3))
    stale = bench.drive(sweep.id, "first")
    fence = bench.drive(sweep.id, "second")
    bench.store.runs.claim(sweep.id, fence=fence)
    assert bench.store.runs.release(sweep.id, fence=stale, reason="late") == 0


def test_a_driver_can_give_back_some_of_its_runs(bench: Any) -> None:
    sweep, fence, (first, _) = started(bench, (0, 1e-3), (0, 2e-3))
    assert bench.store.runs.release(sweep.id, fence=fence, reason="preempted", run_ids=[first.id]) == 1
    assert states(bench.store, sweep.id) == {(0, 1e-3): "pending", (0, 2e-3): "running"}


def test_pending_runs_can_be_dropped_when_the_budget_is_spent(bench: Any) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (0, 2e-3))
    fence = bench.drive(sweep.id)
    first, _ = bench.store.runs.pending(sweep.id)
    bench.store.runs.claim(sweep.id, fence=fence, run_ids=[first.id])
    assert bench.store.runs.drop(sweep.id, fence=bench.fence, reason="the budget is spent") == 1
    assert states(bench.store, sweep.id) == {(0, 1e-3): "running", (0, 2e-3): "cancelled"}
    recorded = bench.store.events.after(0)[-1]
    assert (recorded.kind, recorded.data) == ("progress", {"cancelled": 1, "reason": "the budget is spent"})
    assert bench.store.runs.drop(sweep.id, fence=bench.fence, reason="long ago", live=True) == 1
    assert states(bench.store, sweep.id) == {(0, 1e-3): "cancelled", (0, 2e-3): "cancelled"}
    assert bench.store.runs.finish([done(first.id)], fence=fence) == 0


def test_pages_hold_every_run_once_in_the_order_of_creation(bench: Any) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (0, 2e-3), (0, 4e-3))
    first, cursor, total = bench.store.runs.page(sweep.id, limit=2)
    bench.ask(sweep.id, (1, 1e-3))
    second, end, _ = bench.store.runs.page(sweep.id, limit=2, cursor=cursor)
    assert (total, end) == (3, None)
    assert [*first, *second] == bench.store.runs.of_sweep(sweep.id)


def test_pages_can_be_of_one_state(bench: Any, new_run: Callable[..., NewRun]) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), pruned=[(0, 4e-3)])
    page, cursor, total = bench.store.runs.page(sweep.id, state=RunState.PRUNED)
    assert ([run.learning_rate for run in page], cursor, total) == ([4e-3], None, 1)


def test_an_unknown_run_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="nothing"):
        store.runs.get("nothing")


def test_a_run_is_found_by_the_beginning_of_its_id(bench: Any) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (0, 2e-3))
    one, other = bench.store.runs.of_sweep(sweep.id)
    alike = next(at for at in range(32) if one.id[at] != other.id[at])
    find = bench.store.runs.find
    assert find(one.id) == find(one.id[: max(alike + 1, 6)]) == one
    with pytest.raises(Conflict, match=f"alike for {alike} digits; give more"):
        find(one.id[:6])
    for unknown in ("f" * 6, one.id[:5], one.id[:6].upper() + "Z", one.id + "0", "%" * 6, ""):
        with pytest.raises(NotFound):
            find(unknown)


def test_speed_is_measured_on_runs_of_the_same_kind_of_trainer(bench: Any) -> None:
    assert bench.store.runs.flops_per_second("proxy") is None
    _, fence, runs = started(bench, (0, 1e-3), (0, 2e-3))
    bench.store.runs.finish([done(run.id, flops=6e9, seconds=2.0) for run in runs], fence=fence)
    assert bench.store.runs.flops_per_second("proxy") == 3e9
    assert bench.store.runs.flops_per_second("replay") is None
