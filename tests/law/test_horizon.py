"""Loss against horizon: the curve is found again, outliers do not bend it, two horizons are refused."""

import numpy as np
import pytest

from orchestrator.law import LawRefusal, Observations, Refused
from orchestrator.law.horizon import fit_horizon, fit_horizons

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


def test_every_size_and_rate_has_its_own_curve():
    rows = [(n, d, r) for n in (1e8, 2e8) for d in TOKENS for r in (1e-3, 2e-3)] + [(4e8, 1e9, 1e-3)]
    params, tokens, rate = np.array(rows).T
    runs = Observations(
        params=params,
        tokens=tokens,
        batch_tokens=np.full(params.size, 1e5),
        learning_rate=rate,
        loss=curve(tokens) + rate,
    )
    laws = fit_horizons(runs)
    assert set(laws) == {(n, 1e5, r) for n in (1e8, 2e8) for r in (1e-3, 2e-3)}
    assert laws[1e8, 1e5, 2e-3].irreducible > laws[1e8, 1e5, 1e-3].irreducible
