"""One cell's minimum by its runs: its status, and the runs that are diverged, left out or believed."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.law import BowlStatus, Observations, fit
from tests.known_law import FAST, LARGE, joined, runs_of

CELL = Point(params=8e8, tokens=2.5e10, batch_tokens=524288.0)
RUNS = runs_of()


def rows_in(runs, cell=CELL):
    """The rows of one cell from its lowest rate to its highest."""
    rows = np.flatnonzero(
        (runs.params == cell.params) & (runs.tokens == cell.tokens) & (runs.batch_tokens == cell.batch_tokens)
    )
    return rows[np.argsort(runs.learning_rate[rows])]


ROWS = rows_in(RUNS)


def without(runs, rows):
    return runs.where(~np.isin(np.arange(runs.size), rows))


def with_losses(rows, factors, runs=RUNS):
    """The runs, some of whose losses are multiplied; a factor that is not finite makes them diverge."""
    loss = runs.loss.copy()
    loss[rows] *= factors
    return replace(runs, loss=loss)


def bowl_of(runs):
    """The bowl of the cell in the law of some runs."""
    return next(bowl for bowl in fit(runs, options=FAST).bowls if bowl.point == CELL)


def test_an_interior_bowl_finds_its_optimum_and_its_loss():
    law = fit(RUNS, options=FAST)
    assert {bowl.status for bowl in law.bowls} == {BowlStatus.INTERIOR}
    for bowl in law.bowls:
        assert abs(np.log(bowl.learning_rate) - LARGE.log_optimum(bowl)) < 4 * bowl.sd
        assert bowl.low < bowl.learning_rate < bowl.high
        assert bowl.loss == pytest.approx(LARGE.bottom(bowl), rel=2e-3)
        assert bowl.r2 > 0.9
        assert (bowl.runs, bowl.diverged) == (7, 0)


@pytest.mark.parametrize(("side", "status"), [(1, BowlStatus.EDGE_LOW), (-1, BowlStatus.EDGE_HIGH)])
def test_a_minimum_on_the_edge_is_a_bound(side, status):
    edge = runs_of(sizes=(8e8,), horizons=(2.5e10,), batches=(524288.0,), offset=side * 2.0)
    bowl = bowl_of(joined(without(RUNS, ROWS), edge))
    assert bowl.status is status
    tried = edge.learning_rate
    # The bound agrees with the truth: the optimum lies outside, and the joint fit still finds it.
    wanted = LARGE.optimum(CELL)
    assert wanted < tried.min() if side > 0 else wanted > tried.max()
    assert abs(np.log(bowl.law_learning_rate / wanted)) < 0.25


def test_a_diverged_run_is_never_a_minimum_and_bounds_the_bowl():
    """Two low rates finished, falling; the next ones diverged."""
    bounded = bowl_of(without(with_losses(ROWS[4:], np.nan), ROWS[2:4]))
    assert bounded.diverged == 3
    assert bounded.status is BowlStatus.INTERIOR
    assert RUNS.learning_rate[ROWS[1]] < bounded.learning_rate < RUNS.learning_rate[ROWS[4]]
    unbounded = bowl_of(without(RUNS, ROWS[2:]))
    assert bounded.learning_rate < unbounded.learning_rate
    assert unbounded.status is BowlStatus.TOO_FEW


def test_a_crash_in_the_middle_of_a_bowl_says_nothing():
    crashed, absent = bowl_of(with_losses(ROWS[2], np.nan)), bowl_of(without(RUNS, ROWS[2]))
    assert crashed.learning_rate == pytest.approx(absent.learning_rate, rel=1e-9)
    assert (crashed.runs, crashed.diverged) == (7, 1)


def test_a_blown_up_loss_counts_as_diverged():
    assert bowl_of(with_losses(ROWS[-1], 3.0)) == bowl_of(with_losses(ROWS[-1], np.nan))


def test_losses_far_above_the_best_bound_the_bowl_on_both_sides():
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    loss = np.array([3.0, 2.0, 2.1, 2.9])
    place = {"params": np.full(4, 1e4), "tokens": np.full(4, 4e5), "batch_tokens": np.full(4, 2048.0)}
    (bowl,) = fit(Observations(**place, learning_rate=rates, loss=loss), options=FAST).bowls
    assert bowl.status is BowlStatus.INTERIOR
    assert 3e-4 < bowl.learning_rate < 2e-2


def test_a_rate_is_judged_by_the_mean_of_its_runs():
    lucky = RUNS.where(ROWS[:1])
    again = [replace(lucky, loss=lucky.loss * factor) for factor in (0.97, 1.028)]
    bowl = bowl_of(joined(RUNS, *again))
    assert bowl.status is BowlStatus.INTERIOR
    assert bowl.runs == 9


def test_many_repeats_of_a_misshapen_bowl_do_not_make_it_sure():
    known = replace(LARGE, noise=0.0)
    clean = runs_of(known, sizes=(1e8, 2e8, 4e8), horizons=(4e9, 1e10), batches=(262144.0,))
    u = np.log(clean.learning_rate) - known.log_optimum(clean)
    loss = clean.loss * np.exp(0.004 * np.sin(3 * u))  # a wiggle that the shape does not have
    random = np.random.default_rng(0)
    sds = {}
    for repeats in (1, 25):
        noise = [np.exp(1e-3 * random.standard_normal(clean.size)) for _ in range(repeats)]
        law = fit(joined(*(replace(clean, loss=loss * factor) for factor in noise)), options=FAST)
        sds[repeats] = np.mean([bowl.law_sd for bowl in law.bowls])
    assert sds[25] > 0.4 * sds[1]


def test_the_noise_is_that_of_repeated_runs():
    exact = runs_of(replace(LARGE, noise=0.0), sizes=(1e8, 2e8), seed=1)
    random = np.random.default_rng(0)
    repeats = [
        replace(exact, loss=exact.loss * np.exp(2e-3 * random.standard_normal(exact.size))) for _ in range(4)
    ]
    # A robust scale: of Gaussian noise it is 0.8 of the standard deviation.
    assert fit(joined(*repeats), options=FAST).noise == pytest.approx(0.8 * 2e-3, rel=0.2)


def test_a_cell_where_all_diverged_is_kept_without_a_loss():
    bowl = bowl_of(with_losses(ROWS, np.nan))
    assert bowl.status is BowlStatus.TOO_FEW
    assert bowl.loss is None
    assert bowl.r2 is None
    assert bowl.diverged == 7


def test_a_flat_cell_is_called_flat():
    assert bowl_of(with_losses(ROWS, 2.5 / RUNS.loss[ROWS])).status is BowlStatus.FLAT


def test_two_rates_are_too_few_for_a_bowl_but_not_for_the_law():
    unordered = np.sort(ROWS)
    assert bowl_of(without(RUNS, unordered[2:5:2])).status is BowlStatus.INTERIOR
    bowl = bowl_of(without(RUNS, unordered[[0, 1, 3, 5, 6]]))
    assert bowl.status is BowlStatus.TOO_FEW
    assert abs(np.log(bowl.law_learning_rate) - LARGE.log_optimum(CELL)) < 0.15


@pytest.mark.parametrize("factor", [0.1, 0.5, 0.6])
@pytest.mark.parametrize("rank", [0, 3, 6])
def test_a_loss_too_low_to_believe_is_left_out_and_named(rank, factor):
    spoilt, absent = with_losses(ROWS[rank], factor), without(RUNS, ROWS[rank])
    bowl = bowl_of(spoilt)
    assert bowl.learning_rate == pytest.approx(bowl_of(absent).learning_rate, rel=1e-9)
    assert (bowl.runs, bowl.diverged, bowl.doubted) == (7, 0, 1)
    (named,) = set(fit(spoilt, options=FAST).warnings) - set(fit(absent, options=FAST).warnings)
    assert named.startswith("1 run is left out for a loss far below all others of the same cell")
    assert "800\u00a0M\u00a0parameters, 25\u00a0B\u00a0tokens, 524\u00a0k\u00a0tokens a batch" in named


def test_two_losses_too_low_in_one_cell_are_both_left_out():
    bowl = bowl_of(with_losses(ROWS[[1, 5]], (0.3, 0.6)))
    assert (bowl.doubted, bowl.diverged) == (2, 0)


def test_of_two_runs_the_one_too_low_is_left_out():
    bowl = bowl_of(without(with_losses(ROWS[3], 0.5), np.delete(ROWS, [2, 3])))
    assert (bowl.runs, bowl.doubted, bowl.diverged) == (2, 1, 0)


def test_a_best_run_below_which_all_others_diverged_is_believed():
    bowl = bowl_of(without(with_losses(ROWS[3:], (2.05, 2.1, 2.0, 2.2)), ROWS[:2]))
    assert (bowl.runs, bowl.doubted, bowl.diverged) == (5, 0, 4)
    assert bowl.learning_rate < RUNS.learning_rate[ROWS[3]]


def test_bowls_narrower_than_the_lattice_are_believed():
    """Five rates ten times apart: the best run is far below its neighbours, and the ends are plateaus."""
    coarse = runs_of(
        replace(LARGE, noise=0.0), sizes=(1e8, 2e8, 4e8), horizons=(1e10,), batches=(524288.0,), rates=5
    )
    u = np.tile(np.log(10) * (np.arange(5) - 2), 3)
    steep = replace(
        coarse,
        learning_rate=LARGE.optimum(coarse) * np.exp(u),
        loss=LARGE.bottom(coarse) * np.exp(np.minimum(0.1 * u**2, 1.2)),
    )
    law = fit(steep, options=FAST)
    assert [bowl.doubted for bowl in law.bowls] == [0, 0, 0]
    assert {bowl.status for bowl in law.bowls} == {BowlStatus.INTERIOR}
    for bowl in law.bowls:
        assert abs(np.log(bowl.learning_rate) - LARGE.log_optimum(bowl)) < 1.0
