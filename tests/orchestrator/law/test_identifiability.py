"""The sentences on a law's support are true: ties, copies, failed runs, rows far away, and what is held out."""

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.errors import Refused
from orchestrator.law import BowlStatus, LawRefusal, Observations, fit


def test_horizons_that_nearly_follow_the_size_are_no_tie_where_the_runs_tell_them_apart(joined, sweep, fast):
    sizes = np.geomspace(1e7, 1e10, 7)
    tables = [
        sweep(sizes=(size,), horizons=(20 * size, 60 * size), batches=(262144.0,), rates=9) for size in sizes
    ]
    law = fit(joined(*tables), options=fast)
    assert all(term.sd < 0.4 * term.prior_sd for term in law.coefficients if term.name in ("ln N", "ln D"))
    assert not any("tied" in line for line in law.warnings)


def test_a_target_off_the_tie_is_refused_for_being_off_it(joined, sweep):
    sizes = np.geomspace(1e7, 1e9, 5)
    tables = [sweep(sizes=(n,), horizons=(4e9, 2e10), batches=(2e5 * n / 1e8,)) for n in sizes]
    law = fit(joined(*tables))
    with pytest.raises(Refused) as caught:
        law.predict(Point(params=1e9, tokens=1e10, batch_tokens=2e4))
    assert caught.value.code == LawRefusal.INTERVAL_TOO_WIDE.code
    assert "its batch_tokens are 100 times below what these runs used at such params" in caught.value.detail


def test_copied_rows_count_once_and_are_named(sweep, joined, fast):
    runs = sweep()
    law, doubled = fit(runs, options=fast), fit(joined(runs, runs), options=fast)
    assert "168 rows are exact copies of another row and not counted again." in doubled.warnings
    assert doubled.bowls == law.bowls
    assert doubled.runs == 2 * law.runs


def test_runs_with_another_seed_are_no_copies(sweep, fast):
    runs = sweep()
    columns = {
        name: np.tile(getattr(runs, name), 2)
        for name in ("params", "tokens", "batch_tokens", "learning_rate", "loss")
    }
    twice = Observations(**columns, seed=np.repeat([0.0, 1.0], runs.size))
    assert {bowl.runs for bowl in fit(twice, options=fast).bowls} == {14}


def test_a_failed_run_bounds_nothing(sweep, fast):
    runs = sweep()
    top = runs.learning_rate == runs.learning_rate[runs.params == 8e8].max()
    columns = {name: getattr(runs, name) for name in ("params", "tokens", "batch_tokens", "learning_rate")}
    loss = np.where(top, np.nan, runs.loss)
    crashed = fit(Observations(**columns, loss=loss, failed=top), options=fast)
    absent = fit(runs.where(~top), options=fast)
    assert crashed.bowls == absent.bowls
    assert crashed.runs == runs.size
    with pytest.raises(ValueError, match="failed has 1 rows"):
        Observations(**columns, loss=loss, failed=np.array([True]))


def test_a_row_far_away_widens_no_range_and_is_not_what_is_held_out(sweep, joined):
    stray = Observations(
        params=np.array([1e11]),
        tokens=np.array([1e10]),
        batch_tokens=np.array([131072.0]),
        learning_rate=np.array([1e-3]),
        loss=np.array([2.9]),
    )
    law = fit(joined(sweep(), stray))
    assert law.largest[0] == pytest.approx(8e8)
    assert {cell.params for cell in law.heldout.cells} == {8e8}
    assert any("No cell with params of 100" in line for line in law.warnings)
    answer = law.predict(Point(params=1.6e9, tokens=1e10, batch_tokens=262144))
    assert answer.extrapolation["params"] == pytest.approx(2.0)


def test_the_reason_for_no_held_out_error_is_recorded(sweep, fast):
    assert fit(sweep(), options=fast).heldout_reason == "it was not requested"
    alone = fit(sweep(sizes=(1e8,), horizons=(1e10,)))
    assert alone.heldout is None
    assert "one size and one horizon" in alone.heldout_reason
    whole = fit(sweep())
    assert whole.heldout is not None
    assert whole.heldout_reason is None


def test_few_minima_among_many_cells_are_named(sweep, joined, fast):
    many = sweep(rates=2, horizons=(4e9, 1e10, 2.5e10, 6e10))
    law = fit(
        joined(many, sweep(sizes=(1e8,), horizons=(1.5e10,), batches=(131072.0, 262144.0, 524288.0))),
        options=fast,
    )
    assert any(line.startswith("Only 3 of 35 cells show a minimum") for line in law.warnings)


def test_rates_that_came_to_nothing_are_not_called_untried(sweep, changed, fast):
    runs = sweep()
    high = runs.params > 1.5e8
    rank = np.arange(runs.size) % 7
    loss = np.where(high & (rank > 0), 2.2 * runs.loss, runs.loss)
    (named,) = [
        line
        for line in fit(changed(runs, loss=loss), options=fast).warnings
        if line.startswith("Only 6 of 24")
    ]
    assert (
        "0 have fewer than three rates, 18 have more but fewer than three that neither diverged nor lie 42\u00a0% above"
        in named
    )


@pytest.mark.parametrize("jitter", [1e-12, 1e-6, 2e-4])
@pytest.mark.parametrize("axis", ["params", "tokens", "batch_tokens"])
def test_what_was_counted_in_each_run_is_one_cell(sweep, changed, axis, jitter):
    runs = sweep()
    counted = getattr(runs, axis) * (1 + jitter * np.random.default_rng(0).uniform(-1, 1, runs.size))
    exact, law = fit(runs), fit(changed(runs, **{axis: counted}))
    assert len(law.heldout.cells) == len(exact.heldout.cells)
    assert law.heldout.mean == pytest.approx(exact.heldout.mean, rel=0.1)
    assert len(law.bowls) == 24
    assert {getattr(bowl, axis) for bowl in law.bowls} <= set(counted)
    for one, other in zip(law.coefficients, exact.coefficients, strict=True):
        assert one.value == pytest.approx(other.value, abs=2e-3)


def test_sizes_that_differ_by_more_than_a_thousandth_are_two(sweep, joined, fast):
    runs = joined(*(sweep(sizes=(n,), batches=(262144.0,)) for n in (1e8, 1.003e8, 4e8)))
    assert {bowl.params for bowl in fit(runs, options=fast).bowls} == {1e8, 1.003e8, 4e8}


def test_a_chain_of_sizes_is_not_one_size(sweep, joined, fast):
    sizes = 1e8 * 1.0008 ** np.arange(12)
    runs = joined(*(sweep(sizes=(n,), horizons=(1e10,), batches=(262144.0,)) for n in sizes))
    found = sorted({bowl.params for bowl in fit(runs, options=fast).bowls})
    assert len(found) >= 4
    assert found[-1] / found[0] > 1.007


def test_rates_that_are_one_do_not_count_as_three(sweep, fast):
    runs = sweep()
    own = (runs.params == 8e8) & (runs.tokens == 1e10) & (runs.batch_tokens == 131072)
    rate = np.where(own, 1e-3 * (1 + 1e-6 * np.arange(runs.size)), runs.learning_rate)
    columns = {name: getattr(runs, name) for name in ("params", "tokens", "batch_tokens", "loss")}
    law = fit(Observations(**columns, learning_rate=rate), options=fast)
    (bowl,) = [b for b in law.bowls if (b.params, b.tokens, b.batch_tokens) == (8e8, 1e10, 131072)]
    assert (bowl.runs, bowl.status) == (7, BowlStatus.TOO_FEW)


def test_a_target_within_a_thousandth_of_a_cell_is_that_cell(sweep, fast):
    law = fit(sweep(), options=fast)
    cell = Point(params=8e8, tokens=1e10, batch_tokens=131072)
    beside = Point(params=8.003e8, tokens=9.997e9, batch_tokens=131100)
    assert law.predict(beside).learning_rate == law.predict(cell).learning_rate
    assert law.predict(beside).high == law.predict(cell).high
    apart = law.predict(Point(params=8.03e8, tokens=1e10, batch_tokens=131072))
    assert apart.high / apart.low > law.predict(cell).high / law.predict(cell).low


def test_an_interval_that_says_nothing_is_not_given_as_a_number(sweep):
    law = fit(sweep(sizes=(1e8,)))
    with pytest.raises(Refused) as caught:
        law.predict(Point(params=1e20, tokens=1e10, batch_tokens=262144))
    assert "not known at all" in caught.value.detail


def test_a_target_off_the_line_that_the_runs_follow_is_answered_with_a_warning(joined, sweep, fast):
    tables = [
        sweep(sizes=(n,), batches=(262144 * (n / 1e8) ** 0.5,), seed=int(n / 1e8))
        for n in (1e8, 2e8, 4e8, 8e8)
    ]
    law = fit(joined(*tables), options=fast)
    on, off = (
        law.predict(Point(params=8e8, tokens=1e10, batch_tokens=batch)) for batch in (262144 * 8**0.5, 262144)
    )
    assert "its batch_tokens are 2.83 times below what these runs used at such params and tokens" in " ".join(
        off.warnings
    )
    assert not any("off the line" in line for line in on.warnings)
    assert off.high / off.low > on.high / on.low


def test_where_the_axes_vary_apart_no_target_is_off_a_line(sweep, fast):
    law = fit(sweep(), options=fast)
    for target in (
        Point(params=3.2e9, tokens=4e9, batch_tokens=131072),
        Point(params=1e8, tokens=1e11, batch_tokens=131072),
    ):
        assert not any("off the line" in line for line in law.predict(target).warnings)


def test_less_than_one_step_is_named_of_cells_and_of_a_target(sweep, changed, fast):
    runs = sweep(horizons=(2e5, 1e6, 4e6), batches=(65536.0, 131072.0))
    law = fit(runs, options=fast)
    assert not any("one step" in line for line in law.warnings)
    answer = law.predict(Point(params=8e8, tokens=1.2e5, batch_tokens=131072))
    assert (
        "The target trains 120\u00a0k tokens in batches of 131\u00a0k: less than one step." in answer.warnings
    )
    swapped = fit(changed(runs, tokens=runs.batch_tokens, batch_tokens=runs.tokens), options=fast)
    named = "24 of 24 cells have more batch_tokens than tokens, less than one step"
    assert any(line.startswith(named) for line in swapped.warnings)


@pytest.mark.parametrize(("bend", "named"), [(0.018, False), (0.15, True)])
def test_a_bend_is_named_if_it_matters_over_the_range_of_the_runs(sweep, truth, fast, bend, named):
    class Bent(truth):
        def optimum(self, params, tokens, batch_tokens):
            return super().optimum(params, tokens, batch_tokens) + bend * np.log(params / 2e8) ** 2

    sizes = 5e7 * 2.0 ** np.arange(5)
    law = fit(sweep(Bent(noise=1e-5), sizes=sizes, rates=9), options=fast)
    at_the_ends, _ = law.bend(0)
    assert at_the_ends == pytest.approx(bend * np.log(4) ** 2, abs=0.015)
    assert any("curves in params" in line for line in law.warnings) == named
