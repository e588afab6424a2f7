"""Runs asked for as results arrive: nothing twice, nothing beyond the budget, through kills of any process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.documents.events import BatchEvent
from orchestrator.law import fit
from orchestrator.loop import refit
from orchestrator.loop.refit import RECENT, is_recent
from orchestrator.planner.values import BatchPlan
from orchestrator.states import SWEEP_LIVE, RunState, SweepState
from orchestrator.store.records import Run, RunResult, Sweep

PARALLEL = 3

Order = Callable[[list[Run]], Run]


def submitted(house: Any, strategy: str = "law", *, refit: str = "arrival", **search: Any) -> Sweep:
    """A replay of the known law on three workers, at most 24 runs."""
    search = {"strategy": strategy, "refit": refit, "budget": {"runs": 24}, **search}
    return house.submit_replay(search=search, resources={"max_parallel": PARALLEL})


def of_longest_wait(live: list[Run]) -> Run:
    return live[0]


def of_shortest_wait(live: list[Run]) -> Run:
    return live[-1]


def trickled(house: Any, sweep_id: str, order: Order = of_longest_wait) -> Sweep:
    """Carry a sweep out on three workers, with one result between two looks of the loop."""
    for _ in range(300):
        house.loop.step()
        sweep = house.store.sweeps.get(sweep_id)
        if sweep.state not in SWEEP_LIVE:
            return sweep
        live = work(house, sweep_id)
        if live:
            house.driver.finish([order(live)])
    raise AssertionError(f"sweep {sweep_id} did not end: {house.counts(sweep_id)}")


def work(house: Any, sweep_id: str) -> list[Run]:
    """Give every free worker a run; the runs that train now, in the order of their start."""
    running = [run for run in house.store.runs.of_sweep(sweep_id) if run.state is RunState.RUNNING]
    house.driver.claim(sweep_id, most=PARALLEL - len(running))
    running = [run for run in house.store.runs.of_sweep(sweep_id) if run.state is RunState.RUNNING]
    assert len(running) <= PARALLEL
    return sorted(running, key=lambda run: (str(run.started_at), run.id))


def topped_up(house: Any, **search: Any) -> tuple[Sweep, list[Run]]:
    """A sweep that has just asked for a run beside two that train, and those two."""
    sweep = submitted(house, **search)
    batches = 0
    for _ in range(100):
        house.loop.step()
        now = house.store.sweeps.get(sweep.id)
        running = [run for run in house.store.runs.of_sweep(sweep.id) if run.state is RunState.RUNNING]
        if now.batches > batches and len(running) == PARALLEL - 1:
            return now, running
        batches = now.batches
        house.driver.finish(work(house, sweep.id)[:1])
    raise AssertionError("no top-up")


def test_a_worker_that_is_free_gets_one_run_that_knows_the_newest_result(house: Any) -> None:
    sweep, running = topped_up(house)
    assert house.counts(sweep.id)["pending"] == 1
    results = sum(house.counts(sweep.id).get(state, 0) for state in ("completed", "diverged"))
    assert house.store.laws.latest(sweep.id).runs == results
    asked = house.store.events.latest(sweep.id, BatchEvent)
    assert (asked.runs, asked.ended) == (1, results)
    assert not {run.id for run in running} & {run.id for run in house.store.runs.pending(sweep.id)}


def test_a_look_without_a_result_asks_for_nothing_and_fits_nothing(house: Any) -> None:
    sweep, _ = topped_up(house)
    house.driver.claim(sweep.id)
    last = house.store.events.last_id()
    for _ in range(3):
        house.lead()
        house.loop.step()
    assert house.store.events.last_id() == last


def test_results_that_come_together_cost_one_fit(house: Any) -> None:
    sweep, running = topped_up(house)
    house.driver.claim(sweep.id)
    before = house.store.laws.latest(sweep.id)
    house.driver.finish(running)
    house.loop.step()
    after = house.store.laws.latest(sweep.id)
    assert (after.number, after.runs) == (before.number + 1, before.runs + len(running))


@pytest.mark.parametrize("strategy", ["law", "grid", "random", "tpe"])
@pytest.mark.parametrize("order", [of_longest_wait, of_shortest_wait])
def test_every_strategy_stays_within_its_budget_and_repeats_nothing(
    house: Any, strategy: str, order: Order
) -> None:
    sweep = submitted(house, strategy)
    final = trickled(house, sweep.id, order)
    assert final.state is SweepState.COMPLETED
    runs = [run for run in house.store.runs.of_sweep(sweep.id) if run.state is not RunState.PRUNED]
    assert len(runs) <= 24
    assert {run.state for run in runs} <= {RunState.COMPLETED, RunState.DIVERGED}
    assert house.store.laws.latest(sweep.id).runs == len(runs)


@pytest.mark.parametrize("strategy", ["law", "grid", "random"])
def test_a_budget_of_flops_counts_what_is_open(house: Any, strategy: str) -> None:
    full = submitted(house).full_grid_flops
    sweep = submitted(house, strategy, budget={"flops": 0.3 * full})
    assert trickled(house, sweep.id).state is SweepState.COMPLETED
    assert 0.15 * full < house.store.sweeps.spent_flops(sweep.id) <= 0.3 * full


def test_where_results_come_together_arrival_needs_no_more_runs_than_batches_to_one_interval(
    house: Any,
) -> None:
    stop = {"stop": {"interval_factor": 1.5}, "budget": {}}
    batch, arrival = (submitted(house, refit=refit, **stop) for refit in ("batch", "arrival"))
    ends = [house.until_final(sweep.id) for sweep in (batch, arrival)]
    assert [end.state for end in ends] == [SweepState.COMPLETED] * 2
    assert all("within ×/÷" in str(end.reason) for end in ends)
    asked = [house.store.laws.latest(sweep.id) for sweep in (batch, arrival)]
    assert asked[1].runs <= asked[0].runs
    assert asked[1].spent_flops <= asked[0].spent_flops


def test_a_leader_killed_before_every_look_plans_the_same(house: Any) -> None:
    undisturbed, sweep = submitted(house), submitted(house)
    trickled(house, undisturbed.id)
    for _ in range(300):
        house.lead()
        house.loop.step()
        if house.store.sweeps.get(sweep.id).state not in SWEEP_LIVE:
            break
        house.driver.finish(work(house, sweep.id)[:1])
    assert house.history(sweep.id) == house.history(undisturbed.id)


def test_a_driver_that_dies_beside_a_top_up_loses_no_run_and_none_is_asked_for_twice(house: Any) -> None:
    sweep, running = topped_up(house)
    asked = sum(house.counts(sweep.id).values())
    house.driver.die(sweep.id)
    house.loop.step()
    assert house.counts(sweep.id)["pending"] == len(running) + 1
    assert sum(house.counts(sweep.id).values()) == asked
    assert trickled(house, sweep.id).state is SweepState.COMPLETED


@pytest.mark.parametrize("state", [SweepState.PAUSED, SweepState.STOPPING, SweepState.CANCELLED])
def test_a_top_up_that_is_due_is_not_asked_for_once_the_user_says_stop(house: Any, state: SweepState) -> None:
    sweep, running = topped_up(house)
    house.driver.claim(sweep.id)
    house.driver.finish(running[:1])
    house.store.sweeps.move(sweep.id, state)
    house.loop.step()
    assert house.store.sweeps.get(sweep.id).batches == sweep.batches
    if state is SweepState.PAUSED:
        house.store.sweeps.resume(sweep.id)
        house.loop.step()
        assert house.store.sweeps.get(sweep.id).batches == sweep.batches + 1


def test_a_late_result_of_a_run_that_was_taken_back_changes_nothing(house: Any) -> None:
    sweep, running = topped_up(house)
    old = house.driver.fences[sweep.id]
    house.driver.die(sweep.id)
    house.loop.step()
    late = [RunResult(run_id=run.id, state=RunState.COMPLETED, loss=1.0) for run in running]
    assert house.store.runs.finish(late, fence=old) == 0
    batches = house.store.sweeps.get(sweep.id).batches
    house.driver.claim(sweep.id)
    house.loop.step()
    assert house.store.sweeps.get(sweep.id).batches == batches


def test_runs_that_all_fail_are_not_replaced_for_ever_by_those_of_a_prior_law(house: Any) -> None:
    done = submitted(house)
    trickled(house, done.id)
    table = done.spec.trainer.table
    search = {"refit": "arrival", "rates_per_cell": 4}
    sweep = house.submit_replay(
        search=search, resources={"max_parallel": PARALLEL}, prior_runs={"table": table}
    )
    while house.store.sweeps.get(sweep.id).state in SWEEP_LIVE:
        house.loop.step()
        fail = [RunResult(run_id=run.id, state=RunState.FAILED, reason="no") for run in work(house, sweep.id)]
        house.store.runs.finish(fail[:1], fence=house.driver.fences.get(sweep.id, 0))
    final = house.store.sweeps.get(sweep.id)
    assert (final.state, final.reason) == (SweepState.FAILED, "Every run failed; reason of the last one: no")


def test_ten_thousand_results_one_by_one_leave_few_laws() -> None:
    laws, newest = 0, 0
    for known in range(1, 10_001):
        if not is_recent(newest, known):
            laws, newest = laws + 1, known
    assert laws < 500
    assert RECENT > 1


def test_a_law_that_lacks_a_few_of_many_results_is_not_fitted_anew(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.loop.refit.RECENT", 4)
    fits: list[int] = []
    monkeypatch.setattr("orchestrator.loop.refit.fit", lambda seen: fits.append(seen.size) or fit(seen))
    sweep = submitted(house)
    final = trickled(house, sweep.id)
    assert final.batches > len(fits)
    last = house.store.laws.latest(sweep.id).runs
    assert last == sum(house.counts(sweep.id).get(state, 0) for state in ("completed", "diverged"))


def test_a_planner_that_chose_to_wait_is_not_asked_again_until_all_are_in(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, running = topped_up(house)
    running += house.driver.claim(sweep.id)
    real = refit.planner_of

    class Waits:
        """A planner that wants to see the open runs first."""

        def plan(self, *_: Any) -> BatchPlan:
            asked.append(len(asked))
            return BatchPlan()

    asked: list[int] = []
    monkeypatch.setattr(refit, "planner_of", lambda _: Waits())
    for run in running[:-1]:
        house.driver.finish([run])
        house.lead()
        house.loop.step()
    assert len(asked) == 1
    monkeypatch.setattr(refit, "planner_of", real)
    batches = house.store.sweeps.get(sweep.id).batches
    house.driver.finish(running[-1:])
    house.loop.step()
    assert house.store.sweeps.get(sweep.id).batches == batches + 1


def test_proxies_are_topped_up_by_whole_batches_so_that_their_stacks_stay(house: Any) -> None:
    search = {"strategy": "law", "refit": "arrival", "budget": {"runs": 36}}
    sweep = house.submit(search=search, resources={"max_parallel": PARALLEL})
    final = trickled(house, sweep.id)
    assert final.state is SweepState.COMPLETED
    runs = house.store.runs.of_sweep(sweep.id)
    batches = [
        event.data for event in house.store.events.after(0, sweep_id=sweep.id) if event.kind == "batch"
    ]
    before = [sum(item["runs"] for item in batches[:at]) for at in range(len(batches))]
    topped_up = [item["runs"] for item, asked in zip(batches, before, strict=True) if item["ended"] < asked]
    assert topped_up
    assert max(topped_up) > PARALLEL
    assert len([run for run in runs if run.state is not RunState.PRUNED]) <= 36
