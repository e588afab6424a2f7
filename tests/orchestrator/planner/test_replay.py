"""The law strategy on real runs, where a folder of recorded ones is named, and at the size of the largest tables."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.cells import Cell, Cells, Point
from orchestrator.law.observations import point_array
from orchestrator.planner import planner_of
from orchestrator.planner.values import (
    BatchPlan,
    KnownRun,
    PlanRequest,
    Proposal,
    RunHistory,
    RunOutcome,
    asked_flops,
    full_grid_flops,
)
from orchestrator.spec import replayed_cells
from orchestrator.tables.formats import read_table
from orchestrator.tables.recorded_rates import recorded_rates
from orchestrator.tables.run_table import RunTable
from tests.orchestrator.planner.worlds import World, answered, law_of

FOLDER = os.environ.get("ETALON_RECORDED_RUNS")


def replayed(table: RunTable, cells: Cells, request: PlanRequest) -> tuple[RunHistory, BatchPlan]:
    """A replay of recorded runs until the planner stops."""
    columns = (table.params, table.tokens, table.batch_tokens, table.learning_rate, table.loss)
    losses = {row[:4]: row[4] for row in zip(*(column.tolist() for column in columns), strict=True)}
    history = RunHistory(cells=cells)
    while True:
        plan = planner_of("law").plan(history, law_of(history), request)
        if plan.stop is not None:
            return history, plan
        found = []
        for run in plan.batch:
            cell = cells[run.cell]
            loss = losses[cell.params, cell.tokens, cell.batch_tokens, run.learning_rate]
            found.append(
                KnownRun(
                    cell=run.cell,
                    learning_rate=run.learning_rate,
                    seed=0,
                    outcome=RunOutcome.COMPLETED if np.isfinite(loss) else RunOutcome.DIVERGED,
                    loss=float(loss) if np.isfinite(loss) else None,
                )
            )
        history = replace(history, runs=history.runs + tuple(found))


@pytest.mark.skipif(FOLDER is None, reason="ETALON_RECORDED_RUNS names no folder of recorded runs")
def test_a_twentieth_of_a_recorded_grid_is_enough() -> None:
    table = read_table((Path(FOLDER or "") / "steplaw_dense.csv").read_bytes())
    largest = float(table.params.max())
    cells = Cells(cell for cell in replayed_cells(recorded_rates(table)) if cell.params < largest)
    target = Point(params=largest, tokens=2.84e10, batch_tokens=262_144.0)
    history, plan = replayed(table, cells, PlanRequest(target=target, max_parallel=2))
    assert asked_flops(history) < 0.05 * full_grid_flops(cells, 1)
    law = law_of(history)
    assert law is not None
    # recorded in this cell: the best rate is 1.4e-3, and 9.8e-4 … 2.0e-3 lose less than 0.1 %
    assert 9e-4 < float(np.exp(law.optimum(point_array([target]))[0][0])) < 2.1e-3
    assert plan.pruned


@pytest.mark.skipif(FOLDER is None, reason="ETALON_RECORDED_RUNS names no folder of recorded runs")
def test_a_replay_without_limits_ends_early_with_a_reason_and_a_good_answer() -> None:
    table = read_table((Path(FOLDER or "") / "steplaw_dense.csv").read_bytes())
    cells = replayed_cells(recorded_rates(table))
    target = Point(params=1_073_741_824.0, tokens=2e10, batch_tokens=262_144.0)
    history, plan = replayed(table, cells, PlanRequest(target=target, max_parallel=2))
    assert asked_flops(history) < 0.4 * full_grid_flops(cells, 1)
    assert str(plan.stop).startswith("Little is left to gain")
    law = law_of(history)
    assert law is not None
    # the law of all 1,713 runs says 8.1e-4, 6.1e-4 … 1.07e-3
    assert 6e-4 < law.predict(target).learning_rate < 1.1e-3


def table_like(sizes: int, horizons: int, batches: int, rates: int) -> World:
    """A grid like a recorded table's: N, D and B vary apart, and the rates are centred on each cell's optimum."""
    cells, optima = [], []
    for params in np.geomspace(1e8, 1e9, sizes):
        for tokens in np.geomspace(1e9, 1e11, horizons):
            for batch in np.geomspace(65_536, 4e6, batches):
                best = 2e-3 * (params / 3e8) ** -0.4 * (tokens / 1e10) ** -0.1 * (batch / 5e5) ** 0.3
                lattice = tuple(float(f"{rate:.6g}") for rate in best * np.geomspace(0.1, 10, rates))
                optima.append(float(np.log(best)))
                cells.append(
                    Cell(
                        number=len(cells),
                        params=float(params),
                        tokens=float(tokens),
                        batch_tokens=float(batch),
                        rates=lattice,
                    )
                )
    return World(
        cells=Cells(cells),
        target=Point(params=2e9, tokens=1e11, batch_tokens=1e6),
        optimum=tuple(optima),
        target_optimum=0.0,
        curvature=0.02,
        noise=1e-3,
        seed=0,
    )


@pytest.mark.parametrize(("shape", "seconds"), [((3, 5, 9, 12), 0.05), ((10, 10, 20, 20), 1.0)])
def test_a_planning_step_is_quick(shape: tuple[int, int, int, int], seconds: float) -> None:
    """On a quiet machine it takes a third of this; four times as much is left for a busy one."""
    world = table_like(*shape)
    some = tuple(world.cells)[:: max(1, len(world.cells) // 12)]
    batch = tuple(
        Proposal(cell=cell.number, learning_rate=rate, seed=0, flops=cell.flops, reason="Known before.")
        for cell in some
        for rate in cell.rates[::4]
    )
    history = RunHistory(cells=world.cells, runs=answered(world, batch))
    law = law_of(history)
    taken = []
    for _ in range(4):
        start = time.process_time()
        plan = planner_of("law").plan(history, law, PlanRequest(target=world.target))
        taken.append(time.process_time() - start)
    assert plan.batch
    assert min(taken) < 4 * seconds
