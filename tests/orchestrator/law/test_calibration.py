"""Intervals hold the truth as often as they say, over many random laws."""

import contextlib

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.errors import Refused
from orchestrator.law import Observations, fit

LAWS = 120


def draw(rng, sweep, truth, scatter):
    """A random law whose cells and sizes depart from a power law by `scatter`, and its unseen next size."""
    known = truth(
        level=rng.normal(-6, 1),
        alpha=rng.normal(-0.45, 0.2),
        beta=rng.normal(-0.1, 0.2),
        gamma=rng.normal(0.3, 0.15),
        delta=rng.normal(0.08, 0.05),
        curvature=float(np.exp(rng.normal(-4.3, 0.4))),
        noise=float(np.exp(rng.normal(np.log(8e-4), 0.4))),
        asymmetry=rng.uniform(-0.3, 1.3),
    )
    sizes = 1e8 * 2.0 ** np.arange(rng.integers(3, 5))
    horizons = 4e9 * 3.0 ** np.arange(rng.integers(2, 4))
    batches = 131072 * 4.0 ** np.arange(rng.integers(1, 3))
    runs = sweep(
        known,
        sizes=sizes,
        horizons=horizons,
        batches=batches,
        rates=int(rng.integers(4, 8)),
        seed=int(rng.integers(1e6)),
    )
    _, size = np.unique(runs.params, return_inverse=True)
    _, cell = np.unique(
        np.column_stack([runs.params, runs.tokens, runs.batch_tokens]), axis=0, return_inverse=True
    )
    shift = (
        rng.normal(0, scatter, size.max() + 1)[size] + rng.normal(0, scatter, cell.max() + 1)[cell.ravel()]
    )
    runs = Observations(
        params=runs.params,
        tokens=runs.tokens,
        batch_tokens=runs.batch_tokens,
        learning_rate=runs.learning_rate * np.exp(shift),
        loss=runs.loss,
    )
    held = np.array([(2 * sizes[-1], d, b) for d in horizons for b in batches])
    departs = rng.normal(0, scatter) + rng.normal(0, scatter, len(held))
    return runs, held, known.optimum(*held.T) + departs


def test_the_prediction_interval_holds_the_truth(sweep, truth, fast):
    inside = []
    for seed in range(LAWS):
        rng = np.random.default_rng(seed)
        runs, held, optimum = draw(rng, sweep, truth, scatter=float(np.exp(rng.normal(np.log(0.06), 0.4))))
        try:
            law = fit(runs, options=fast)
        except Refused:
            continue
        mean, sd = law.prediction_band(*held.T)
        inside += (np.abs(mean - optimum) < 1.96 * sd).tolist()
    assert len(inside) > 3 * LAWS
    assert 0.92 <= np.mean(inside) <= 0.99


def test_bowls_hold_their_own_optimum(sweep, truth, fast):
    inside = []
    for seed in range(30):
        known = truth(noise=1.5e-3)
        law = fit(sweep(known, seed=seed, rates=6), options=fast)
        inside += [
            b.low < np.exp(known.optimum(b.params, b.tokens, b.batch_tokens)) < b.high for b in law.bowls
        ]
    assert 0.90 <= np.mean(inside) <= 0.99


@pytest.mark.parametrize("rates", [3, 5])
def test_a_single_noisy_cell_does_not_promise_too_much(sweep, truth, fast, rates):
    inside = []
    for seed in range(60):
        known = truth(noise=4e-3, curvature=0.04)
        runs = sweep(known, sizes=(1e8,), horizons=(1e10,), batches=(262144.0,), rates=rates, seed=seed)
        with contextlib.suppress(Refused):
            (bowl,) = fit(runs, options=fast).bowls
            wanted = known.optimum(bowl.params, bowl.tokens, bowl.batch_tokens)
            inside.append(abs(np.log(bowl.law_learning_rate) - wanted) < 1.96 * bowl.law_sd)
    assert len(inside) > 20
    assert np.mean(inside) > 0.85


def test_the_confidence_band_is_narrower_than_the_prediction_band(sweep, fast):
    law = fit(sweep(), options=fast)
    place = (np.array([1.6e9]), np.array([1e10]), np.array([262144.0]))
    assert law.band(*place)[0] == law.prediction_band(*place)[0]
    assert law.band(*place)[1] < law.prediction_band(*place)[1]


def test_rates_in_the_valley_lose_little(sweep, truth, fast):
    lost = []
    for seed in range(20):
        known = truth()
        law = fit(sweep(known, seed=seed), options=fast)
        place = np.array([1.6e9]), np.array([1e10]), np.array([262144.0])
        answer = law.predict(Point(params=1.6e9, tokens=1e10, batch_tokens=262144))
        best = known.loss(*place, np.exp(known.optimum(*place)))
        lost += [
            float((known.loss(*place, rate) / best - 1)[0])
            for rate in (answer.valley_low, answer.valley_high)
        ]
    assert np.mean(lost) < 1.2e-3
