"""A comparison carried through the loop: phase by phase, through kills of any process, within the budget."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from orchestrator.cells import Cell
from orchestrator.heldout.module_rates import parse_module_rates
from orchestrator.heldout.stages import comparison_document
from orchestrator.knowledge import knowledge_of
from orchestrator.law.published import LAWS
from orchestrator.settings import Settings
from orchestrator.spec import parse_spec
from orchestrator.states import RunState, SweepState
from orchestrator.store import LEADER
from orchestrator.store.records import Run, RunResult
from orchestrator.submission.preview import preview
from tests.orchestrator.conftest import FIELDS, House
from tests.orchestrator.heldout.carried import COMPARISON, SEARCH, compared_loss


def submitted(house: House, **changes: Any) -> str:
    comparison = {**COMPARISON, **changes.pop("comparison", {})}
    return house.submit(**{"search": SEARCH, "comparison": comparison, **changes}).id


def own_runs(house: House, sweep_id: str) -> list[Run]:
    return house.store.runs.of_comparison(sweep_id)


def comparing(house: House, **changes: Any) -> str:
    """A sweep that has just asked for the runs of its comparison."""
    sweep_id = submitted(house, **changes)
    house.loop.step()
    while not own_runs(house, sweep_id):
        house.driver.finish(house.driver.claim(sweep_id), compared_loss)
        house.loop.step()
    return sweep_id


def asked(house: House, sweep_id: str) -> Counter[tuple[Any, ...]]:
    return Counter(
        (run.batch, run.cell, run.learning_rate, run.seed, run.module_rates)
        for run in own_runs(house, sweep_id)
    )


def stages(house: House, sweep_id: str) -> list[str]:
    events = house.store.events.after(0, sweep_id=sweep_id, limit=10_000)
    return [event.data["stage"] for event in events if event.kind == "comparison"]


def test_a_sweep_compares_at_its_held_out_scale_before_it_completes(house: House) -> None:
    sweep_id = submitted(house)
    sweep = house.until_final(sweep_id, compared_loss)
    assert sweep.state is SweepState.COMPLETED
    assert sweep.reason is not None
    assert sweep.reason.endswith(" was asked for. The comparison is complete.")
    assert stages(house, sweep_id) == ["waiting", "running", "complete"]
    document = comparison_document(house.store, sweep)
    excluded = [law.name for law in LAWS if law.of_mup or law.of_experts]
    published = [law.name for law in LAWS if law.name not in excluded]
    assert [item.name for item in document.contenders] == ["Fitting", "Transfer", "the same rate", *published]
    assert [item.name for item in document.left_out] == excluded
    by_name = {item.name: item for item in document.contenders}
    assert by_name["Transfer"].learning_rate == by_name["the same rate"].learning_rate
    assert all({run.seed for run in item.runs} == {0, 1} for item in document.contenders)
    assert by_name["Fitting"].excess_loss.value < by_name["Transfer"].excess_loss.value
    assert by_name["Transfer"].difference.low > 0
    assert str(document.verdict).startswith("Trust Fitting here: Transfer loses ")


def test_the_base_is_the_smallest_scale_at_the_longest_horizon_and_costs_nothing_more(house: House) -> None:
    sweep_id = submitted(house)
    sweep = house.until_final(sweep_id, compared_loss)
    document = comparison_document(house.store, sweep)
    base = min(
        (cell for cell in house.store.sweeps.cells(sweep_id) if cell.role is None),
        key=lambda cell: (cell.params, -cell.tokens),
    )
    assert (document.base.params, document.base.tokens) == (base.params, base.tokens)
    assert document.base.learning_rate == pytest.approx(
        8e-3 * (base.params / 1e5) ** -0.3 * (base.tokens / 1.4e5) ** -0.2, rel=0.25
    )
    assert {house.store.sweeps.cells(sweep_id)[run.cell].role for run in own_runs(house, sweep_id)} == {
        "standard",
        "transfer",
    }


def test_module_wise_rates_are_searched_first_in_batches_that_fill_the_workers(house: House) -> None:
    sweep_id = submitted(house, comparison={"module_rates": {"runs": 12}})
    sweep = house.until_final(sweep_id, compared_loss)
    assert stages(house, sweep_id) == ["tuning modules", "running", "complete"]
    cells = house.store.sweeps.cells(sweep_id)
    trials = [run for run in own_runs(house, sweep_id) if cells[run.cell].role == "base"]
    assert sorted(Counter(run.batch for run in trials).values()) == [4, 8]
    assert len({run.learning_rate for run in trials}) == 1
    assert trials[0].module_rates == ""
    assert len({run.trunk_id for run in trials}) == len(trials)
    document = comparison_document(house.store, sweep)
    best = min(trials, key=lambda run: run.loss or math.inf)
    module_wise = document.contenders[-1]
    assert module_wise.name == "module-wise"
    assert module_wise.module_rates == parse_module_rates(best.module_rates)
    assert document.module_search is not None
    assert document.module_search.loss == best.loss
    assert document.module_search.ended == 12


def test_what_is_compared_never_enters_the_law_nor_the_savings(house: House) -> None:
    sweep_id = submitted(house)
    sweep = house.until_final(sweep_id, compared_loss)
    tally = house.store.sweeps.tallies([sweep_id])[sweep_id]
    knowledge = knowledge_of(house.store, sweep, None)
    law = house.store.laws.latest(sweep_id)
    assert law is not None
    assert law.runs == knowledge.observations.size == house.store.sweeps.results(sweep_id)
    assert tally.compared == len(own_runs(house, sweep_id))
    assert tally.compared_flops == pytest.approx(sum(run.flops for run in own_runs(house, sweep_id)))
    assert tally.spent_flops == pytest.approx(knowledge.spent_flops)
    alone = house.submit(search=SEARCH)
    assert alone.full_grid_flops == sweep.full_grid_flops
    assert house.until_final(alone.id, compared_loss).state is SweepState.COMPLETED
    without = house.store.laws.latest(alone.id)
    assert without is not None
    assert without.document["fingerprint"] == law.document["fingerprint"]


def test_a_comparison_by_a_law_of_another_version_goes_on_with_a_new_fit(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep_id = submitted(house)
    while not stages(house, sweep_id):
        house.loop.step()
        if sweep_id in house.driver.fences:
            house.driver.finish(house.driver.claim(sweep_id), compared_loss)
    monkeypatch.setattr("orchestrator.law.law.VERSION", 99)
    sweep = house.until_final(sweep_id, compared_loss)
    law = house.store.laws.latest(sweep_id)
    assert law is not None
    assert (sweep.state, law.document["version"]) == (SweepState.COMPLETED, 99)
    assert stages(house, sweep_id)[-1] == "complete"


@pytest.mark.parametrize("killed_after", [1, 2])
def test_killed_in_the_middle_of_any_phase_it_asks_for_the_same_runs(house: House, killed_after: int) -> None:
    comparison = {"module_rates": {"runs": 10}}
    undisturbed = submitted(house, comparison=comparison)
    house.until_final(undisturbed, compared_loss)
    disturbed = submitted(house, comparison=comparison)
    for step in range(400):
        if step % killed_after == 0:
            house.lead()
        house.loop.step()
        sweep = house.store.sweeps.get(disturbed)
        if sweep.state is SweepState.COMPLETED:
            break
        if disturbed in house.driver.fences:
            if step % 5 == 4:
                house.driver.die(disturbed)
                continue
            house.driver.finish(house.driver.claim(disturbed, most=3), compared_loss)
    assert house.store.sweeps.get(disturbed).state is SweepState.COMPLETED
    assert asked(house, disturbed) == asked(house, undisturbed)
    one, other = (house.store.comparisons.get(sweep_id) for sweep_id in (disturbed, undisturbed))
    assert one is not None
    assert one == other


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"runs": 30}, "it takes up to 26 runs, and the budget of 30 leaves"),
        ({"flops": 6e12}, "FLOPs, and the budget of 6.0e12 FLOPs leaves"),
        (
            {"seconds": 1e-3},
            "the budget of 0.001 seconds is spent; the comparison at the held-out scale was not run",
        ),
    ],
)
def test_a_budget_too_small_for_it_is_reported_and_kept(
    house: House, budget: dict[str, Any], words: str
) -> None:
    sweep_id = submitted(house, search={**SEARCH, "budget": budget})
    sweep = house.until_final(sweep_id, compared_loss)
    assert sweep.state is SweepState.COMPLETED
    assert own_runs(house, sweep_id) == []
    document = comparison_document(house.store, sweep)
    assert document.state == "not run"
    assert document.reason is not None
    assert words in document.reason.replace("\xa0", " ")
    assert document.contenders == []


def test_a_plan_warns_of_a_budget_that_may_not_reach_for_it(house: House) -> None:
    fields = {**FIELDS, "search": {**SEARCH, "budget": {"runs": 30}}, "comparison": COMPARISON}
    warnings = preview(parse_spec(fields), house.store, Settings()).warnings
    assert any("may not be run: it takes up to 26 runs, and the budget of 30" in text for text in warnings)
    fields["search"] = SEARCH
    assert not any(
        "comparison" in text for text in preview(parse_spec(fields), house.store, Settings()).warnings
    )


def test_it_costs_no_more_than_planned(house: House) -> None:
    fields = {**FIELDS, "search": SEARCH, "comparison": {**COMPARISON, "module_rates": {"runs": 8}}}
    plan = preview(parse_spec(fields), house.store, Settings())
    sweep_id = submitted(house, comparison={"module_rates": {"runs": 8}})
    house.until_final(sweep_id, compared_loss)
    runs = own_runs(house, sweep_id)
    cells = house.store.sweeps.cells(sweep_id)
    assert len(runs) <= plan.comparison.runs
    assert sum(cells[run.cell].flops for run in runs) <= plan.comparison.flops * (1 + 1e-9)
    assert plan.comparison.held_out.params == 2 * 12 * 128**2


def test_without_a_law_nothing_is_compared_and_the_reason_is_reported(house: House) -> None:
    sweep_id = submitted(house, search={"strategy": "grid"})

    def flat(run: Run, cell: Cell) -> RunResult:
        return RunResult(run_id=run.id, state=RunState.COMPLETED, loss=2.0, seconds=1.0)

    sweep = house.until_final(sweep_id, flat)
    assert sweep.state is SweepState.COMPLETED
    document = comparison_document(house.store, sweep)
    assert document.state == "not run"
    assert str(document.reason).startswith("there is no law: ")


def test_a_stop_on_request_ends_it(house: House) -> None:
    sweep_id = comparing(house)
    house.store.sweeps.stop(sweep_id)
    sweep = house.until_final(sweep_id, compared_loss)
    assert sweep.state is SweepState.STOPPED
    document = comparison_document(house.store, sweep)
    assert document.state == "cut short"
    assert document.reason == "the sweep is stopped: stopped on request"


@pytest.mark.parametrize(
    ("moves", "reason"),
    [
        ([SweepState.CANCELLED], "the sweep is cancelled"),
        ([SweepState.PAUSED, SweepState.STOPPING], "the sweep is stopping"),
        ([SweepState.FAILED], "the sweep is failed"),
    ],
)
def test_a_sweep_that_ends_in_the_middle_of_it_says_why(
    house: House, moves: list[SweepState], reason: str
) -> None:
    sweep_id = comparing(house)
    for to in moves:
        house.store.sweeps.move(sweep_id, to)
    document = comparison_document(house.store, house.store.sweeps.get(sweep_id))
    assert (document.state, document.reason) == ("cut short", reason)


def test_a_budget_of_seconds_that_ends_in_the_middle_of_it_cuts_it_short(house: House) -> None:
    sweep_id = comparing(house, search={**SEARCH, "budget": {"seconds": 600}})
    house.driver.finish(house.driver.claim(sweep_id, most=20), compared_loss)
    lease = house.store.leases.current(LEADER)
    assert lease is not None
    house.store.runs.drop(sweep_id, fence=lease.fence, reason="the budget of 600 seconds is spent")
    sweep = house.until_final(sweep_id, compared_loss)
    assert sweep.reason is not None
    assert sweep.reason.endswith("The comparison is cut short: the budget of 600 seconds is spent")
    document = comparison_document(house.store, sweep)
    assert (document.state, document.reason) == ("cut short", "the budget of 600 seconds is spent")
    assert document.contenders[0].excess_loss is not None


def test_a_sweep_stopped_before_its_planner_does_not_compare(house: House) -> None:
    sweep_id = submitted(house)
    house.loop.step()
    house.store.sweeps.stop(sweep_id)
    sweep = house.until_final(sweep_id, compared_loss)
    assert comparison_document(house.store, sweep).state == "not run"
    assert own_runs(house, sweep_id) == []


def test_while_it_goes_on_its_state_says_so(house: House) -> None:
    sweep_id = submitted(house, comparison={"module_rates": {"runs": 8}})
    seen = []
    for _ in range(200):
        house.loop.step()
        sweep = house.store.sweeps.get(sweep_id)
        state = comparison_document(house.store, sweep).state
        seen += [state] if state not in seen else []
        if sweep.state is SweepState.COMPLETED:
            break
        house.driver.finish(house.driver.claim(sweep_id), compared_loss)
    assert seen == ["waiting", "tuning modules", "running", "complete"]


def test_a_contender_that_diverges_is_named(house: House) -> None:
    def mostly(run: Run, cell: Cell) -> RunResult:
        if cell.role == "transfer" and run.seed == 1:
            return RunResult(run_id=run.id, state=RunState.DIVERGED, seconds=0.5)
        return compared_loss(run, cell)

    sweep_id = submitted(house)
    document = comparison_document(house.store, house.until_final(sweep_id, mostly))
    transfer = next(item for item in document.contenders if item.name == "Transfer")
    assert transfer.diverged is True
    assert transfer.excess_loss is None
    assert document.verdict == "Trust Fitting here: Transfer diverged in 1 of 2 seeds."
