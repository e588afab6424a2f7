"""The initial design: spaced rates in the cheapest cells, widened at an edge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cells import Cells
from orchestrator.planner import planner_of
from orchestrator.planner.opening import spaced, tried_rates
from orchestrator.planner.values import BatchPlan, KnownRun, PlanRequest, RunHistory, RunOutcome
from tests.orchestrator.planner.worlds import World, proxies


@pytest.fixture(scope="module")
def world() -> World:
    return proxies(3, rates=13)


def opened(world: World, losses: dict[float, float | None], cells: Cells | None = None) -> BatchPlan:
    """The plan without a law after runs in the first cell; None is a run that diverged."""
    runs = tuple(
        KnownRun(
            cell=0,
            learning_rate=rate,
            seed=0,
            outcome=RunOutcome.DIVERGED if loss is None else RunOutcome.COMPLETED,
            loss=loss,
        )
        for rate, loss in losses.items()
    )
    grid = cells or Cells(replace(cell, trunk=None, decay_fraction=1.0) for cell in world.cells)
    return planned(world, grid, runs)


def planned(
    world: World, cells: Cells | None = None, runs: tuple[KnownRun, ...] = (), **limits: object
) -> BatchPlan:
    """The plan without a law, by default in the world's own cells."""
    request = replace(PlanRequest(target=world.target), **limits)
    return planner_of("law").plan(RunHistory(cells=cells or world.cells, runs=runs), None, request)


def places(plan: BatchPlan, world: World) -> list[int]:
    return sorted(world.cells[run.cell].rates.index(run.learning_rate) for run in plan.batch if run.cell == 0)


def losses(world: World, shown: dict[int, float | None]) -> dict[float, float | None]:
    return {world.cells[0].rates[place]: loss for place, loss in shown.items()}


@given(lattice=st.integers(1, 200))
def test_spaced_rates_are_different_and_leave_both_ends_alike(lattice: int) -> None:
    found = spaced(lattice)
    assert len(set(found)) == len(found) == min(4, lattice)
    assert 0 <= found[0] <= found[-1] < lattice
    assert abs(found[0] - (lattice - 1 - found[-1])) <= 1


def test_a_sweep_opens_with_four_spaced_rates_at_every_horizon_of_the_cheapest_trunk(world: World) -> None:
    plan = planned(world)
    assert {run.cell for run in plan.batch} == {0, 1, 2}
    assert len(plan.batch) == 12
    assert len({run.learning_rate for run in plan.batch}) == 4


def test_where_nothing_is_shared_only_the_cheapest_cell_opens(world: World) -> None:
    plan = opened(world, {})
    assert [run.cell for run in plan.batch] == [0] * 4


def test_idle_workers_open_further_cells(world: World) -> None:
    alone = Cells(replace(cell, trunk=None) for cell in world.cells)
    plan = planned(world, alone, max_parallel=10)
    assert len(plan.batch) >= 10
    assert {run.cell for run in plan.batch} == {0, 1, 3}, "the second size's first horizon is cheaper"


@pytest.mark.parametrize(
    ("shown", "next_places"),
    [
        ({1: 2.0, 4: 2.1, 7: 2.2, 11: 2.5}, [0]),  # lowest is best: down, as far as the lattice goes
        ({4: 2.0, 5: 2.1, 7: 2.2, 11: 2.5}, [3]),  # by the step between the two outermost
        ({1: 2.5, 4: 2.2, 7: 2.1, 10: 2.0}, [12]),
        ({1: 2.2, 4: 2.0, 8: 2.1, 11: 2.5}, [3, 5]),  # interior: its neighbours
        ({1: 2.2, 4: None, 8: None, 11: None}, [0]),  # the best may be lower still
        ({1: None, 4: None, 8: None, 11: None}, [0]),
    ],
)
def test_an_edge_is_widened_until_the_best_is_interior(
    world: World, shown: dict[int, float | None], next_places: list[int]
) -> None:
    assert places(opened(world, losses(world, shown)), world) == next_places


def test_a_cell_at_the_end_of_its_lattice_gives_way_to_the_next(world: World) -> None:
    shown = {0: 2.0, 1: 2.01, 4: 2.1, 8: 2.2, 11: 2.5}
    plan = opened(world, losses(world, shown))
    assert {run.cell for run in plan.batch} == {1}


def test_open_runs_are_waited_for(world: World) -> None:
    first = planned(world)
    waiting = tuple(
        KnownRun(cell=run.cell, learning_rate=run.learning_rate, seed=run.seed, outcome=RunOutcome.OPEN)
        for run in first.batch
    )
    plan = planned(world, runs=waiting)
    assert plan == BatchPlan()


def test_a_machine_that_fails_does_not_hold_up_the_opening(world: World) -> None:
    alone = Cells(replace(cell, trunk=None) for cell in world.cells)
    failed = tuple(
        KnownRun(cell=0, learning_rate=rate, seed=0, outcome=RunOutcome.FAILED) for rate in alone[0].rates
    )
    plan = planned(world, alone, failed)
    assert {run.cell for run in plan.batch} == {1}


def test_two_rates_a_cell_are_refused_before_anything_is_run(world: World) -> None:
    short = Cells(replace(cell, rates=cell.rates[:2]) for cell in world.cells)
    plan = planned(world, short)
    assert not plan.batch
    assert plan.stop is not None
    assert "no cell has 3 learning rates" in plan.stop
    assert "Add learning rates." in plan.stop


def test_cells_that_could_show_a_minimum_open_first(world: World) -> None:
    mixed = Cells(replace(cell, rates=cell.rates[: 2 if cell.number < 3 else 13]) for cell in world.cells)
    plan = planned(world, mixed)
    assert {run.cell for run in plan.batch} == {3, 4, 5}


def test_the_best_rate_is_that_of_the_best_mean_of_its_repeats(world: World) -> None:
    """One lucky repeat at the lowest rate does not make it the best."""
    rates = world.cells[0].rates
    shown = {(1, 0): 1.9, (1, 1): 2.5, (4, 0): 2.0, (4, 1): 2.0, (8, 0): 2.1}
    runs = tuple(
        KnownRun(cell=0, learning_rate=rates[place], seed=seed, outcome=RunOutcome.COMPLETED, loss=loss)
        for (place, seed), loss in shown.items()
    )
    found = tried_rates(RunHistory(cells=world.cells, runs=runs))[0]
    assert (found.best, found.edge) == (4, 0)


def test_a_grid_without_any_law_ends_with_a_reason(world: World) -> None:
    runs = tuple(
        KnownRun(
            cell=cell.number,
            learning_rate=rate,
            seed=0,
            outcome=RunOutcome.COMPLETED,
            loss=float(2.0 + np.log(rate / cell.rates[0])),
        )
        for cell in world.cells
        for rate in cell.rates
    )
    plan = planned(world, runs=runs)
    assert plan.stop is not None
    assert "none shows a minimum inside its lattice. Widen the learning rates." in plan.stop
