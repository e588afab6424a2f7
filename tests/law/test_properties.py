"""Whatever the law, the fit keeps its promises."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.law import Law, Observations, Refused, Target, fit

exponents = st.floats(-0.9, 0.5)


def refused_or(call):
    """What `call` returns, or None where it refuses with a full sentence."""
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
    target = Target(params=6e8, tokens=2e10, batch_tokens=262144)
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


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
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
)
def test_nonsense_is_answered_or_refused_never_broken(rows):
    params, tokens, batch, rate, loss = np.array(rows).T
    runs = Observations(params=params, tokens=tokens, batch_tokens=batch, learning_rate=rate, loss=loss)
    law = refused_or(lambda: fit(runs))
    if law is None:
        return
    mean, sd = law.optimum(params, tokens, batch)
    assert np.isfinite(mean).all()
    assert (sd > 0).all()
