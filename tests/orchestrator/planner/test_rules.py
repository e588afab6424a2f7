"""The rules of every strategy, whatever the grid, the history and the budget."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.cells import Cell, Cells, Point
from orchestrator.errors import BadInput
from orchestrator.planner import STRATEGIES, planner_of
from orchestrator.planner.values import BatchPlan, KnownRun, PlanRequest, RunHistory, RunOutcome, trunk_tokens
from tests.orchestrator.planner.worlds import law_of

CHEAP = ("law", "grid", "random", "tpe")


@st.composite
def cells(draw: st.DrawFn) -> Cells:
    """Up to nine cells: lattices of any length, with and without trunks."""
    sizes = draw(st.lists(st.sampled_from([1e4, 3e4, 1e5, 1e6]), min_size=1, max_size=3, unique=True))
    horizons = draw(st.lists(st.sampled_from([1e5, 2e5, 4e5]), min_size=1, max_size=3, unique=True))
    shared = draw(st.booleans())
    found = []
    for params in sizes:
        for tokens in horizons:
            count, low = draw(st.integers(1, 12)), draw(st.floats(-9, -4))
            rates = tuple(float(f"{rate:.6g}") for rate in np.exp(low + 0.35 * np.arange(count)))
            found.append(
                Cell(
                    number=len(found),
                    params=params,
                    tokens=tokens,
                    batch_tokens=256.0,
                    rates=rates,
                    trunk=f"n{params:g}" if shared else None,
                    decay_fraction=0.2 if shared else 1.0,
                )
            )
    return Cells(found)


@st.composite
def records(draw: st.DrawFn) -> RunHistory:
    """A grid with some of its runs asked for, in any state."""
    grid = draw(cells())
    places = [(cell, rate) for cell in grid for rate in cell.rates]
    chosen = draw(st.lists(st.sampled_from(places), max_size=25, unique=True))
    runs = []
    for cell, rate in chosen:
        outcome = draw(st.sampled_from([*[RunOutcome.COMPLETED] * 6, *RunOutcome]))
        u = np.log(rate) + 6.0 + 0.4 * np.log(cell.params / 1e4)
        loss = 2.0 * float(np.exp(0.02 * u**2)) if outcome is RunOutcome.COMPLETED else None
        runs.append(KnownRun(cell=cell.number, learning_rate=rate, seed=0, outcome=outcome, loss=loss))
    return RunHistory(cells=grid, runs=tuple(runs))


requests = st.builds(
    PlanRequest,
    target=st.just(Point(params=4e6, tokens=1e6, batch_tokens=256.0)),
    seeds=st.integers(1, 2),
    runs_left=st.none() | st.integers(0, 30),
    flops_left=st.none() | st.floats(0, 1e13),
    interval_factor=st.none() | st.just(1.5),
    runs_per_batch=st.none() | st.integers(1, 12),
    rates_per_cell=st.integers(0, 5),
    max_parallel=st.integers(1, 8),
    seed=st.integers(0, 3),
)


def planned(strategy: str, history: RunHistory, request: PlanRequest) -> BatchPlan:
    return planner_of(strategy).plan(history, law_of(history), request)


def cost(history: RunHistory, plan: BatchPlan) -> float:
    """FLOPs of a batch, made in the order that the planner gives."""
    reach, total = dict(trunk_tokens(history)), 0.0
    for run in plan.batch:
        cell = history.cells[run.cell]
        key = (cell.trunk or "", run.learning_rate, run.seed)
        flops = cell.marginal_flops(reach.get(key, 0.0)) if cell.trunk else cell.flops
        assert run.flops == pytest.approx(flops)
        total += flops
        reach[key] = max(reach.get(key, 0.0), cell.fork_tokens)
    return total


@pytest.mark.parametrize("strategy", CHEAP)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=records(), request=requests)
def test_a_plan_keeps_to_lattice_record_budget_and_batch(
    strategy: str, history: RunHistory, request: PlanRequest
) -> None:
    plan = planned(strategy, history, request)
    asked = {(run.cell, run.learning_rate, run.seed) for run in history.runs}
    proposed = [(run.cell, run.learning_rate, run.seed) for run in plan.batch]
    assert len(set(proposed)) == len(proposed)
    assert not asked & set(proposed)
    assert all(run.learning_rate in history.cells[run.cell].rates for run in plan.batch)
    assert all(0 <= run.seed < request.seeds and run.reason for run in plan.batch)
    waiting = sum(run.outcome is RunOutcome.OPEN for run in history.runs)
    if request.runs_left is not None:
        assert len(proposed) <= request.runs_left
    if request.flops_left is not None:
        assert cost(history, plan) <= request.flops_left * (1 + 1e-6)
    if request.runs_per_batch is not None:
        assert len(proposed) <= max(0, request.runs_per_batch - waiting)
    assert not (plan.stop and (plan.batch or waiting)), "a stop with something left to wait for"
    assert plan.stop or plan.batch or waiting, "neither a batch nor a reason to stop"


@pytest.mark.parametrize("strategy", CHEAP)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=records(), request=requests, shuffle=st.integers(0, 1000))
def test_a_plan_depends_on_what_is_recorded_and_not_on_its_order(
    strategy: str, history: RunHistory, request: PlanRequest, shuffle: int
) -> None:
    runs = list(history.runs)
    random.Random(shuffle).shuffle(runs)
    again = replace(history, runs=tuple(runs))
    assert planned(strategy, again, request) == planned(strategy, history, request)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=records(), request=requests)
def test_what_is_ruled_out_was_neither_asked_for_nor_is_about_to_be(
    history: RunHistory, request: PlanRequest
) -> None:
    plan = planned("law", history, request)
    kept = {(run.cell, run.learning_rate) for run in (*history.runs, *plan.batch)}
    dropped = [(rate.cell, rate.learning_rate) for rate in plan.pruned]
    assert len(set(dropped)) == len(dropped)
    assert not kept & set(dropped)
    assert all(rate.learning_rate in history.cells[rate.cell].rates for rate in plan.pruned)


def test_every_strategy_of_the_contract_exists() -> None:
    assert set(STRATEGIES) == {"law", "grid", "random", "tpe", "gp"}
    with pytest.raises(BadInput, match="no strategy 'annealing'.*law, grid, random, tpe, gp"):
        planner_of("annealing")
