"""The law strategy on real runs, where a folder of recorded ones is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from orchestrator.cells import Cells, Point
from orchestrator.law.observations import point_array
from orchestrator.planner import planner_of
from orchestrator.planner.values import (
    BatchPlan,
    KnownRun,
    PlanRequest,
    RunHistory,
    RunOutcome,
    asked_flops,
    full_grid_flops,
)
from orchestrator.spec import replayed_cells
from orchestrator.tables.formats import read_table
from orchestrator.tables.recorded_rates import recorded_rates
from orchestrator.tables.run_table import RunTable
from tests.orchestrator.planner.worlds import law_of


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


def test_a_twentieth_of_a_recorded_grid_is_enough(recorded_runs: Path) -> None:
    table = read_table((recorded_runs / "steplaw_dense.csv").read_bytes())
    largest = float(table.params.max())
    cells = Cells(cell for cell in replayed_cells(recorded_rates(table)) if cell.params < largest)
    target = Point(params=largest, tokens=2.84e10, batch_tokens=262_144.0)
    history, plan = replayed(table, cells, PlanRequest(target=target, max_parallel=2))
    assert asked_flops(history) < 0.05 * full_grid_flops(cells, 1)
    law = law_of(history)
    assert law is not None
    place = point_array([target])
    # recorded in this cell: the best rate is 1.4e-3, and 9.8e-4 … 2.0e-3 lose less than 0.1 %
    assert 9e-4 < float(np.exp(law.optimum(place)[0][0])) < 2.1e-3
    assert plan.pruned


def test_a_replay_without_limits_ends_early_with_a_reason_and_a_good_answer(recorded_runs: Path) -> None:
    table = read_table((recorded_runs / "steplaw_dense.csv").read_bytes())
    cells = replayed_cells(recorded_rates(table))
    target = Point(params=1_073_741_824.0, tokens=2e10, batch_tokens=262_144.0)
    history, plan = replayed(table, cells, PlanRequest(target=target, max_parallel=2))
    assert asked_flops(history) < 0.4 * full_grid_flops(cells, 1)
    assert str(plan.stop).startswith("Little is left to gain")
    law = law_of(history)
    assert law is not None
    # the law of all 1,713 runs says 8.1e-4, 6.1e-4 … 1.07e-3
    assert 6e-4 < law.predict(target).learning_rate < 1.1e-3
