"""Strategies ``tpe`` and ``gp``: Optuna's samplers on the same footing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from orchestrator.errors import Refused
from orchestrator.planner import planner_of
from orchestrator.planner.values import PlanRequest
from tests.orchestrator.planner.worlds import Sweep, World, proxies


@pytest.fixture(scope="module")
def world() -> World:
    return proxies(21, rates=11, sizes=(9216.0, 24576.0), steps=(512,))


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_every_cell_gets_its_trials_and_the_later_ones_are_better(sampler: str, world: World) -> None:
    sweep = Sweep(world=world, planner=planner_of(sampler), request=PlanRequest(target=world.target))
    assert sweep.run() == "Every cell has its trials: 12 runs in 2 cells."
    for cell in world.cells:
        rates = [run.learning_rate for run in sweep.history.runs if run.cell == cell.number]
        off = np.abs(np.log(rates) - world.optimum[cell.number])
        assert len(set(rates)) == 6
        assert off.min() < 0.6
        assert off[3:].mean() < 1.5


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_study_is_rebuilt_from_the_record(sampler: str, world: World) -> None:
    request = PlanRequest(target=world.target, rates_per_cell=5)
    one = Sweep(world=world, planner=planner_of(sampler), request=request)
    other = Sweep(world=world, planner=planner_of(sampler), request=request)
    one.run()
    while other.step().stop is None:
        other.planner = planner_of(sampler)  # restarted after every batch
    assert one.batches == other.batches


def test_gp_says_what_it_needs_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Refused, match="The strategy gp needs optuna and torch; torch is not installed here"):
        planner_of("gp")
    planner_of("tpe")
