"""Rates that the law rules out: never the valley, always with the numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from orchestrator.planner import planner_of
from orchestrator.planner.values import PlanRequest
from tests.orchestrator.planner.worlds import Sweep, World, proxies

WORLDS = 10


def best_rates(world: World) -> set[tuple[int, float]]:
    """The lattice's best rate of every cell, as the truth has it."""
    return {
        (cell.number, min(cell.rates, key=lambda rate: abs(np.log(rate) - world.optimum[cell.number])))
        for cell in world.cells
    }


def test_the_best_rate_of_a_cell_is_not_ruled_out_by_any_law_of_a_sweep() -> None:
    """In at least 97 % of the cells of random worlds, over all laws of their sweeps."""
    lost = cells = 0
    for seed in range(WORLDS):
        world = proxies(100 + seed, rates=13)
        request = PlanRequest(target=world.target, interval_factor=2.0, max_parallel=2)
        sweep = Sweep(world=world, planner=planner_of("law"), request=request)
        ruled_out: set[tuple[int, float]] = set()
        while sweep.step().stop is None:
            ruled_out |= {(rate.cell, rate.learning_rate) for rate in sweep.plan.pruned}
        best = best_rates(world)
        lost += len(best & ruled_out)
        cells += len(best)
    assert lost <= 0.03 * cells


@pytest.fixture(scope="module")
def ended() -> Sweep:
    world = proxies(7, rates=13)
    request = PlanRequest(target=world.target, interval_factor=1.6, rates_per_cell=4, max_parallel=2)
    sweep = Sweep(world=world, planner=planner_of("law"), request=request)
    sweep.run()
    return sweep


def test_a_third_of_the_grid_is_ruled_out_by_the_end(ended: Sweep) -> None:
    lattice = sum(len(cell.rates) for cell in ended.world.cells)
    assert len(ended.plan.pruned) > lattice / 3


def test_the_reason_states_the_optimum_its_interval_and_the_rate(ended: Sweep) -> None:
    number = r"[0-9.e+-]+"
    sentence = re.compile(
        rf"The law of \d+ runs puts the optimum of this cell at ({number}) \(({number}) … ({number})\); "
        rf"({number}) lies outside its valley\."
    )
    for dropped in ended.plan.pruned:
        found = sentence.fullmatch(dropped.reason)
        assert found is not None, dropped.reason
        middle, low, high, rate = (float(group) for group in found.groups())
        assert low <= middle <= high
        assert rate == pytest.approx(dropped.learning_rate, rel=1e-2)
        assert not low < rate < high


def test_a_rate_that_was_ruled_out_may_come_back() -> None:
    """A later law that is surer of another optimum asks for what an earlier one had dropped."""
    returned = 0
    for seed in range(6):
        world = proxies(seed, rates=13)
        sweep = Sweep(
            world=world, planner=planner_of("law"), request=PlanRequest(target=world.target, rates_per_cell=4)
        )
        dropped: set[tuple[int, float]] = set()
        while sweep.step().stop is None:
            asked = {(run.cell, run.learning_rate) for run in sweep.plan.batch}
            returned += len(asked & dropped)
            dropped |= {(rate.cell, rate.learning_rate) for rate in sweep.plan.pruned}
        # what is dropped at the end is a function of the last law alone
        assert sweep.plan.pruned == sweep.planner.plan(sweep.history, sweep.law(), sweep.request).pruned
    assert returned > 0


def test_without_a_law_nothing_is_ruled_out() -> None:
    world = proxies(2, rates=13)
    sweep = Sweep(world=world, planner=planner_of("law"), request=PlanRequest(target=world.target))
    assert sweep.step().pruned == ()
