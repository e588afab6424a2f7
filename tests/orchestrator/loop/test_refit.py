"""From what is known to what is asked for next: the budget is a hard stop, and nothing is asked for twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from orchestrator.cells import Cell
from orchestrator.documents.laws import RuledOut
from orchestrator.knowledge import knowledge_of
from orchestrator.loop import refit
from orchestrator.planner.values import BatchPlan, Proposal, Pruned
from orchestrator.states import RunState
from orchestrator.store.records import NewRun, Run, RunResult


@pytest.fixture
def plan_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[BatchPlan], None]:
    """Let every strategy answer with one plan."""

    def answer(plan: BatchPlan) -> None:
        class Fixed:
            def plan(self, *_: Any) -> BatchPlan:
                return plan

        monkeypatch.setattr(refit, "planner_of", lambda _: Fixed())

    return answer


def proposal(cell: int, rate: float, flops: float = 1e9) -> Proposal:
    return Proposal(cell=cell, learning_rate=rate, seed=0, flops=flops, reason="asked")


def knowledge(house: Any, **changes: Any) -> Any:
    return knowledge_of(house.store, house.submit(**changes), None)


def failing(run: Run, cell: Cell) -> RunResult:
    return RunResult(run_id=run.id, state=RunState.FAILED, reason="out of memory")


def rates(runs: tuple[NewRun, ...]) -> list[tuple[int, float]]:
    return [(run.cell, run.learning_rate) for run in runs]


THREE = (proposal(0, 1e-3), proposal(1, 1e-3), proposal(2, 2e-3))


def test_a_batch_is_what_the_planner_proposes(house: Any, plan_of: Callable[[BatchPlan], None]) -> None:
    plan_of(BatchPlan(batch=THREE))
    known = knowledge(house)
    batch = refit.next_batch(known, None)
    assert rates(batch.runs) == [(0, 1e-3), (1, 1e-3), (2, 2e-3)]
    assert [run.trunk for run in batch.runs] == [known.cells[run.cell].trunk for run in batch.runs]
    assert batch.stop is None


@pytest.mark.parametrize(
    ("budget", "kept"), [({"runs": 2}, 2), ({"flops": 2.5e9}, 2), ({"flops": 3e9}, 3), ({"runs": 9}, 3)]
)
def test_the_budget_cuts_what_a_planner_asks_for(
    house: Any, plan_of: Callable[[BatchPlan], None], budget: dict[str, float], kept: int
) -> None:
    plan_of(BatchPlan(batch=THREE))
    batch = refit.next_batch(knowledge(house, search={"budget": budget}), None)
    assert len(batch.runs) == kept


def test_a_budget_that_allows_nothing_ends_the_sweep(
    house: Any, plan_of: Callable[[BatchPlan], None]
) -> None:
    plan_of(BatchPlan(batch=THREE))
    batch = refit.next_batch(knowledge(house, search={"budget": {"flops": 1.0}}), None)
    assert (batch.runs, batch.stop) == ((), "The budget allows no further run.")


def test_a_planner_without_a_proposal_ends_the_sweep(
    house: Any, plan_of: Callable[[BatchPlan], None]
) -> None:
    plan_of(BatchPlan())
    assert refit.next_batch(knowledge(house), None).stop == "Nothing is left to run."


def test_what_was_made_before_is_not_asked_for_again(
    house: Any, plan_of: Callable[[BatchPlan], None]
) -> None:
    plan_of(BatchPlan(batch=THREE[:2], pruned=(Pruned(cell=3, learning_rate=1e-3, reason="too low"),)))
    sweep = house.submit()
    house.loop.step()
    claimed = house.driver.claim(sweep.id)
    known = knowledge_of(house.store, house.store.sweeps.get(sweep.id), None)
    assert refit.next_batch(known, None).stop is None, "open runs are waited for"
    house.driver.finish(claimed, failing)
    known = knowledge_of(house.store, house.store.sweeps.get(sweep.id), None)
    again = refit.next_batch(known, None)
    assert (again.runs, again.pruned) == ((), ())
    assert again.stop == "Nothing is left to run: what the planner asks for has failed before."
    assert again.rulings == [RuledOut(cell=3, learning_rate=1e-3, reason="too low")]


def test_a_longer_horizon_waits_for_its_trunk_that_is_under_way(
    house: Any, plan_of: Callable[[BatchPlan], None]
) -> None:
    sweep = house.submit()
    short, long, other, *_ = house.store.sweeps.cells(sweep.id)
    assert short.trunk == long.trunk != other.trunk
    plan_of(BatchPlan(batch=(proposal(short.number, 1e-3),)))
    house.loop.step()
    plan_of(
        BatchPlan(
            batch=(proposal(long.number, 1e-3), proposal(long.number, 2e-3), proposal(other.number, 1e-3))
        )
    )

    def asked() -> list[tuple[int, float]]:
        known = knowledge_of(house.store, house.store.sweeps.get(sweep.id), None)
        return rates(refit.next_batch(known, None).runs)

    assert asked() == [(long.number, 2e-3), (other.number, 1e-3)]
    house.driver.finish(house.driver.claim(sweep.id))
    assert (long.number, 1e-3) in asked()


def test_what_open_runs_are_expected_to_cost_is_spoken_for(
    house: Any, plan_of: Callable[[BatchPlan], None]
) -> None:
    sweep = house.submit(search={"budget": {"flops": 1e12}})
    cells = house.store.sweeps.cells(sweep.id)
    plan_of(BatchPlan(batch=(proposal(0, 1e-3), proposal(1, 1e-3), proposal(2, 1e-3))))
    house.loop.step()
    known = knowledge_of(house.store, house.store.sweeps.get(sweep.id), None)
    assert cells[0].trunk == cells[1].trunk
    shared = cells[0].flops + cells[1].marginal_flops(cells[0].fork_tokens) + cells[2].flops
    assert known.promised_flops == pytest.approx(shared)
    house.driver.finish(house.driver.claim(sweep.id))
    known = knowledge_of(house.store, house.store.sweeps.get(sweep.id), None)
    assert known.promised_flops == 0.0
    assert known.spent_flops == pytest.approx(shared)


def test_a_pruned_rate_may_be_asked_for_later(house: Any, plan_of: Callable[[BatchPlan], None]) -> None:
    plan_of(BatchPlan(batch=THREE[:1], pruned=(Pruned(cell=1, learning_rate=1e-3, reason="too low"),)))
    sweep = house.submit()
    house.loop.step()
    house.driver.finish(house.driver.claim(sweep.id))
    plan_of(BatchPlan(batch=THREE[1:2]))
    house.loop.step()
    states = {(run.cell, run.learning_rate): run.state for run in house.store.runs.of_sweep(sweep.id)}
    assert states == {(0, 1e-3): RunState.COMPLETED, (1, 1e-3): RunState.PENDING}


def test_pruned_rates_are_pruned_for_every_seed(house: Any, plan_of: Callable[[BatchPlan], None]) -> None:
    plan_of(BatchPlan(batch=THREE[:1], pruned=(Pruned(cell=1, learning_rate=1e-3, reason="too low"),)))
    grid = {"seeds": 2, "scales": [{"width": 32, "depth": 2}], "tokens": [100_352, 200_704]}
    known = knowledge(house, grid={**grid, "batch_tokens": [2048], "learning_rates": [1e-3, 2e-3]})
    batch = refit.next_batch(known, None)
    assert [(run.cell, run.seed) for run in batch.pruned] == [(1, 0), (1, 1)]
    assert len(batch.rulings) == 1


def test_the_law_sees_diverged_runs_without_a_loss_and_no_open_ones(house: Any) -> None:
    sweep = house.submit(search={"strategy": "grid"})
    house.loop.step()
    house.driver.finish(house.driver.claim(sweep.id, most=7))
    known = knowledge_of(house.store, house.store.sweeps.get(sweep.id), None)
    observations = known.observations
    finished = [run for run in known.runs if run.state in {RunState.COMPLETED, RunState.DIVERGED}]
    assert observations.size == len(finished) == 7
    for run, loss, rate in zip(finished, observations.loss, observations.learning_rate, strict=True):
        assert rate == run.learning_rate
        assert np.isnan(loss) if run.state is RunState.DIVERGED else loss == run.loss
    assert len(known.history.runs) == len(known.runs)


def test_without_any_result_there_is_nothing_to_fit(house: Any) -> None:
    known = knowledge(house)
    assert known.observations.size == 0
    assert isinstance(refit.fitted(known), refit.Refused)
