"""The stable phase: the runs that count there, and cases where no cell can be compared."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.answers.stable_phase import difference, undecayed
from orchestrator.errors import Refused
from orchestrator.knowledge import SweepKnowledge
from orchestrator.law import Law
from orchestrator.spec import SweepSpec, parse_spec
from orchestrator.states import RunState
from tests.api.figures.building import fitted, full_bowls, make_cells, make_run, make_snapshot

CELLS = make_cells(sizes=(1e4, 4e4), horizons=(1e5, 4e5))


@pytest.fixture(scope="module")
def law() -> Law:
    return fitted(CELLS, full_bowls(CELLS))


def test_runs_count_where_their_decay_begins_with_the_losses_measured_there() -> None:
    runs = (
        make_run(0, 1e-3, loss=2.0, trunk_loss=2.1),
        make_run(1, 1e-3, loss=1.9, trunk_loss=None),
        make_run(2, 0.1, RunState.DIVERGED),
        make_run(3, 1e-3, RunState.RUNNING),
    )
    sweep, prior = (
        make_snapshot(CELLS).sweep,
        SweepKnowledge(sweep=make_snapshot(CELLS).sweep, cells=CELLS, runs=runs, prior=None).observations,
    )
    before = undecayed(SweepKnowledge(sweep=sweep, cells=CELLS, runs=runs, prior=prior))
    known = before.observations
    assert known.tokens.tolist() == [0.8e5, 0.8e5]
    assert known.params.tolist() == [1e4, 4e4]
    np.testing.assert_array_equal(known.loss, [2.1, math.nan])
    assert [run.id for run in before.runs] == [runs[0].id, runs[2].id, runs[3].id]


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"kind": "replay", "table": "t"}, "its trainer is replay"),
        ({"kind": "command", "name": "c"}, "its trainer is command"),
        (None, "it fits runs made before"),
    ],
)
def test_a_trainer_that_does_not_measure_it_is_named(trainer: dict[str, str] | None, words: str) -> None:
    fields: dict[str, Any] = {"name": "a", "prior_runs": {"table": "t"}} | (
        {} if trainer is None else {"trainer": trainer}
    )
    if trainer is not None and trainer["kind"] == "command":
        fields["grid"] = {
            "scales": [{"params": 1e6}],
            "tokens": [1e6],
            "batch_tokens": [100],
            "learning_rates": [1e-3],
        }
    spec = parse_spec(fields)
    sweep = replace(make_snapshot(CELLS).sweep, spec=spec)
    with pytest.raises(Refused, match=f"{words}, and the loss before the decay is measured by the proxy"):
        undecayed(SweepKnowledge(sweep=sweep, cells=CELLS, runs=(), prior=None))


@pytest.mark.parametrize(("shape", "stable"), [("linear", True), ("sqrt", True), ("cosine", False)])
def test_a_schedule_that_stays_at_its_peak_has_one(shape: str, stable: bool) -> None:
    spec: SweepSpec = make_snapshot(CELLS).sweep.spec
    fields = spec.model_dump(mode="json", exclude_defaults=True)
    fields["trainer"]["schedule"] = {"shape": shape, "warmup_tokens": 8192}
    assert (parse_spec(fields).training.no_stable_phase is None) is stable


def test_laws_without_a_common_cell_are_only_compared_in_their_exponents(law: Law) -> None:
    elsewhere = make_cells(sizes=(1e4, 4e4), horizons=(3e5, 9e5))
    found = difference(law, fitted(elsewhere, full_bowls(elsewhere)), CELLS)
    assert found.shift is None
    assert found.sentence.startswith(
        "No cell shows a minimum both before and after the decay yet. Exponent of D: −"
    )


def test_the_largest_cell_with_a_minimum_in_both_is_compared(law: Law) -> None:
    forks = tuple(replace(cell, tokens=cell.fork_tokens) for cell in CELLS)
    runs = [run for run in full_bowls(forks) if run.cell != 3 or run.learning_rate < 3e-3]
    found = difference(law, fitted(forks, runs), CELLS)
    assert found.shift is not None
    assert found.shift.cell in (CELLS[1], CELLS[2])
    assert found.shift.cell.flops < CELLS[3].flops
    # the optimum of this world falls with D to the power of −0.4, whatever the phase
    assert found.shift.low < 0.8**-0.4 < found.shift.high
