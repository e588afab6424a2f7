"""Whatever the law, the fit keeps its promises."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.cells import Point
from orchestrator.errors import Refused
from orchestrator.law import Law, Observations, fit

exponents = st.floats(-0.9, 0.5)


def refused_or(call):
    """The result of `call`, or None if it refuses with a full sentence."""
    try:
        return call()
    except Refused as refused:
        if not refused.detail.endswith("."):
            raise
        return None


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    alpha=exponents,
    beta=exponents,
    level=st.floats(-9, -2),
    curvature=st.floats(0.004, 0.06),
    noise=st.floats(1e-5, 5e-3),
    rates=st.integers(3, 8),
    offset=st.floats(-0.6, 0.6),
    diverged=st.floats(0, 0.3),
    seed=st.integers(0, 10_000),
)
def test_any_sweep_gives_a_sound_law_or_a_reason(
    sweep, truth, fast, changed, alpha, beta, level, curvature, noise, rates, offset, diverged, seed
):
    known = truth(alpha=alpha, beta=beta, level=level, curvature=curvature, noise=noise)
    runs = sweep(known, sizes=(1e8, 3e8), horizons=(4e9, 2e10), rates=rates, offset=offset, seed=seed)
    crashed = np.random.default_rng(seed).random(runs.size) < diverged
    runs = changed(runs, loss=np.where(crashed, np.nan, runs.loss))
    target = Point(params=6e8, tokens=2e10, batch_tokens=262144)
    law = refused_or(lambda: fit(runs, options=fast))
    answer = law and refused_or(lambda: law.predict(target))
    if answer is None:
        return
    assert 0 < answer.low < answer.learning_rate < answer.high
    assert answer.valley_low <= answer.learning_rate <= answer.valley_high
    assert answer.high / answer.low <= 9.01
    assert np.isfinite([term.value for term in law.coefficients]).all()
    assert all(term.sd <= term.prior_sd * 1.0001 for term in law.coefficients)
    assert Law.from_document(law.to_document()).predict(answer.target) == answer


nonsense = st.lists(
    st.tuples(
        st.sampled_from([1e4, 3e4, 1e8]),
        st.sampled_from([1e5, 1e10]),
        st.sampled_from([2048.0, 524288.0]),
        st.sampled_from([1e-4, 1e-3, 3e-3, 1e-2, 0.1]),
        st.one_of(st.floats(0.5, 20), st.just(float("nan")), st.just(float("inf"))),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(nonsense)
def test_nonsense_is_answered_or_refused_never_broken(rows):
    params, tokens, batch, rate, loss = np.array(rows).T
    runs = Observations(params=params, tokens=tokens, batch_tokens=batch, learning_rate=rate, loss=loss)
    law = refused_or(lambda: fit(runs))
    if law is None:
        return
    mean, sd = law.optimum(params, tokens, batch)
    assert np.isfinite(mean).all()
    assert (sd > 0).all()


@settings(max_examples=40, deadline=None)
@given(nonsense, st.randoms(use_true_random=False))
def test_whatever_the_order_of_the_rows_the_law_or_the_refusal_is_the_same(rows, random):
    def outcome(rows):
        params, tokens, batch, rate, loss = np.array(rows).T
        runs = Observations(params=params, tokens=tokens, batch_tokens=batch, learning_rate=rate, loss=loss)
        try:
            return fit(runs).to_document()
        except Refused as refused:
            return refused.detail

    shuffled = random.sample(rows, len(rows))
    assert repr(outcome(rows)) == repr(outcome(shuffled))  # NaN differs from itself, its text does not


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    unit=st.floats(-12, 12).map(lambda power: 10.0**power),
    noise=st.floats(1e-5, 5e-3),
    diverged=st.floats(0, 0.2),
    seed=st.integers(0, 10_000),
)
def test_whatever_the_unit_of_loss_the_law_is_the_same(
    sweep, truth, fast, changed, unit, noise, diverged, seed
):
    runs = sweep(truth(noise=noise), sizes=(1e8, 3e8), horizons=(4e9, 2e10), seed=seed)
    crashed = np.random.default_rng(seed).random(runs.size) < diverged
    loss = np.where(crashed, np.nan, runs.loss)
    plain, scaled = (fit(changed(runs, loss=loss * by), options=fast) for by in (1.0, unit))
    assert [bowl.status for bowl in scaled.bowls] == [bowl.status for bowl in plain.bowls]
    assert scaled.warnings == plain.warnings
    for one, other in zip(scaled.coefficients, plain.coefficients, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-6, abs=1e-6)
        assert one.sd == pytest.approx(other.sd, rel=1e-6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    row=st.integers(0, 83),
    factor=st.floats(0.02, 1.0).flatmap(lambda off: st.sampled_from([np.exp(off), np.exp(-off)])),
)
def test_whatever_loss_is_wrong_the_exponents_stay(sweep, fast, changed, row, factor):
    runs = sweep(batches=(262144.0,))
    loss = runs.loss.copy()
    loss[row] *= factor
    plain, spoilt = fit(runs, options=fast), fit(changed(runs, loss=loss), options=fast)
    for one, other in zip(plain.coefficients[1:4], spoilt.coefficients[1:4], strict=True):
        assert abs(one.value - other.value) < 0.03


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scatter=st.floats(0.02, 0.3),
    rate=st.floats(1e-5, 1e-1),
    repeats=st.integers(2, 12),
    seed=st.integers(0, 10_000),
)
def test_a_cell_of_one_scattered_repeated_rate_weighs_little(
    sweep, joined, fast, scatter, rate, repeats, seed
):
    runs, rng = sweep(), np.random.default_rng(seed)
    far = Observations(
        params=np.full(repeats, 1.6e9),
        tokens=np.full(repeats, 5e10),
        batch_tokens=np.full(repeats, 524288.0),
        learning_rate=np.full(repeats, rate),
        loss=2.5 * np.exp(scatter * rng.standard_normal(repeats)),
    )
    plain, spoilt = fit(runs, options=fast), fit(joined(runs, far), options=fast)
    target = Point(params=1.6e9, tokens=2.5e10, batch_tokens=524288)
    moved = np.log(spoilt.predict(target).learning_rate / plain.predict(target).learning_rate)
    assert abs(moved) < 0.02
    assert spoilt.noise < 2 * plain.noise
