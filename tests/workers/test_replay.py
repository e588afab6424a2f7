"""Replays answer with what is recorded, and say so where nothing is."""

from __future__ import annotations

import pytest

from orchestrator.cells import Cells
from orchestrator.errors import BadInput
from orchestrator.spec import replayed_cells
from orchestrator.states import RunState
from orchestrator.tables.formats import read_table
from orchestrator.tables.recorded_rates import recorded_rates
from tests.workers.pending import pending
from workers.immediate import ImmediateJob
from workers.replay import Recording, ReplaySetup

TABLE = b"""params,tokens,batch_tokens,learning_rate,loss,gpu_seconds,optimizer
1e6,1e8,4096,0.001,3.5,12.5,adamw
1e6,1e8,4096,0.002,3.25,,adamw
1e6,1e8,4096,0.002,3.3,4e1,adamw
1e6,1e8,4096,0.004,nan,1,adamw
1e6,1e8,4096,0.002,9.0,1,muon
"""
RECIPE = read_table(TABLE).where({"optimizer": "adamw"})
(CELL,) = replayed_cells(recorded_rates(RECIPE))


COUNTED = ((100_003_000, 0.001), (99_998_000, 0.00100005), (100_001_000, 0.002))


def test_a_run_answers_with_the_recorded_loss_and_cost():
    result = Recording(RECIPE).answer(pending(learning_rate=0.001), CELL)
    assert (result.state, result.loss, result.seconds) == (RunState.COMPLETED, 3.5, 12.5)
    assert result.flops == 6 * 1e6 * 1e8


def test_seed_n_is_the_nth_row_of_its_place_within_the_recipe():
    recording = Recording(RECIPE)
    assert [recording.answer(pending(learning_rate=0.002, seed=seed), CELL).loss for seed in (0, 1)] == [
        3.25,
        3.3,
    ]
    assert [recording.answer(pending(learning_rate=0.002, seed=seed), CELL).seconds for seed in (0, 1)] == [
        None,
        40.0,
    ]


def test_runs_whose_tokens_were_counted_answer_for_their_cell():
    lines = [f"1e6,{tokens},4096,{rate},3.{loss}" for loss, (tokens, rate) in enumerate(COUNTED)]
    table = read_table("\n".join(["params,tokens,batch_tokens,learning_rate,loss", *lines]).encode())
    (cell,) = replayed_cells(recorded_rates(table))
    recording = Recording(table)
    assert [recording.answer(pending(learning_rate=rate), cell).loss for rate in cell.rates] == [3.0, 3.2]
    assert recording.answer(pending(learning_rate=cell.rates[0], seed=1), cell).loss == 3.1


def test_a_row_without_a_loss_is_a_diverged_run():
    result = Recording(RECIPE).answer(pending(learning_rate=0.004), CELL)
    assert (result.state, result.loss) == (RunState.DIVERGED, None)


def test_a_failed_row_says_nothing_of_its_rate_and_an_infinite_loss_diverged():
    header = "params,tokens,batch_tokens,learning_rate,loss,state"
    rows = ("1e-3,3.5,killed", "1e-3,3.4,finished", "2e-3,,failed", "4e-3,1.7976931348623157e+308,finished")
    table = read_table("\n".join([header, *(f"1e6,1e8,4096,{row}" for row in rows)]).encode())
    (cell,) = replayed_cells(recorded_rates(table))
    recording = Recording(table)

    assert cell.rates == (1e-3, 4e-3)
    assert recording.answer(pending(learning_rate=1e-3), cell).loss == 3.4
    assert recording.answer(pending(learning_rate=4e-3), cell).state is RunState.DIVERGED
    with pytest.raises(BadInput, match="holds 0 runs"):
        recording.answer(pending(learning_rate=2e-3), cell)


@pytest.mark.parametrize(("rate", "seed"), [(0.003, 0), (0.001, 1), (0.002, 2)])
def test_what_is_not_recorded_is_refused(rate, seed):
    with pytest.raises(BadInput, match="is not recorded"):
        Recording(RECIPE).answer(pending(learning_rate=rate, seed=seed), CELL)


def test_the_runner_answers_a_whole_job_and_fails_only_what_is_missing():
    runner = ReplaySetup(table=TABLE, where={"optimizer": "adamw"}, cells=Cells((CELL,))).open_runner()
    runner.begin(ImmediateJob(runs=tuple(pending(learning_rate=rate) for rate in (0.001, 0.003, 0.004))))
    report, done = runner.advance(1.0)
    assert done
    assert [result.state for result in report.results] == [
        RunState.COMPLETED,
        RunState.FAILED,
        RunState.DIVERGED,
    ]
    assert "rate 3e-3" in (report.results[1].reason or "")


def test_a_table_of_several_recipes_is_refused():
    with pytest.raises(BadInput, match="adamw, muon"):
        ReplaySetup(table=TABLE, where={}, cells=Cells((CELL,))).open_runner()
