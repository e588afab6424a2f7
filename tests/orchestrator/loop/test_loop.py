"""The loop brings a sweep from submission to its answer, whatever happens on the way."""

from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator.cells import Cell
from orchestrator.documents.predictions import TargetDocument
from orchestrator.errors import Conflict
from orchestrator.law import LawRefusal
from orchestrator.loop.decision import GRACE_SECONDS
from orchestrator.states import RunState, SweepState
from orchestrator.store import LEADER
from orchestrator.store.records import LossPoint, Run, RunResult, Sweep
from tests.known_law import KnownLaw, grid, run_table


def bowls(slope: float = 0.0) -> bytes:
    """A run table of bowls in four cells; ``slope`` tilts them until no minimum is left."""
    law = KnownLaw(rate=1e-2, at=(1e5, 1.0, 1.0), exponents=(-0.3, 0.0, 0.0), curvature=1 / 30)
    runs = law.runs(grid((1e5, 4e5), (1e6, 4e6), (2048,)), (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2))
    return run_table((cell, eta, loss + slope * math.log(eta)) for cell, eta, loss in runs).encode()


def submit_fit(house: Any, slope: float = 0.0, **changes: Any) -> Sweep:
    """A sweep that fits bowls which ran before, and runs nothing."""
    table = house.store.tables.add(bowls(slope), rows=20, cells=4).id
    target = {"params": 8e5, "tokens": 4e6}
    fields = {"trainer": None, "grid": {}, "prior_runs": {"table": table}, "target": target}
    return house.submit(**(fields | changes))


def test_a_sweep_is_carried_to_a_prediction_near_the_known_optimum(house: Any) -> None:
    sweep = house.submit()
    final = house.until_final(sweep.id)
    assert final.state is SweepState.COMPLETED
    assert final.reason
    law = house.store.laws.latest(sweep.id)
    truth = 8e-3 * 3**-0.3 * (400_000 / 1.4e5) ** -0.2
    assert law.prediction.interval.low < truth < law.prediction.interval.high
    assert law.prediction.sweep_id == sweep.id
    assert law.prediction.law_number == law.number == final.law_number


def test_a_law_is_fitted_after_every_batch_once_there_is_one(house: Any) -> None:
    sweep = house.submit()
    final = house.until_final(sweep.id)
    recorded = [event.data for event in house.store.events.after(0, sweep_id=sweep.id) if event.kind == "law"]
    assert len(recorded) == final.batches
    refused = [data for data in recorded if data["number"] is None]
    laws = [data for data in recorded if data["number"] is not None]
    assert recorded == refused + laws
    assert all(data["detail"] for data in refused)
    assert [data["number"] for data in laws] == [law.number for law in house.store.laws.of_sweep(sweep.id)]


def test_rates_that_the_law_rules_out_are_kept_as_pruned_with_the_reason(house: Any) -> None:
    sweep = house.submit()
    house.until_final(sweep.id)
    pruned = [run for run in house.store.runs.of_sweep(sweep.id) if run.state is RunState.PRUNED]
    assert pruned
    assert all(run.reason and run.batch is None for run in pruned)
    ruled_out = [row for law in house.store.laws.of_sweep(sweep.id) for row in law.ruled_out]
    assert {(run.cell, run.learning_rate) for run in pruned} <= {
        (row.cell, row.learning_rate) for row in ruled_out
    }


def test_the_grid_runs_every_rate_of_every_cell_once(house: Any) -> None:
    sweep = house.submit(search={"strategy": "grid"})
    final = house.until_final(sweep.id)
    assert final.state is SweepState.COMPLETED
    runs = house.store.runs.of_sweep(sweep.id)
    assert len(runs) == 6 * 7
    assert {run.state for run in runs} == {RunState.COMPLETED, RunState.DIVERGED}


def test_the_driver_starts_with_the_sweep_and_only_once(house: Any) -> None:
    sweep = house.submit()
    house.loop.step()
    house.loop.step()
    assert house.driver.started == [sweep.id]
    assert house.counts(sweep.id)["pending"] > 0


def test_a_sweep_in_which_nothing_happened_is_not_looked_at_again(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = house.submit()
    house.loop.step()
    house.loop.step()
    looks, real = [], house.store.sweeps.progress
    monkeypatch.setattr(house.store.sweeps, "progress", lambda id_: looks.append(id_) or real(id_))
    house.loop.step()
    assert looks == []
    live = house.driver.claim(sweep.id, most=1)
    house.loop.step()
    assert looks == [sweep.id]
    house.driver.finish(live)
    house.loop.step()
    assert looks == [sweep.id] * 2
    house.driver.die(sweep.id)
    house.loop.step()
    assert len(house.driver.started) == 2


def test_a_lost_driver_is_replaced_and_its_runs_are_run_again(house: Any) -> None:
    sweep = house.submit()
    house.loop.step()
    lost = house.driver.claim(sweep.id)
    house.driver.die(sweep.id)
    house.loop.step()
    assert house.driver.started == [sweep.id, sweep.id]
    assert house.counts(sweep.id) == {"pending": len(lost)}
    assert house.until_final(sweep.id).state is SweepState.COMPLETED
    assert all(house.store.runs.get(run.id).attempt == 2 for run in lost)


def test_a_driver_of_an_earlier_orchestrator_is_left_to_work(house: Any) -> None:
    sweep = house.submit()
    house.loop.step()
    house.driver.alive = lambda sweep_id: False
    house.loop.step()
    assert house.driver.started == [sweep.id]


def test_drivers_that_keep_dying_fail_the_sweep_with_their_last_words(house: Any) -> None:
    sweep = house.submit()
    house.loop.step()
    house.driver.die(sweep.id)
    house.driver.early_deaths = 4
    house.loop.step()
    final = house.store.sweeps.get(sweep.id)
    assert final.state is SweepState.FAILED
    assert "died 4 times" in final.reason
    assert "no disk" in final.reason
    assert set(house.counts(sweep.id)) == {"cancelled"}


def test_drivers_that_die_after_some_work_do_not_fail_the_sweep(house: Any) -> None:
    sweep = house.submit()
    house.loop.step()
    run = house.store.runs.of_sweep(sweep.id)[0]
    for step in (1, 2):
        house.store.losses.append(
            [LossPoint(curve=str(run.trunk_id or run.id), step=step, tokens=step, loss=3.0)]
        )
        house.driver.die(sweep.id)
        house.driver.early_deaths = 4
        house.loop.step()
        assert house.store.sweeps.get(sweep.id).state is SweepState.RUNNING
        assert house.driver.early_deaths == 0
    house.driver.die(sweep.id)
    house.driver.early_deaths = 4
    house.loop.step()
    assert house.store.sweeps.get(sweep.id).state is SweepState.FAILED, "the last four did nothing"


def test_a_budget_of_runs_is_never_passed(house: Any) -> None:
    sweep = house.submit(search={"strategy": "grid", "budget": {"runs": 5}})
    final = house.until_final(sweep.id)
    assert final.state is SweepState.COMPLETED
    counts = house.counts(sweep.id)
    assert counts.get("completed", 0) + counts.get("diverged", 0) == 5


def test_a_budget_of_flops_is_never_passed(house: Any) -> None:
    full = house.submit().full_grid_flops
    sweep = house.submit(search={"strategy": "grid", "budget": {"flops": 0.2 * full}})
    final = house.until_final(sweep.id)
    assert final.state is SweepState.COMPLETED
    assert 0 < house.store.sweeps.spent_flops(sweep.id) <= 0.2 * full


def test_spent_seconds_end_the_sweep_after_the_live_runs(house: Any) -> None:
    sweep = house.submit(search={"strategy": "grid", "budget": {"seconds": 1e-6}})
    house.loop.step()
    live = house.driver.claim(sweep.id, most=1)
    house.loop.step()
    assert house.counts(sweep.id)["running"] == 1
    assert "pending" not in house.counts(sweep.id)
    house.driver.finish(live)
    house.loop.step()
    final = house.store.sweeps.get(sweep.id)
    assert (final.state, final.reason) == (SweepState.COMPLETED, "the budget of 1e-06 seconds is spent")
    assert house.counts(sweep.id)["completed"] == 1


def test_runs_that_go_on_long_after_the_seconds_are_spent_are_cancelled(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = house.submit(search={"strategy": "grid", "budget": {"seconds": 60}})
    house.loop.step()
    live = house.driver.claim(sweep.id, most=2)
    house.driver.finish(live[:1])
    monkeypatch.setattr(house.store.sweeps, "span_seconds", lambda _: 60 + GRACE_SECONDS)
    house.loop.step()
    final = house.store.sweeps.get(sweep.id)
    assert (final.state, final.reason) == (SweepState.COMPLETED, "the budget of 60 seconds is spent")
    assert house.store.runs.get(live[1].id).state is RunState.CANCELLED
    counts = house.counts(sweep.id)
    assert set(counts) == {"completed", "cancelled"}
    assert counts["completed"] == 1


def test_a_refusal_is_written_by_the_leader_alone(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def robbed(*_: Any) -> Any:
        house.rest()
        house.store.leases.acquire(LEADER, "rival", 60)
        return refused

    refused = LawRefusal.NO_RUNS.error(finite=0, runs=20)
    submit_fit(house)
    monkeypatch.setattr("orchestrator.loop.loop.fitted", robbed)
    with pytest.raises(Conflict, match="Another orchestrator is the leader"):
        house.loop.step()
    assert not [event for event in house.store.events.after(0) if event.kind == "law"]


def failing(run: Run, cell: Cell) -> RunResult:
    return RunResult(run_id=run.id, state=RunState.FAILED, reason="out of memory")


def test_a_sweep_whose_runs_all_fail_fails_with_their_reason(house: Any) -> None:
    sweep = house.submit()
    final = house.until_final(sweep.id, failing)
    assert final.state is SweepState.FAILED
    assert final.reason == "Every run failed; reason of the last one: out of memory"


@pytest.mark.parametrize("strategy", ["law", "grid"])
def test_runs_that_fail_in_one_cell_do_not_keep_a_sweep_from_ending(house: Any, strategy: str) -> None:
    from_first = house.submit(search={"strategy": strategy, "budget": {"runs": 60}})

    def ending(run: Run, cell: Cell) -> RunResult:
        loss = 3.0 + 0.05 * math.log(run.learning_rate / 8e-3) ** 2
        return (
            failing(run, cell)
            if cell.number == 2
            else RunResult(run_id=run.id, state=RunState.COMPLETED, loss=loss, seconds=1.0)
        )

    assert house.until_final(from_first.id, ending).state is SweepState.COMPLETED


def test_a_paused_sweep_ends_its_live_runs_and_asks_for_no_more(house: Any) -> None:
    sweep = house.submit()
    house.loop.step()
    live = house.driver.claim(sweep.id)
    house.store.sweeps.move(sweep.id, SweepState.PAUSED)
    house.driver.finish(live)
    house.loop.step()
    assert house.store.sweeps.get(sweep.id).batches == 1
    house.store.sweeps.move(sweep.id, SweepState.RUNNING)
    assert house.until_final(sweep.id).state is SweepState.COMPLETED


def test_a_stopped_sweep_has_a_law_of_everything_that_ran(house: Any) -> None:
    sweep = house.submit(search={"strategy": "grid"})
    house.loop.step()
    live = house.driver.claim(sweep.id)
    house.store.sweeps.move(sweep.id, SweepState.STOPPING)
    house.loop.step()
    assert house.store.sweeps.get(sweep.id).state is SweepState.STOPPING
    house.driver.finish(live)
    house.loop.step()
    assert house.store.sweeps.get(sweep.id).state is SweepState.STOPPED
    assert house.store.laws.latest(sweep.id).runs == len(live)


def test_live_runs_of_a_stopping_sweep_outlive_their_driver(house: Any) -> None:
    sweep = house.submit(search={"strategy": "grid"})
    house.loop.step()
    live = house.driver.claim(sweep.id, most=2)
    house.store.sweeps.move(sweep.id, SweepState.STOPPING)
    house.driver.die(sweep.id)
    house.loop.step()
    assert house.driver.started == [sweep.id, sweep.id]
    assert house.counts(sweep.id)["pending"] == 2
    again = house.driver.claim(sweep.id)
    assert [run.id for run in again] == [run.id for run in live]
    house.driver.finish(again)
    house.loop.step()
    assert house.store.sweeps.get(sweep.id).state is SweepState.STOPPED
    assert house.counts(sweep.id)["completed"] == 2


def test_a_cancelled_sweep_is_left_alone(house: Any) -> None:
    sweep = house.submit()
    house.loop.step()
    live = house.driver.claim(sweep.id)
    house.store.sweeps.move(sweep.id, SweepState.CANCELLED)
    house.loop.step()
    assert set(house.counts(sweep.id)) == {"cancelled"}
    assert (
        house.store.runs.finish(
            [RunResult(run_id=run.id, state=RunState.COMPLETED, loss=1.0) for run in live], fence=1
        )
        == 0
    )


def test_a_sweep_of_prior_runs_alone_is_a_fit(house: Any) -> None:
    sweep = submit_fit(house)
    final = house.until_final(sweep.id)
    assert (final.state, final.reason) == (SweepState.COMPLETED, "the law is fitted to the prior runs")
    assert house.store.laws.latest(sweep.id).runs == 20
    assert house.driver.started == []


def test_a_fit_without_a_target_answers_at_its_largest_cell(house: Any) -> None:
    sweep = submit_fit(house, target=None)
    house.until_final(sweep.id)
    target = house.store.laws.latest(sweep.id).prediction.target
    assert target == TargetDocument(params=4e5, tokens=4e6, batch_tokens=2048.0)


def test_a_fit_that_is_refused_fails_with_the_refusal(house: Any) -> None:
    sweep = submit_fit(house, slope=-1.0)
    final = house.until_final(sweep.id)
    assert final.state is SweepState.FAILED
    assert "interior minimum" in final.reason
    assert house.store.laws.of_sweep(sweep.id) == []


def test_a_target_that_the_runs_cannot_support_is_kept_as_a_refusal(house: Any) -> None:
    far = {"params": 1e12, "tokens": 1e14, "batch_tokens": 1e8}
    sweep = submit_fit(house, target=far)
    assert house.until_final(sweep.id).state is SweepState.COMPLETED
    answer = house.store.laws.latest(sweep.id).prediction
    assert answer.refused == "interval_too_wide"
    assert "×/÷ 3" in answer.detail
    assert answer.target == TargetDocument(**far)


def test_prior_runs_let_a_sweep_begin_with_a_law(house: Any) -> None:
    table = house.store.tables.add(bowls(), rows=20, cells=4).id
    sweep = house.submit(prior_runs={"table": table})
    house.loop.step()
    assert house.store.laws.latest(sweep.id).runs == 20
    assert house.until_final(sweep.id).state is SweepState.COMPLETED
    counts = house.counts(sweep.id)
    assert house.store.laws.latest(sweep.id).runs == 20 + counts["completed"] + counts.get("diverged", 0)


def test_a_replaced_leader_changes_nothing_more(house: Any) -> None:
    sweep = house.submit()
    old = house.loop
    house.lead()
    with pytest.raises(Conflict, match="Another orchestrator is the leader"):
        old.step()
    assert house.store.sweeps.get(sweep.id).state is SweepState.QUEUED


def test_several_sweeps_go_on_side_by_side(house: Any) -> None:
    sweeps = [house.submit() for _ in range(3)]
    for sweep in sweeps:
        assert house.until_final(sweep.id).state is SweepState.COMPLETED
    assert len({tuple(house.history(sweep.id)) for sweep in sweeps}) == 1
