"""The status of one cell's minimum by its runs: interior, edge, flat, too few, diverged."""

import numpy as np
import pytest

from orchestrator.law import BowlStatus, Observations, fit


def bowl_of(law, params, tokens, batch_tokens):
    return next(
        b for b in law.bowls if (b.params, b.tokens, b.batch_tokens) == (params, tokens, batch_tokens)
    )


CELL = (8e8, 2.5e10, 524288.0)


def in_cell(runs):
    return (runs.params == CELL[0]) & (runs.tokens == CELL[1]) & (runs.batch_tokens == CELL[2])


def test_an_interior_bowl_finds_its_optimum_and_its_loss(sweep, truth, fast):
    law = fit(sweep(), options=fast)
    assert {bowl.status for bowl in law.bowls} == {BowlStatus.INTERIOR}
    for bowl in law.bowls:
        wanted = truth().optimum(bowl.params, bowl.tokens, bowl.batch_tokens)
        assert abs(np.log(bowl.learning_rate) - wanted) < 4 * bowl.sd
        assert bowl.low < bowl.learning_rate < bowl.high
        assert bowl.loss == pytest.approx(
            truth().loss(bowl.params, bowl.tokens, bowl.batch_tokens, np.exp(wanted)), rel=2e-3
        )
        assert bowl.r2 > 0.9
        assert (bowl.runs, bowl.diverged) == (7, 0)


@pytest.mark.parametrize(("side", "status"), [(1, BowlStatus.EDGE_LOW), (-1, BowlStatus.EDGE_HIGH)])
def test_a_minimum_on_the_edge_is_a_bound(sweep, joined, truth, fast, side, status):
    runs = sweep()
    edge = sweep(sizes=(8e8,), horizons=(2.5e10,), batches=(524288.0,), offset=side * 2.0)
    law = fit(joined(runs.where(~in_cell(runs)), edge), options=fast)
    bowl = bowl_of(law, *CELL)
    assert bowl.status is status
    tried = edge.learning_rate
    # The bound agrees with the truth: the optimum lies outside, and the joint fit still finds it.
    wanted = np.exp(truth().optimum(*map(np.array, CELL)))
    assert wanted < tried.min() if side > 0 else wanted > tried.max()
    assert abs(np.log(bowl.law_learning_rate / wanted)) < 0.25


def test_a_diverged_run_is_never_a_minimum_and_bounds_the_bowl(sweep, changed, fast):
    runs = sweep()
    rate_order = np.argsort(runs.learning_rate[in_cell(runs)])
    loss = runs.loss.copy()
    rows = np.flatnonzero(in_cell(runs))[rate_order]
    loss[rows[4:]] = np.nan
    gap = ~np.isin(np.arange(runs.size), rows[2:4])  # two low rates finished, falling; the next ones diverged
    bounded = bowl_of(fit(changed(runs, loss=loss).where(gap), options=fast), *CELL)
    assert bounded.diverged == 3
    assert bounded.status is BowlStatus.INTERIOR
    assert runs.learning_rate[rows[1]] < bounded.learning_rate < runs.learning_rate[rows[4]]
    unbounded = bowl_of(fit(runs.where(~np.isin(np.arange(runs.size), rows[2:])), options=fast), *CELL)
    assert bounded.learning_rate < unbounded.learning_rate
    assert unbounded.status is BowlStatus.TOO_FEW


def test_a_crash_in_the_middle_of_a_bowl_says_nothing(sweep, changed, fast):
    runs = sweep()
    middle = np.flatnonzero(in_cell(runs))[np.argsort(runs.learning_rate[in_cell(runs)])][2]
    loss = runs.loss.copy()
    loss[middle] = np.nan
    crashed = bowl_of(fit(changed(runs, loss=loss), options=fast), *CELL)
    absent = bowl_of(fit(runs.where(np.arange(runs.size) != middle), options=fast), *CELL)
    assert crashed.learning_rate == pytest.approx(absent.learning_rate, rel=1e-9)
    assert (crashed.runs, crashed.diverged) == (7, 1)


def test_a_blown_up_loss_counts_as_diverged(sweep, changed, fast):
    runs = sweep()
    highest = np.flatnonzero(in_cell(runs))[np.argmax(runs.learning_rate[in_cell(runs)])]
    loss = runs.loss.copy()
    loss[highest] = 7.8
    spoilt = bowl_of(fit(changed(runs, loss=loss), options=fast), *CELL)
    loss[highest] = np.nan
    diverged = bowl_of(fit(changed(runs, loss=loss), options=fast), *CELL)
    assert spoilt == diverged


def test_losses_far_above_the_best_bound_the_bowl_on_both_sides(fast):
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    loss = np.array([3.0, 2.0, 2.1, 2.9])
    place = {"params": np.full(4, 1e4), "tokens": np.full(4, 4e5), "batch_tokens": np.full(4, 2048.0)}
    (bowl,) = fit(Observations(**place, learning_rate=rates, loss=loss), options=fast).bowls
    assert bowl.status is BowlStatus.INTERIOR
    assert 3e-4 < bowl.learning_rate < 2e-2


def test_a_rate_is_judged_by_the_mean_of_its_runs(sweep, joined, changed, fast):
    runs = sweep()
    rows = np.flatnonzero(in_cell(runs))[np.argsort(runs.learning_rate[in_cell(runs)])]
    lucky = runs.where(np.isin(np.arange(runs.size), rows[[0, 0]]))
    again = [changed(lucky, loss=lucky.loss * factor) for factor in (0.97, 1.028)]
    bowl = bowl_of(fit(joined(runs, *again), options=fast), *CELL)
    assert bowl.status is BowlStatus.INTERIOR
    assert bowl.runs == 9


def test_many_repeats_of_a_misshapen_bowl_do_not_make_it_sure(sweep, truth, joined, changed, fast):
    known = truth(noise=0.0)
    clean = sweep(known, sizes=(1e8, 2e8, 4e8), horizons=(4e9, 1e10), batches=(262144.0,))
    u = np.log(clean.learning_rate) - known.optimum(clean.params, clean.tokens, clean.batch_tokens)
    loss = clean.loss * np.exp(0.004 * np.sin(3 * u))  # a wiggle that the shape does not have
    rng = np.random.default_rng(0)
    sds = {}
    for repeats in (1, 25):
        noise = [np.exp(1e-3 * rng.standard_normal(clean.size)) for _ in range(repeats)]
        law = fit(joined(*(changed(clean, loss=loss * factor) for factor in noise)), options=fast)
        sds[repeats] = np.mean([bowl.law_sd for bowl in law.bowls])
    assert sds[25] > 0.4 * sds[1]


def test_the_noise_is_that_of_repeated_runs(sweep, truth, joined, fast):
    known = truth(noise=2e-3)
    first = sweep(known, sizes=(1e8, 2e8), seed=1)
    rng = np.random.default_rng(0)
    others = [
        Observations(
            params=first.params,
            tokens=first.tokens,
            batch_tokens=first.batch_tokens,
            learning_rate=first.learning_rate,
            loss=known.loss(first.params, first.tokens, first.batch_tokens, first.learning_rate)
            * np.exp(2e-3 * rng.standard_normal(first.size)),
        )
        for _ in range(3)
    ]
    # A robust scale: of Gaussian noise it is 0.8 of the standard deviation.
    assert fit(joined(first, *others), options=fast).noise == pytest.approx(0.8 * 2e-3, rel=0.2)


def test_a_cell_where_all_diverged_is_kept_without_a_loss(sweep, changed, fast):
    runs = sweep()
    law = fit(changed(runs, loss=np.where(in_cell(runs), np.nan, runs.loss)), options=fast)
    bowl = bowl_of(law, *CELL)
    assert bowl.status is BowlStatus.TOO_FEW
    assert bowl.loss is None
    assert bowl.r2 is None
    assert bowl.diverged == 7


def test_a_flat_cell_is_called_flat(sweep, changed, fast):
    runs = sweep()
    law = fit(changed(runs, loss=np.where(in_cell(runs), 2.5, runs.loss)), options=fast)
    assert bowl_of(law, *CELL).status is BowlStatus.FLAT


def test_two_rates_are_too_few_for_a_bowl_but_not_for_the_law(sweep, truth, fast):
    runs = sweep()
    rows = np.flatnonzero(in_cell(runs))
    law = fit(runs.where(~np.isin(np.arange(runs.size), rows[2:5:2])), options=fast)
    few = fit(runs.where(~np.isin(np.arange(runs.size), rows[[0, 1, 3, 5, 6]])), options=fast)
    assert bowl_of(law, *CELL).status is BowlStatus.INTERIOR
    bowl = bowl_of(few, *CELL)
    assert bowl.status is BowlStatus.TOO_FEW
    assert abs(np.log(bowl.law_learning_rate) - truth().optimum(*map(np.array, CELL))) < 0.15
