"""The specification's recipe is trained: mixtures of experts, parametrizations, optimizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.cells import Cell, Cells
from orchestrator.errors import BadInput
from orchestrator.spec import Base, Grid, ProxyTrainer
from orchestrator.states import RunState, SweepState
from tests.workers.training import alone, carried_out
from trainer import BaseScale, Experts, Parametrization, Shape
from workers.proxy import ProxySetup
from workers.proxy_jobs import Branch, ProxyJob, ProxyMember
from workers.proxy_runner import ProxyRunner
from workers.runner import RunResult

MOE = {"kind": "moe", "experts": 4, "top_k": 2, "shared_experts": 1}
RATE, BATCH, HORIZON = 0.004, 128, 8_192
GRID = Grid.model_validate(
    {
        "scales": [{"width": 16, "depth": 1}, {"width": 32, "depth": 2, "experts": 8}],
        "tokens": [HORIZON, 2 * HORIZON],
        "batch_tokens": [BATCH],
        "learning_rates": [RATE],
    }
)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def trainer_of(**recipe: Any) -> ProxyTrainer:
    return ProxyTrainer.model_validate({"kind": "proxy", "schedule": {"warmup_tokens": 1_024}} | recipe)


def setup_of(folder: Path, trainer: ProxyTrainer, cells: Cells, grid: Grid) -> ProxySetup:
    return ProxySetup(
        trainer=trainer,
        corpus=None,
        scales=trainer.trunk_scales(grid),
        cells={str(cell.trunk): cell for cell in cells},
        checkpoints=folder,
        sweep_id="sweep",
        device="cpu",
        threads=1,
        base=trainer.base(grid),
    )


def result_of(folder: Path, cell: Cell, trainer: ProxyTrainer, grid: Grid) -> RunResult:
    """The one run of a cell."""
    runner = ProxyRunner(setup_of(folder, trainer, trainer.cells(grid), grid))
    member = ProxyMember(
        learning_rate=RATE, trunk_id="trunk", branches=(Branch(run_id="run", tokens=int(cell.tokens)),)
    )
    job = ProxyJob(trunk=str(cell.trunk), seed=0, start_tokens=0, members=(member,), flops=1.0)
    (result,) = carried_out(runner, job).results
    return result


def test_a_mixture_trains_as_it_was_specified_and_costs_its_active_parameters(tmp_path: Path) -> None:
    trainer = trainer_of(architecture=MOE | {"balance": "loss", "balance_rate": 0.02})
    (cell,) = (cell for cell in trainer.cells(GRID) if "w32" in str(cell.trunk) and cell.tokens == HORIZON)
    experts = Experts(count=8, top_k=2, width=40, shared=1, balance="loss", balance_rate=0.02)
    (loss,) = alone(Shape(width=32, depth=2, experts=experts), HORIZON, rates=(RATE,))
    found = result_of(tmp_path, cell, trainer, GRID)

    assert (found.state, found.loss) == (RunState.COMPLETED, loss)
    assert found.flops == pytest.approx(6 * cell.params_active * cell.tokens)


def test_a_rate_in_units_of_the_base_is_carried_over_by_the_rules(tmp_path: Path) -> None:
    trainer = trainer_of(
        architecture=MOE,
        parametrization={"kind": "mup", "rules": ["depth", "horizon"], "horizon_exponent": -0.3},
    )
    grid = GRID.model_copy(
        update={"scales": (GRID.scales[0], GRID.scales[1].model_copy(update={"expert_width": 32}))}
    )
    *_, cell = trainer.cells(grid)
    base = BaseScale(width=16, depth=1, head_width=16, expert_width=32, batch_tokens=BATCH, tokens=HORIZON)
    (loss,) = alone(
        Shape(width=32, depth=2, experts=Experts(count=8, top_k=2, width=32, shared=1)),
        2 * HORIZON,
        rates=(RATE,),
        tokens=2 * HORIZON,
        parametrization=Parametrization(
            base=base, rules=frozenset({"depth", "horizon"}), horizon_exponent=-0.3
        ),
    )

    assert result_of(tmp_path, cell, trainer, grid).loss == loss


def test_muon_moves_the_matrices_where_it_is_asked_for(tmp_path: Path) -> None:
    trainer = trainer_of(optimizer={"kind": "muon", "momentum": 0.9})
    grid = GRID.model_copy(update={"scales": GRID.scales[:1]})
    (loss,) = alone(Shape(width=16, depth=1), HORIZON, rates=(RATE,), optimizer="muon", momentum=0.9)

    assert result_of(tmp_path, trainer.cells(grid)[0], trainer, grid).loss == loss


def test_a_mixture_planned_with_other_parameters_is_refused(tmp_path: Path) -> None:
    trainer, other = (
        trainer_of(architecture=MOE),
        trainer_of(architecture=MOE | {"shared_experts": 0, "expert_width": 40}),
    )
    cells = [(planned, cell) for planned, cell in zip(other.cells(GRID), trainer.cells(GRID), strict=True)]
    setup = setup_of(tmp_path, trainer, (), GRID)
    swapped = {str(cell.trunk): planned for planned, cell in cells}
    with pytest.raises(BadInput, match="run different versions"):
        ProxyRunner(
            ProxySetup(
                **{name: getattr(setup, name) for name in setup.__dataclass_fields__} | {"cells": swapped}
            )
        )


def test_the_base_reaches_the_workers_complete() -> None:
    assert trainer_of(architecture=MOE | {"expert_width": 40}, parametrization="mup").base(GRID) == Base(
        width=16, depth=1, head_width=16, expert_width=40, batch_tokens=BATCH, tokens=HORIZON
    )


@pytest.mark.ray
def test_a_sweep_of_mixtures_whose_horizons_share_nothing_trains_from_end_to_end(
    stage: Any, ray_address: str
) -> None:
    recipe = {
        "architecture": {"kind": "moe", "experts": 4, "top_k": 2},
        "parametrization": {"kind": "mup", "rules": ["weight_decay", "horizon"]},
    }
    sweep_id = stage.proxy(rates=(RATE,), recipe=recipe)
    stage.ask(sweep_id)
    driver = stage.drive(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.ended(sweep_id, driver)

    assert stage.states(sweep_id) == {RunState.COMPLETED}
    spent = sum(run.flops for run in stage.runs(sweep_id))
    assert spent == pytest.approx(sum(cell.flops for cell in stage.store.sweeps.cells(sweep_id)), rel=0.01)
    stage.store.sweeps.move(sweep_id, SweepState.COMPLETED)
    assert driver.wait(timeout=30) == 0
