"""Drivers of sweeps that grow: one takes further horizons up, and hands over when its workers do not know a size."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from orchestrator.settings import Settings
from orchestrator.states import RunState, SweepState
from orchestrator.submission.revision import revise
from tests.workers.training import alone
from trainer import Schedule, Shape

pytestmark = pytest.mark.ray

RATES = (0.002, 0.004, 0.008)
SCHEDULE = Schedule(warmup_tokens=2_048, decay_fraction=0.2, shape="linear")


def grow(stage: Any, sweep_id: str, grid: dict[str, Any]) -> None:
    """Patch the grid, and ask for everything in it."""
    revise(stage.store.sweeps.get(sweep_id), {"grid": grid}, stage.store, Settings())
    stage.ask_all(sweep_id)


def losses_at(stage: Any, sweep_id: str, tokens: int) -> list[float | None]:
    cells = stage.store.sweeps.cells(sweep_id)
    return [
        run.loss
        for run in sorted(stage.runs(sweep_id), key=lambda run: run.learning_rate)
        if cells[run.cell].tokens == tokens and cells[run.cell].number < 3
    ]


def test_a_grown_sweep_is_carried_on_and_nothing_is_run_twice(stage, ray_address):
    stage.lead()
    sweep_id = stage.proxy(rates=RATES)
    stage.ask_all(sweep_id)
    driver = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.ended(sweep_id, driver)
    before = stage.losses(sweep_id)

    grow(stage, sweep_id, {"tokens": [16_384, 32_768, 65_536]})
    stage.ended(sweep_id, driver)
    assert driver.poll() is None, "the same driver trains the further horizon"
    torch.set_num_threads(1)
    truth = alone(Shape(width=16, depth=1), 65_536, rates=RATES, schedule=SCHEDULE)
    assert losses_at(stage, sweep_id, 65_536) == truth
    longer = [run for run in stage.runs(sweep_id) if run.cell == 2]
    cell = stage.store.sweeps.cells(sweep_id)[2]
    assert all(run.flops < 0.8 * cell.flops for run in longer), "their trunks go on from where they were"

    grow(stage, sweep_id, {"scales": [{"width": 16, "depth": 1}, {"width": 32, "depth": 1}]})
    assert driver.wait(timeout=60) == 0
    second = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.ended(sweep_id, second)
    after = stage.losses(sweep_id)
    assert len(after) == 18
    assert before.items() <= after.items()
    assert {run.state for run in stage.runs(sweep_id)} == {RunState.COMPLETED}
    assert {run.attempt for run in stage.runs(sweep_id)} == {1}
    stage.store.sweeps.move(sweep_id, SweepState.COMPLETED)
    assert second.wait(timeout=60) == 0
