"""Sweeps that compare both paradigms, carried through the loop in a world whose law is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.cells import Cell
from orchestrator.heldout.module_rates import parse_module_rates
from orchestrator.states import RunState
from orchestrator.store import Store
from orchestrator.store.records import Run, RunResult, Sweep
from tests.orchestrator.conftest import FIELDS, LAW, House

COMPARISON: dict[str, Any] = {"scale": {"width": 128, "depth": 2}, "seeds": 2}
SEARCH = {"strategy": "law", "stop": {"interval_factor": 2.0}}


def compared_loss(run: Run, cell: Cell) -> RunResult:
    """The known law; a seed moves all runs alike, Transfer is a little worse than its rate, an embedding's own rate helps."""
    loss = LAW.loss(cell, run.learning_rate)
    if cell.role == "transfer":
        loss = LAW.loss(cell, 3e-3)
    if loss is None:
        return RunResult(run_id=run.id, state=RunState.DIVERGED, seconds=0.5)
    helps = (
        0.002 * math.log(parse_module_rates(run.module_rates).get("embedding", 1.0) / 2) ** 2
        if run.module_rates
        else 0.001
    )
    noise = 1e-4 * math.sin(1e4 * run.learning_rate + run.seed + len(run.module_rates))
    loss *= (1 + 0.004 * run.seed) * (1 + helps + noise)
    return RunResult(run_id=run.id, state=RunState.COMPLETED, loss=loss, seconds=1.0)


def compared_sweep(
    store: Store,
    *,
    name: str = "both paradigms",
    trainer: Mapping[str, Any] = FIELDS["trainer"],
    **comparison: Any,
) -> Sweep:
    """A completed sweep that has compared both paradigms; the lead is free again."""
    house = House(store)
    compared = {**COMPARISON, **comparison}
    sweep = house.submit(name=name, trainer=dict(trainer), search=SEARCH, comparison=compared)
    ended = house.until_final(sweep.id, compared_loss)
    house.rest()
    return ended
