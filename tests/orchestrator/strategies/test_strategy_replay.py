"""Strategies replayed in a world whose law is known, and what is added up of their replays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.cells import Cells
from orchestrator.errors import BadInput
from orchestrator.planner import STRATEGIES as OF_SWEEPS
from orchestrator.planner.values import PlanRequest, RunHistory
from orchestrator.strategies.compared_strategies import STRATEGIES, ComparedStrategy, SpacedPlanner
from orchestrator.strategies.recorded_world import recorded_world
from orchestrator.strategies.strategy_replay import Standing, StrategyReplay, replay, replays
from orchestrator.strategies.strategy_scores import compared, default_shares, note
from tests.known_law import RECORDED
from tests.orchestrator.strategies.tables import RATES, rows, table

WORLD = recorded_world(table(rows()))
SHARES = (0.02, 0.1, 0.5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_strategy_spends_more_than_its_share_or_runs_what_it_has_run(strategy):
    standings = replay(ComparedStrategy(strategy=strategy), WORLD, SHARES, seed=1).standings

    assert [standing.share for standing in standings] == list(SHARES)
    assert all(0 < standing.spent <= standing.share * (1 + 1e-6) for standing in standings)
    assert [s.runs for s in standings] == sorted(s.runs for s in standings)
    assert standings[-1].runs <= WORLD.runs


@pytest.mark.parametrize("strategy", ["law", "random", "tpe"])
def test_the_same_seed_gives_the_same_replay(strategy):
    contender = ComparedStrategy(strategy=strategy)

    assert replay(contender, WORLD, SHARES, seed=3) == replay(contender, WORLD, SHARES, seed=3)


def test_the_law_finds_the_known_optimum_of_cells_it_never_saw():
    last = replay(ComparedStrategy(strategy="law"), WORLD, (0.3,), seed=0).standings[-1]

    true = [RECORDED.optimum(target.target) for target in WORLD.targets]
    assert last.rates == pytest.approx(true, rel=0.1)
    assert last.excess_loss < 1e-3


def test_the_whole_grid_knows_as_much_as_the_law_of_all_runs():
    grid = replay(ComparedStrategy(strategy="grid"), WORLD, (1.0,), seed=0).standings[-1]

    assert grid.runs == WORLD.runs
    assert grid.rates == pytest.approx(WORLD.answers(WORLD.whole_law()))


def test_without_a_law_the_middle_of_the_lattice_is_judged():
    standing = replay(ComparedStrategy(strategy="grid"), WORLD, (1e-6,), seed=0).standings[-1]

    assert standing.runs == 0
    assert standing.rates == tuple(target.middle for target in WORLD.targets)
    assert standing.excess_loss > 0


def test_runs_a_batch_reach_the_strategy_and_stand_in_its_name():
    one, many = (
        ComparedStrategy(strategy="law", runs_per_batch=1),
        ComparedStrategy(strategy="law", runs_per_batch=12),
    )

    assert (one.name, many.name) == ("law, 1 run a batch", "law, 12 runs a batch")
    found = [replay(contender, WORLD, (0.2,), seed=0).standings[0] for contender in (one, many)]
    assert found[0] != found[1]


def test_the_rival_runs_four_spaced_rates_of_the_cheapest_cell_that_lacks_them():
    request = PlanRequest(target=WORLD.targets[0].target)
    runs = ()
    for cell in tuple(WORLD.cells)[:2]:
        batch = SpacedPlanner().plan(RunHistory(cells=WORLD.cells, runs=runs), None, request).batch
        assert {run.cell for run in batch} == {cell.number}
        assert [run.learning_rate for run in batch] == pytest.approx(RATES[1::2])
        runs += tuple(WORLD.answered(run.cell, run.learning_rate) for run in batch)


def test_every_strategy_of_a_sweep_can_be_compared_and_an_unknown_one_is_refused():
    assert set(OF_SWEEPS) < set(STRATEGIES)
    with pytest.raises(BadInput, match=r"no strategy 'best'; there are: law, four"):
        ComparedStrategy(strategy="best")


def standing(excess_loss: float, runs: int) -> Standing:
    return Standing(share=0.1, spent=0.08, runs=runs, law=None, rates=(1e-3,), excess_losses=(excess_loss,))


def test_scores_are_means_with_the_standard_error_over_replicates():
    grid = ComparedStrategy(strategy="grid")
    found = [StrategyReplay(contender=grid, standings=(standing(*at),)) for at in ((0.01, 10), (0.03, 14))]

    ((score,),) = compared([WORLD, WORLD.replicate(1)], found).scores.values()

    assert (score.excess_loss, score.runs, score.spent_share) == pytest.approx((0.02, 12, 0.08))
    assert score.standard_error == pytest.approx(0.01)


def test_one_replicate_has_no_standard_error():
    comparison = compared([WORLD], replays([ComparedStrategy(strategy="grid")], [WORLD], SHARES))

    assert comparison.replicates == 1
    assert all(score.standard_error is None for score in comparison.scores[ComparedStrategy(strategy="grid")])


def test_a_comparison_reports_the_bounds_of_its_scores():
    comparison = compared([WORLD], [])

    assert comparison.middle == pytest.approx(
        sum(WORLD.excess_losses(WORLD.answers(None))) / len(WORLD.targets)
    )
    assert comparison.full_grid is not None
    assert comparison.full_grid < comparison.middle


def test_a_world_whose_grid_gives_no_law_reports_none():
    lone = replace(WORLD, cells=Cells((replace(WORLD.cells[0], rates=WORLD.cells[0].rates[:1]),)))

    assert compared([WORLD, lone], []).full_grid is None


def test_the_comparison_is_described_in_sentences():
    text = note(compared([WORLD, WORLD.replicate(1), WORLD.replicate(2)], []), WORLD).replace("\u00a0", " ")

    assert text.startswith("Targets, never run: 3 cells: 8 M parameters")
    assert f"9 cells, {WORLD.runs} runs" in text
    assert text.endswith("3 replays of each strategy, 2 of them without a tenth of the cells and rates.")
    assert note(compared([WORLD], []), WORLD).endswith("1 replay of each strategy.")


def test_default_shares_pay_for_an_opening_of_the_cheapest_cell():
    opening = 4 * WORLD.cells[0].flops / WORLD.flops

    shares = default_shares(WORLD)

    assert shares == (0.02, 0.05, 0.1, 0.2, 0.5)
    assert 0.01 < opening <= shares[0]
