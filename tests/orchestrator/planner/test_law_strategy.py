"""Strategy ``law`` in worlds of small proxies: what it saves, how near it comes, when it stops."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.cells import Cells, Point
from orchestrator.law.observations import point_array
from orchestrator.planner import planner_of
from orchestrator.planner.opening import tried_rates
from orchestrator.planner.values import (
    KnownRun,
    PlanRequest,
    RunHistory,
    RunOutcome,
    full_grid_flops,
    prior_flops,
)
from tests.known_law import observed
from tests.orchestrator.planner.worlds import Sweep, World, answered, demo, ladder, law_of, proxies

WORLDS = 8


def swept(world: World, **limits: object) -> Sweep:
    """A sweep of a world until it stops."""
    request = replace(PlanRequest(target=world.target, max_parallel=2), **limits)
    sweep = Sweep(world=world, planner=planner_of("law"), request=request)
    sweep.run()
    return sweep


def error(sweep: Sweep, target: Point, truth: float) -> tuple[float, float]:
    """Error of ln η* at a target, and the sd that the law states."""
    law = sweep.law()
    assert law is not None
    place = point_array([target])
    mean, sd = law.optimum(place)
    return float(mean[0] - truth), float(sd[0])


def bracketed(sweep: Sweep) -> int:
    """Cells with at least four rates within e^±1.3 of the true optimum, on both sides of it, the best inside."""
    seen, found = tried_rates(sweep.history), 0
    for cell in sweep.world.cells:
        shown = seen.get(cell.number)
        if shown is None or shown.edge:
            continue
        u = np.log([cell.rates[place] for place in shown.positions]) - sweep.world.optimum[cell.number]
        near = u[np.abs(u) < 1.3]
        found += bool(near.size >= 4 and (near < 0).any() and (near > 0).any())
    return found


@pytest.fixture(scope="module")
def sweeps() -> list[Sweep]:
    return [swept(proxies(seed, rates=9), rates_per_cell=4, interval_factor=1.6) for seed in range(WORLDS)]


def test_three_fifths_of_the_full_grid_are_saved(sweeps: list[Sweep]) -> None:
    saved = [1 - sweep.flops / full_grid_flops(sweep.world.cells, 1) for sweep in sweeps]
    assert np.mean(saved) > 0.62
    assert min(saved) > 0.55


def test_most_cells_show_a_bowl(sweeps: list[Sweep]) -> None:
    counts = [bracketed(sweep) for sweep in sweeps]
    assert np.mean(counts) >= 9
    assert min(counts) >= 6


def test_the_target_is_found_within_what_the_law_states(sweeps: list[Sweep]) -> None:
    errors, sds = np.array(
        [error(sweep, sweep.world.target, sweep.world.target_optimum) for sweep in sweeps]
    ).T
    assert np.abs(errors).mean() < 0.16
    assert (np.abs(errors) < 1.96 * sds).mean() >= 0.85
    assert np.exp(1.96 * sds.max()) <= 1.6 or any("No run left" in str(s.plan.stop) for s in sweeps)


def test_a_few_batches_are_enough(sweeps: list[Sweep]) -> None:
    assert np.mean([len(sweep.batches) for sweep in sweeps]) < 8


DEMO_FACTOR = 1.6


@pytest.fixture(scope="module")
def demos() -> list[Sweep]:
    return [swept(demo(seed), rates_per_cell=4, interval_factor=DEMO_FACTOR) for seed in range(WORLDS)]


def test_the_demo_saves_three_fifths_without_a_budget(demos: list[Sweep]) -> None:
    saved = [1 - sweep.flops / full_grid_flops(sweep.world.cells, 1) for sweep in demos]
    assert np.mean(saved) > 0.64
    assert min(saved) > 0.58


def test_the_demo_answers_within_what_was_asked(demos: list[Sweep]) -> None:
    errors, sds = np.array([error(s, s.world.target, s.world.target_optimum) for s in demos]).T
    reached = np.exp(1.96 * sds) <= DEMO_FACTOR
    assert reached.mean() >= 0.6
    assert all(
        done or any(why in str(s.plan.stop) for why in ("Little is left", "No run left"))
        for s, done in zip(demos, reached, strict=True)
    )
    assert (np.abs(errors) < 1.96 * sds).mean() >= 0.85
    assert np.mean([bracketed(sweep) for sweep in demos]) >= 5


def test_the_demo_leaves_no_worker_idle_for_rates_that_are_not_needed(demos: list[Sweep]) -> None:
    assert np.mean([len(sweep.batches) for sweep in demos]) < 4
    assert max(len(sweep.batches) for sweep in demos) <= 6
    assert np.mean([len(batch) < 4 for sweep in demos for batch in sweep.batches]) < 0.15


def test_a_minimum_surely_inside_is_not_widened() -> None:
    """Round a well-known optimum the best of four rates is the highest: noise between two nearly equal ones."""
    sweep = swept(demo(0), rates_per_cell=4, interval_factor=1.5)
    seen, law = tried_rates(sweep.history), sweep.law()
    assert law is not None
    for cell in sweep.world.cells:
        shown = seen[cell.number]
        mean, sd = error(sweep, cell.point, 0.0)
        low, high = (np.log(cell.rates[shown.positions[end]]) for end in (0, -1))
        inside = low <= mean - 1.96 * sd and mean + 1.96 * sd <= high
        assert (
            inside or not shown.edge or {shown.positions[0], shown.positions[-1]} & {0, len(cell.rates) - 1}
        )


NEAR = Point(params=3e8, tokens=6e9, batch_tokens=65_536.0)
OTHER_BATCH = replace(NEAR, batch_tokens=500 * 65_536.0)


@pytest.mark.parametrize("seed", range(3))
def test_a_ladder_is_climbed_until_the_target_is_known(seed: int) -> None:
    """A few cheap runs of the smallest size narrow the target little; that is no reason to stop there."""
    sweep = swept(ladder(seed, NEAR))
    found, sd = error(sweep, NEAR, sweep.world.target_optimum)
    assert np.exp(1.96 * sd) < 3
    assert abs(found) < 2.5 * sd
    assert sweep.flops < 0.5 * full_grid_flops(sweep.world.cells, 1)
    assert "is out of reach" not in str(sweep.plan.stop)


def test_a_target_that_no_run_can_inform_is_named_and_the_largest_cell_aimed_at() -> None:
    sweep = swept(ladder(0, OTHER_BATCH))
    assert str(sweep.plan.stop).startswith(
        "This target is out of reach of these proxies: with every rate of every cell run, its 95 % interval would "
        "still be ×/÷ 100 or more, and beyond ×/÷ 3 a prediction is refused. It lies outside them 500 times in "
        "batch_tokens, 3 times in params, 3 times in tokens: add proxies nearer to it."
    )
    assert "in the largest cell" in str(sweep.plan.stop)
    assert error(sweep, OTHER_BATCH, 0.0)[1] > np.log(3) / 1.96
    *_, largest = sweep.world.cells
    found, sd = error(sweep, largest.point, sweep.world.optimum[-1])
    assert np.exp(1.96 * sd) < 1.5
    assert abs(found) < 3 * sd


def test_a_target_that_no_run_can_inform_does_not_spoil_another() -> None:
    sweep = swept(ladder(1, NEAR), more_targets=(OTHER_BATCH,))
    stop = str(sweep.plan.stop)
    assert stop.startswith(
        "The target of 300\u00a0M\u00a0parameters, 6\u00a0B\u00a0tokens, 32.8\u00a0M\u00a0tokens a batch is out of reach"
    )
    assert "interval at the target" in stop
    assert np.exp(1.96 * error(sweep, NEAR, 0.0)[1]) < 3


def test_a_far_target_still_gets_every_cell_its_rates() -> None:
    sweep = swept(replace(ladder(2, OTHER_BATCH), cells=ladder(2, NEAR).cells), rates_per_cell=4)
    assert all(len(shown.positions) >= 4 for shown in tried_rates(sweep.history).values())
    assert len(tried_rates(sweep.history)) == len(sweep.world.cells)


def test_runs_from_elsewhere_count_as_spent() -> None:
    """A sweep that begins with a full table of prior runs stops sooner than their share would suggest."""
    world = proxies(7, rates=13)
    first = swept(world)
    law = first.law()
    assert law is not None
    prior = observed(world.cells, [run for run in first.history.runs if run.loss is not None])
    elsewhere = RunHistory(cells=world.cells, prior=prior)
    assert prior_flops(elsewhere) > first.flops
    plan = planner_of("law").plan(elsewhere, law, first.request)
    assert plan.stop is not None
    assert "Little is left to gain" in plan.stop


def test_a_sweep_stops_when_the_interval_is_narrow_enough_and_says_so() -> None:
    sweep = swept(proxies(4, rates=13), interval_factor=2.0)
    assert sweep.plan.stop is not None
    assert sweep.plan.stop.startswith("The 95 % interval at the target is within ×/÷ ")
    assert sweep.plan.stop.endswith(", and ×/÷ 2 was asked for.")
    _, sd = error(sweep, sweep.world.target, 0.0)
    assert np.exp(1.96 * sd) <= 2.0


def test_a_narrow_interval_does_not_stop_a_sweep_whose_cells_lack_rates() -> None:
    world = proxies(4, rates=13)
    without, with_rates = (
        swept(world, interval_factor=3.0),
        swept(world, interval_factor=3.0, rates_per_cell=4),
    )
    assert len(with_rates.history.runs) > len(without.history.runs)
    assert all(len(shown.positions) >= 4 for shown in tried_rates(with_rates.history).values())
    assert len(tried_rates(with_rates.history)) == len(world.cells)


def test_a_sweep_without_a_wish_stops_when_its_cost_would_double_for_little() -> None:
    sweep = swept(proxies(4, rates=13))
    found = re.fullmatch(
        r"Little is left to gain: twice the FLOPs spent so far are expected to narrow the 95 % interval at the "
        r"target from ×/÷ ([0-9.]+) to no less than ×/÷ ([0-9.]+)\.",
        str(sweep.plan.stop),
    )
    assert found is not None, sweep.plan.stop
    now, then = (np.log(float(group)) for group in found.groups())
    assert now > then > 0.9 * now
    assert sweep.flops < 0.5 * full_grid_flops(sweep.world.cells, 1)


def test_an_interval_that_cannot_be_reached_is_pursued_until_nothing_helps() -> None:
    world = proxies(4, rates=13)
    sweep = swept(world, interval_factor=1.01)
    assert "No run left is expected to narrow the 95 % interval at the target, ×/÷ " in str(sweep.plan.stop)
    assert sweep.flops > swept(world).flops
    assert sweep.flops < 0.5 * full_grid_flops(world.cells, 1)


def test_a_budget_is_never_passed_and_ends_the_sweep() -> None:
    world = proxies(6, rates=13)
    flops = 0.05 * full_grid_flops(world.cells, 1)
    sweep = swept(world, flops_left=flops)
    assert 0.5 * flops < sweep.flops <= flops
    assert "The budget of FLOPs is used up" in str(sweep.plan.stop)
    short = swept(world, runs_left=17)
    assert len(short.history.runs) == 17
    assert short.plan.stop == "The budget of runs is used up."


def test_a_small_grid_is_run_to_its_end() -> None:
    world = proxies(6, rates=3, sizes=(9216.0, 24576.0), steps=(512, 1024))
    sweep = swept(world, interval_factor=1.001, rates_per_cell=3)
    assert len(sweep.history.runs) == 12
    assert sweep.plan.stop is not None


def test_the_next_batch_does_not_ask_twice_for_one_thing() -> None:
    """Open runs count as part of a batch: with the first half open, the plan is the second half."""
    world = proxies(8, rates=13)
    start = Sweep(world=world, planner=planner_of("law"), request=PlanRequest(target=world.target))
    start.step()
    law, request = start.law(), PlanRequest(target=world.target, runs_per_batch=6)
    whole = start.planner.plan(start.history, law, request).batch
    half = tuple(
        KnownRun(cell=run.cell, learning_rate=run.learning_rate, seed=run.seed, outcome=RunOutcome.OPEN)
        for run in whole[:2]
    )
    rest = start.planner.plan(replace(start.history, runs=start.history.runs + half), law, request).batch
    assert [(run.cell, run.learning_rate) for run in rest] == [
        (run.cell, run.learning_rate) for run in whole[2:]
    ]


def test_open_runs_that_are_expected_to_be_enough_are_waited_for() -> None:
    world = proxies(8, rates=13)
    start = Sweep(world=world, planner=planner_of("law"), request=PlanRequest(target=world.target))
    for _ in range(3):
        start.step()
    law = start.law()
    assert law is not None
    _, sd = law.optimum(point_array([world.target]))
    request = PlanRequest(
        target=world.target, runs_per_batch=7, interval_factor=float(np.exp(0.98 * 1.96 * sd[0]))
    )
    whole = start.planner.plan(start.history, law, request).batch
    assert len(whole) == 7
    waiting = tuple(
        KnownRun(cell=run.cell, learning_rate=run.learning_rate, seed=run.seed, outcome=RunOutcome.OPEN)
        for run in whole[:6]
    )
    history = replace(start.history, runs=start.history.runs + waiting)
    plan = start.planner.plan(history, law, request)
    assert (plan.batch, plan.stop) == ((), None)


def test_a_shared_trunk_makes_more_horizons_of_one_rate_worth_their_cost() -> None:
    """At equal FLOPs a sweep that shares trunks makes more runs than one that does not."""
    world = proxies(9, rates=13)
    flops = 0.08 * full_grid_flops(world.cells, 1)
    alone = replace(world, cells=Cells(replace(cell, trunk=None, decay_fraction=1.0) for cell in world.cells))
    shared, separate = swept(world, flops_left=flops), swept(alone, flops_left=flops)
    assert len(shared.history.runs) > len(separate.history.runs)


def test_rates_that_diverge_do_not_end_the_search() -> None:
    world = replace(proxies(11, rates=13), diverges=0.8)
    sweep = swept(world, rates_per_cell=4, interval_factor=1.7)
    assert any(run.outcome is RunOutcome.DIVERGED for run in sweep.history.runs)
    found, sd = error(sweep, world.target, world.target_optimum)
    assert abs(found) < 3 * sd


def test_an_exponent_far_from_the_prior_is_found() -> None:
    """The optimum rises with the horizon and falls steeply with size: wrong priors cost runs, not the answer."""
    world = proxies(12, rates=15, exponents=(-0.8, 0.25))
    sweep = swept(world, rates_per_cell=4, interval_factor=1.6)
    found, sd = error(sweep, world.target, world.target_optimum)
    assert abs(found) < max(0.35, 2.5 * sd)


def test_seeds_are_used_when_new_rates_are_not() -> None:
    world = proxies(13, rates=4, sizes=(9216.0, 24576.0), steps=(512, 1024))
    *_, largest = world.cells
    sweep = swept(replace(world, target=largest.point), seeds=3, interval_factor=1.01)
    assert {run.seed for run in sweep.history.runs} != {0}


def test_several_targets_share_the_plan() -> None:
    world = proxies(14, rates=13)
    far = Point(params=3 * world.target.params, tokens=world.target.tokens, batch_tokens=256.0)
    sweep = swept(world, interval_factor=2.2, more_targets=(far,))
    assert np.exp(1.96 * error(sweep, far, 0.0)[1]) <= 2.2 or "No run left" in str(sweep.plan.stop)


def test_runs_from_elsewhere_spare_the_opening() -> None:
    world = proxies(15, rates=13)
    first = Sweep(world=world, planner=planner_of("law"), request=PlanRequest(target=world.target))
    first.run()
    law = first.law()
    assert law is not None
    plan = first.planner.plan(
        RunHistory(cells=world.cells), law, PlanRequest(target=world.target, runs_per_batch=6)
    )
    assert all("narrow" in run.reason for run in plan.batch)
    assert law_of(replace(first.history, runs=answered(world, plan.batch) + first.history.runs)) is not None
