"""Loss against horizon: the curve is found again, outliers do not bend it, two horizons are refused."""

import numpy as np
import pytest

from orchestrator.law import LawRefusal, Refused, fit
from orchestrator.law.horizon import fit_horizon

TOKENS = np.geomspace(1e9, 3e10, 6)


def curve(tokens, gamma=0.35):
    return 2.0 + 0.5 * (tokens / 1e9) ** -gamma


def test_a_clean_curve_is_recovered():
    law = fit_horizon(TOKENS, curve(TOKENS))
    assert law.irreducible == pytest.approx(2.0, abs=0.02)
    assert law.gamma == pytest.approx(0.35, abs=0.03)
    mean, sd = law.loss(np.array([1e11]))
    assert mean[0] == pytest.approx(curve(1e11), rel=2e-3)
    assert 0 < sd[0] < 0.01


def test_an_outlier_and_a_diverged_horizon_do_not_bend_it():
    loss = curve(TOKENS)
    loss[2] *= 1.2
    loss[4] = np.nan
    mean, sd = fit_horizon(TOKENS, loss).loss(np.array([1e11]))
    assert abs(mean[0] - curve(1e11)) < min(2 * sd[0], 0.02)


@pytest.mark.parametrize("unit", [1e-3, 1 / np.log(2), 1e4])
def test_units_of_loss_scale_it(unit):
    plain, scaled = fit_horizon(TOKENS, curve(TOKENS)), fit_horizon(TOKENS, unit * curve(TOKENS))
    assert scaled.gamma == pytest.approx(plain.gamma, rel=1e-6)
    assert scaled.loss(np.array([1e11]))[0] == pytest.approx(unit * plain.loss(np.array([1e11]))[0], rel=1e-6)


def test_its_interval_holds_the_longer_horizon():
    inside = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        gamma, tokens = (
            float(np.exp(rng.normal(np.log(0.3), 0.4))),
            np.geomspace(1e9, 2e10, rng.integers(3, 8)),
        )
        law = fit_horizon(tokens, curve(tokens, gamma) * (1 + 1e-3 * rng.standard_normal(tokens.size)))
        mean, sd = law.loss(np.array([8e10]))
        inside.append(abs(mean[0] - curve(8e10, gamma)) < 1.96 * sd[0])
    assert 0.87 <= np.mean(inside) <= 0.99


def test_two_horizons_are_refused():
    with pytest.raises(Refused) as caught:
        fit_horizon(np.array([1e9, 1e9, 2e9]), np.array([3.0, 3.0, 2.9]))
    assert caught.value.reason is LawRefusal.TOO_FEW_HORIZONS


def test_every_size_and_batch_with_three_horizons_has_its_own_curve(sweep, truth, fast):
    law = fit(sweep(truth(noise=1e-4), sizes=(1e8, 2e8, 4e8)), options=fast)
    curves = law.horizons()
    assert set(curves) == {(n, b) for n in (1e8, 2e8, 4e8) for b in (131072.0, 524288.0)}
    at = np.array([5e10])
    for (params, batch), horizon in curves.items():
        best = truth().loss(params, at, batch, np.exp(truth().optimum(params, at, batch)))
        assert horizon.loss(at)[0] == pytest.approx(best, rel=0.01)
    assert fit(sweep(horizons=(4e9, 1e10)), options=fast).horizons() == {}


def test_recorded_horizons_tell_the_next(recorded, fast):
    runs = recorded("steplaw_dense.csv")
    whole = fit(runs, options=fast)
    kept = fit(runs.where(runs.tokens < 4.9e10), options=fast)
    lost = [
        abs(float(kept_curve.loss(np.array([bowl.tokens]))[0][0]) / bowl.loss - 1)
        for place, kept_curve in kept.horizons().items()
        for bowl in whole.bowls
        if (bowl.params, bowl.batch_tokens) == place and bowl.tokens > 4.9e10 and bowl.status == "interior"
    ]
    assert len(lost) > 10
    assert np.median(lost) < 0.01
