"""What counts as one run, one rate and one cell: copies, failed runs, counted tokens, and rows far away."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.law import BowlStatus, fit
from tests.known_law import FAST, joined, runs_of

RUNS = runs_of()


def test_copied_rows_count_once_and_are_named():
    law, doubled = fit(RUNS, options=FAST), fit(joined(RUNS, RUNS), options=FAST)
    assert "168 rows are exact copies of another row and not counted again." in doubled.warnings
    assert doubled.bowls == law.bowls
    assert doubled.runs == 2 * law.runs


def test_runs_with_another_seed_are_no_copies():
    twice = replace(joined(RUNS, RUNS), seed=np.repeat([0.0, 1.0], RUNS.size))
    assert {bowl.runs for bowl in fit(twice, options=FAST).bowls} == {14}


def test_a_failed_run_bounds_nothing():
    top = RUNS.learning_rate == RUNS.learning_rate[RUNS.params == 8e8].max()
    crashed = fit(replace(RUNS, loss=np.where(top, np.nan, RUNS.loss), failed=top), options=FAST)
    assert crashed.bowls == fit(RUNS.where(~top), options=FAST).bowls
    assert crashed.runs == RUNS.size


def test_a_row_far_away_widens_no_range_and_is_not_what_is_held_out():
    first = RUNS.where(np.array([0]))
    law = fit(joined(RUNS, replace(first, params=np.array([1e11]), loss=np.array([2.9]))))
    assert law.largest[0] == pytest.approx(8e8)
    assert {cell.params for cell in law.heldout.cells} == {8e8}
    assert any("No cell with params of 100" in line for line in law.warnings)
    answer = law.predict(Point(params=1.6e9, tokens=1e10, batch_tokens=262144))
    assert answer.extrapolation["params"] == pytest.approx(2.0)


def test_the_reason_for_no_held_out_error_is_recorded():
    assert fit(RUNS, options=FAST).heldout_reason == "it was not requested"
    alone = fit(runs_of(sizes=(1e8,), horizons=(1e10,)))
    assert alone.heldout is None
    assert "one size and one horizon" in alone.heldout_reason
    assert fit(RUNS).heldout_reason is None


def test_few_minima_among_many_cells_are_named():
    many = runs_of(rates=2, horizons=(4e9, 1e10, 2.5e10, 6e10))
    few = runs_of(sizes=(1e8,), horizons=(1.5e10,), batches=(131072.0, 262144.0, 524288.0))
    law = fit(joined(many, few), options=FAST)
    assert any(line.startswith("Only 3 of 35 cells show a minimum") for line in law.warnings)
    alone = fit(runs_of(sizes=(1e8, 2e8), horizons=(1e10,), batches=(262144.0,)), options=FAST)
    assert any(
        line
        == "Only 2 of 2 cells show a minimum with a rise on both sides; most of this law comes from its priors."
        for line in alone.warnings
    )


def test_rates_that_came_to_nothing_are_not_called_untried():
    lost = (RUNS.params > 1.5e8) & (np.arange(RUNS.size) % 7 > 0)
    law = fit(replace(RUNS, loss=np.where(lost, 2.2 * RUNS.loss, RUNS.loss)), options=FAST)
    (named,) = [line for line in law.warnings if line.startswith("Only 6 of 24")]
    assert (
        "rise on both sides: 18 have three rates or more but fewer than three that neither diverged nor lie 42\u00a0% above"
        in named
    )


@pytest.mark.parametrize("jitter", [1e-12, 2e-4])
@pytest.mark.parametrize("axis", ["params", "tokens", "batch_tokens"])
def test_what_was_counted_in_each_run_is_one_cell(axis, jitter):
    counted = getattr(RUNS, axis) * (1 + jitter * np.random.default_rng(0).uniform(-1, 1, RUNS.size))
    exact, law = fit(RUNS), fit(replace(RUNS, **{axis: counted}))
    assert len(law.heldout.cells) == len(exact.heldout.cells)
    assert law.heldout.mean == pytest.approx(exact.heldout.mean, rel=0.1)
    assert len(law.bowls) == 24
    assert {getattr(bowl, axis) for bowl in law.bowls} <= set(counted)
    for one, other in zip(law.coefficients, exact.coefficients, strict=True):
        assert one.value == pytest.approx(other.value, abs=2e-3)


def test_sizes_that_differ_by_more_than_a_thousandth_are_two():
    law = fit(runs_of(sizes=(1e8, 1.003e8, 4e8), batches=(262144.0,)), options=FAST)
    assert {bowl.params for bowl in law.bowls} == {1e8, 1.003e8, 4e8}


def test_a_chain_of_sizes_is_not_one_size():
    chain = runs_of(sizes=1e8 * 1.0008 ** np.arange(12), horizons=(1e10,), batches=(262144.0,))
    found = sorted({bowl.params for bowl in fit(chain, options=FAST).bowls})
    assert len(found) >= 4
    assert found[-1] / found[0] > 1.007


def test_rates_that_are_one_do_not_count_as_three():
    cell = Point(params=8e8, tokens=1e10, batch_tokens=131072.0)
    own = (RUNS.params == 8e8) & (RUNS.tokens == 1e10) & (RUNS.batch_tokens == 131072)
    rate = np.where(own, 1e-3 * (1 + 1e-6 * np.arange(RUNS.size)), RUNS.learning_rate)
    law = fit(replace(RUNS, learning_rate=rate), options=FAST)
    (bowl,) = [bowl for bowl in law.bowls if bowl.point == cell]
    assert (bowl.runs, bowl.status) == (7, BowlStatus.TOO_FEW)


def test_a_target_within_a_thousandth_of_a_cell_is_that_cell():
    law = fit(RUNS, options=FAST)
    cell = law.predict(Point(params=8e8, tokens=1e10, batch_tokens=131072))
    beside = law.predict(Point(params=8.003e8, tokens=9.997e9, batch_tokens=131100))
    assert (beside.learning_rate, beside.high) == (cell.learning_rate, cell.high)
    apart = law.predict(Point(params=8.03e8, tokens=1e10, batch_tokens=131072))
    assert apart.high / apart.low > cell.high / cell.low
