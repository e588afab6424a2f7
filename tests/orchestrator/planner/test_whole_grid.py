"""Strategies ``grid`` and ``random``: everything, in their order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.cells import Cell, Cells, Point
from orchestrator.planner import planner_of
from orchestrator.planner.trunk_groups import groups, rate_flops
from orchestrator.planner.values import PlanRequest, RunHistory, full_grid_flops
from tests.orchestrator.planner.worlds import Sweep, World, proxies

TARGET = Point(params=1e6, tokens=1e6, batch_tokens=256.0)


@pytest.fixture(scope="module")
def world() -> World:
    return proxies(1, rates=9)


def test_the_grid_is_made_whole_once_and_a_trunk_at_a_time(world: World) -> None:
    sweep = Sweep(world=world, planner=planner_of("grid"), request=PlanRequest(target=world.target, seeds=2))
    assert sweep.run() == "The grid is complete: 216 runs in 12 cells."
    assert [len(batch) for batch in sweep.batches] == [54, 54, 54, 54]
    assert all(len({world.cells[run.cell].trunk for run in batch}) == 1 for batch in sweep.batches)


def test_horizons_that_share_a_trunk_cost_what_the_trunk_and_the_branches_cost(world: World) -> None:
    sweep = Sweep(world=world, planner=planner_of("grid"), request=PlanRequest(target=world.target))
    sweep.run()
    # horizons 1:2:4 and a decay of a fifth: (0.8·4 + 0.2·7) / 7
    assert sweep.flops / full_grid_flops(world.cells, 1) == pytest.approx(4.6 / 7)


def test_the_cheapest_group_comes_first_whatever_the_order_of_the_cells(world: World) -> None:
    ordered = groups(world.cells)
    assert [rate_flops(group) for group in ordered] == sorted(rate_flops(group) for group in ordered)
    assert groups(reversed(tuple(world.cells))) == ordered


def test_the_grid_takes_as_many_at_a_time_as_asked(world: World) -> None:
    plan = planner_of("grid").plan(
        RunHistory(cells=world.cells), None, PlanRequest(target=TARGET, runs_per_batch=5)
    )
    assert len(plan.batch) == 5


def test_a_random_order_is_the_seeds_and_covers_the_grid(world: World) -> None:
    def order(seed: int) -> list[tuple[int, float]]:
        sweep = Sweep(
            world=world, planner=planner_of("random"), request=PlanRequest(target=world.target, seed=seed)
        )
        sweep.run()
        return [(run.cell, run.learning_rate) for run in sweep.history.runs]

    assert order(1) == order(1) != order(2)
    assert set(order(1)) == {(cell.number, rate) for cell in world.cells for rate in cell.rates}


def test_a_budget_ends_the_grid_with_a_sentence(world: World) -> None:
    request = PlanRequest(target=world.target, runs_left=20)
    sweep = Sweep(world=world, planner=planner_of("grid"), request=request)
    assert sweep.run() == "The budget of runs is used up."
    assert len(sweep.history.runs) == 20
    flops = 0.1 * full_grid_flops(world.cells, 1)
    poor = Sweep(
        world=world, planner=planner_of("grid"), request=replace(request, runs_left=None, flops_left=flops)
    )
    assert "The budget of FLOPs is used up: the cheapest run left to make costs" in poor.run()
    assert 0.09 * full_grid_flops(world.cells, 1) < poor.flops <= flops


def test_cells_that_share_nothing_are_taken_in_batches(world: World) -> None:
    alone = Cells(replace(cell, trunk=None, decay_fraction=1.0) for cell in world.cells)
    plan = planner_of("grid").plan(RunHistory(cells=alone), None, PlanRequest(target=TARGET))
    assert len(plan.batch) == 18
    assert [run.cell for run in plan.batch] == [0] * 9 + [1] * 9
    assert all(run.flops == alone[run.cell].flops for run in plan.batch)


def test_one_cell_with_one_rate_is_a_grid() -> None:
    cell = Cell(number=0, params=1e4, tokens=1e5, batch_tokens=256.0, rates=(0.01,))
    assert (
        len(planner_of("grid").plan(RunHistory(cells=Cells((cell,))), None, PlanRequest(target=TARGET)).batch)
        == 1
    )
