"""The specification's recipe is trained: mixtures of experts, parametrizations, optimizers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cells import Cell
from orchestrator.errors import BadInput
from orchestrator.spec import Base, Grid, ProxyTrainer
from orchestrator.states import RunState
from tests.workers.training import alone, carried_out, setup_of
from trainer import BaseScale, Experts, Parametrization, Shape
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


def trainer_of(**recipe: Any) -> ProxyTrainer:
    return ProxyTrainer.model_validate({"kind": "proxy", "schedule": {"warmup_tokens": 1_024}} | recipe)


def result_of(folder: Path, cell: Cell, trainer: ProxyTrainer, grid: Grid) -> RunResult:
    """The one run of a cell."""
    runner = ProxyRunner(setup_of(trainer, grid, folder))
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
    planned = zip(trainer.cells(GRID), other.cells(GRID), strict=True)
    swapped = {str(cell.trunk): of_other for cell, of_other in planned}
    with pytest.raises(BadInput, match="run different versions"):
        ProxyRunner(replace(setup_of(trainer, GRID, tmp_path), cells=swapped))


def test_the_base_reaches_the_workers_complete() -> None:
    assert trainer_of(architecture=MOE | {"expert_width": 40}, parametrization="mup").base(GRID) == Base(
        width=16, depth=1, head_width=16, expert_width=40, batch_tokens=BATCH, tokens=HORIZON
    )
