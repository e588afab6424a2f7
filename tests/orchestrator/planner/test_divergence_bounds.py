"""Diverged rates are not asked for again, nor built on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.cells import Cell, Cells
from orchestrator.law.observations import point_array
from orchestrator.planner import planner_of
from orchestrator.planner.divergence_bounds import DivergenceBounds
from orchestrator.planner.values import (
    KnownRun,
    PlanRequest,
    RunHistory,
    RunOutcome,
    asked_flops,
    trunk_tokens,
)
from tests.orchestrator.planner.worlds import Sweep, proxies

CELLS = Cells(
    Cell(
        number=number,
        params=1e4,
        tokens=tokens,
        batch_tokens=256.0,
        rates=(1e-3, 2e-3, 4e-3, 8e-3),
        trunk="one",
        decay_fraction=0.2,
    )
    for number, tokens in enumerate((1e5, 2e5, 4e5))
)


def run(cell: int, rate: float, outcome: RunOutcome, seed: int = 0) -> KnownRun:
    loss = 2.0 if outcome is RunOutcome.COMPLETED else None
    return KnownRun(cell=cell, learning_rate=rate, seed=seed, outcome=outcome, loss=loss)


def foretold(*runs: KnownRun) -> set[tuple[int, float, int]]:
    """All (cell, η, seed) that are expected to diverge."""
    diverged = DivergenceBounds(RunHistory(cells=CELLS, runs=runs))
    return {
        (cell.number, rate, seed)
        for cell in CELLS
        for rate in cell.rates
        for seed in (0, 1)
        if diverged.expects_divergence(cell, rate, seed)
    }


def test_rates_above_one_that_diverged_diverge_too_in_that_cell_and_on_its_own_trunk() -> None:
    found = foretold(run(1, 4e-3, RunOutcome.DIVERGED))
    own = {(1, rate, seed) for rate in (4e-3, 8e-3) for seed in (0, 1)}
    assert found == own | {(2, 4e-3, 0)}, (
        "the longer horizon of the same rate and seed repeats it; other seeds may not"
    )


def test_a_higher_rate_that_completed_makes_it_a_stray() -> None:
    found = foretold(run(1, 4e-3, RunOutcome.DIVERGED), run(1, 8e-3, RunOutcome.COMPLETED))
    assert found == {(1, 4e-3, 0), (2, 4e-3, 0)}, "only the trunk that diverged is lost"


def test_a_longer_horizon_that_diverged_says_nothing_of_a_shorter() -> None:
    assert all(cell == 2 for cell, _, _ in foretold(run(2, 1e-3, RunOutcome.DIVERGED)))


def test_a_machine_that_failed_says_nothing() -> None:
    assert not foretold(run(0, 1e-3, RunOutcome.FAILED))


def test_a_run_that_diverged_leaves_no_trunk_but_was_paid_for() -> None:
    history = RunHistory(cells=CELLS, runs=(run(1, 4e-3, RunOutcome.DIVERGED),))
    assert trunk_tokens(history) == {}
    assert asked_flops(history) == pytest.approx(CELLS[1].flops)


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_sweep_asks_for_nothing_that_must_diverge(seeds: int) -> None:
    world = replace(proxies(11, rates=13), diverges=0.5)
    request = PlanRequest(
        target=world.target, rates_per_cell=4, interval_factor=1.7, seeds=seeds, max_parallel=2
    )
    sweep = Sweep(world=world, planner=planner_of("law"), request=request)
    foreseen = 0
    while True:
        known = DivergenceBounds(sweep.history)
        foreseen += bool({run.outcome for run in sweep.history.runs} & {RunOutcome.DIVERGED})
        plan = sweep.step()
        assert not [
            run
            for run in plan.batch
            if known.expects_divergence(world.cells[run.cell], run.learning_rate, run.seed)
        ]
        if plan.stop is not None:
            break
    assert foreseen > 0
    law = sweep.law()
    assert law is not None
    place = point_array([world.target])
    assert abs(float(law.optimum(place)[0][0]) - world.target_optimum) < 0.5
