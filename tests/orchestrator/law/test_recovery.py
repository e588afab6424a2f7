"""Known laws are found again, and what should not move the answer does not."""

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.law import fit
from orchestrator.law.observations import point_array

TARGET = Point(params=1.6e9, tokens=2.5e10, batch_tokens=524288)


def coefficient(law, name):
    return next(term for term in law.coefficients if term.name == name)


def exponent(law, axis, *, params=2.8e8, tokens=1e10, batch_tokens=262144.0):
    """The law's own exponent of one axis at a place: the slope of ln η* over a factor e^0.4."""
    place = {"params": params, "tokens": tokens, "batch_tokens": batch_tokens}
    ends = [[value * np.exp(side * (name == axis)) for name, value in place.items()] for side in (-0.2, 0.2)]
    low, high = law.band(np.array(ends))[0]
    return (high - low) / 0.4


@pytest.mark.parametrize(
    ("alpha", "beta", "gamma", "delta"), [(-0.7, 0.3, 0.2, 0.0), (-0.2, -0.35, 0.5, 0.15)]
)
def test_exponents_and_batch_terms_are_recovered(sweep, truth, fast, alpha, beta, gamma, delta):
    known = truth(alpha=alpha, beta=beta, gamma=gamma, delta=delta)
    law = fit(sweep(known), options=fast)
    assert coefficient(law, "ln N").value == pytest.approx(alpha, abs=0.05)
    for batch in (131072, 262144, 524288):
        b = np.log(batch / 262144)
        assert exponent(law, "tokens", batch_tokens=batch) == pytest.approx(beta + delta * b, abs=0.04)
    for tokens in (5e9, 1e10, 2e10):
        d = np.log(tokens / 1e10)
        assert exponent(law, "batch_tokens", tokens=tokens) == pytest.approx(gamma + delta * d, abs=0.04)


@pytest.mark.parametrize("asymmetry", [0.0, 0.4, 1.2])
@pytest.mark.parametrize("offset", [0.35, -0.35])
def test_lopsided_and_symmetric_bowls_are_distinguished(sweep, truth, fast, asymmetry, offset):
    known = truth(asymmetry=asymmetry, noise=3e-4)
    law = fit(sweep(known, rates=9, offset=offset), options=fast)
    assert law.asymmetry == pytest.approx(asymmetry, abs=0.12)
    own = np.log([bowl.learning_rate for bowl in law.bowls])
    wanted = known.optimum(*np.array([(b.params, b.tokens, b.batch_tokens) for b in law.bowls]).T)
    assert abs(np.mean(own - wanted)) < 0.015
    inside = [b.low < np.exp(at) < b.high for b, at in zip(law.bowls, wanted, strict=True)]
    assert np.mean(inside) > 0.85


def test_the_answer_is_close_and_its_interval_holds_the_truth(sweep, truth):
    law = fit(sweep())
    answer = law.predict(TARGET)
    wanted = float(np.exp(truth().optimum(*point_array([TARGET]).T)[0]))
    assert abs(np.log(answer.learning_rate / wanted)) < 0.12
    assert answer.low < wanted < answer.high
    assert answer.low < answer.learning_rate < answer.high
    assert answer.valley_low <= answer.learning_rate <= answer.valley_high
    assert law.heldout is not None
    assert law.heldout.mean < 1e-3


def test_rows_in_another_order_give_the_same_law_bit_for_bit(sweep, changed):
    runs = sweep()
    order = np.random.default_rng(1).permutation(runs.size)
    shuffled = changed(
        runs,
        **{
            name: getattr(runs, name)[order]
            for name in ("params", "tokens", "batch_tokens", "learning_rate", "loss")
        },
    )
    one, other = fit(runs), fit(shuffled)
    assert one.fingerprint == other.fingerprint
    assert one.to_document() == other.to_document()


@pytest.mark.parametrize("unit", [1 / np.log(2), 1e-3, 250.0])
def test_the_unit_of_loss_changes_no_rate(sweep, changed, fast, unit):
    runs = sweep()
    scaled = fit(changed(runs, loss=runs.loss * unit), options=fast).predict(TARGET)
    plain = fit(runs, options=fast).predict(TARGET)
    assert scaled.learning_rate == pytest.approx(plain.learning_rate, rel=1e-6)
    assert scaled.high == pytest.approx(plain.high, rel=1e-6)
    assert scaled.expected_loss == pytest.approx(plain.expected_loss * unit, rel=1e-6)


@pytest.mark.parametrize(("tokens", "within"), [(1.0, 1e-6), (1e3, 5e-3)])
def test_units_of_params_and_tokens_change_no_rate(sweep, changed, fast, tokens, within):
    """Params may count anything; of tokens only where the law bends depends on what they count."""
    runs = sweep()
    scaled = changed(
        runs,
        params=runs.params / 1e3,
        tokens=runs.tokens / tokens,
        batch_tokens=runs.batch_tokens / tokens,
    )
    target = Point(params=1.6e6, tokens=2.5e10 / tokens, batch_tokens=524288 / tokens)
    assert fit(scaled, options=fast).predict(target).learning_rate == pytest.approx(
        fit(runs, options=fast).predict(TARGET).learning_rate, rel=within
    )


@pytest.mark.parametrize("factor", [0.9, 1.15])
def test_an_outlier_does_not_move_the_answer(sweep, changed, fast, factor):
    runs = sweep()
    loss = runs.loss.copy()
    loss[1] *= factor  # the largest error that passes for a loss, three steps from the optimum
    plain, spoilt = fit(runs, options=fast), fit(changed(runs, loss=loss), options=fast)
    assert abs(np.log(spoilt.predict(TARGET).learning_rate / plain.predict(TARGET).learning_rate)) < 0.02


def test_a_noisy_cell_weighs_little(sweep, joined, changed, fast, truth):
    clean = sweep()
    noisy = sweep(truth(noise=0.03), sizes=(8e8,), horizons=(5e10,), batches=(524288.0,), seed=3)
    misled = changed(noisy, learning_rate=noisy.learning_rate * 1.5)
    plain, spoilt = fit(clean, options=fast), fit(joined(clean, misled), options=fast)
    assert abs(np.log(spoilt.predict(TARGET).learning_rate / plain.predict(TARGET).learning_rate)) < 0.08


def test_repeated_runs_narrow_the_interval(sweep, joined, fast, truth):
    known = truth(noise=3e-3)
    tables = [sweep(known, seed=seed, sizes=(1e8, 2e8)) for seed in range(5)]
    target = Point(params=2e8, tokens=1e10, batch_tokens=131072)
    once, often = fit(tables[0], options=fast), fit(joined(*tables), options=fast)
    point = point_array([target])
    assert often.optimum(point)[1][0] < once.optimum(point)[1][0]


def test_expected_loss_is_the_recorded_one_where_runs_are(sweep, truth, fast):
    law = fit(sweep(), options=fast)
    rates = np.exp(
        truth().optimum(np.array([2e8]), np.array([1e10]), np.array([131072.0]))[0] + np.array([-0.7, 0, 0.7])
    )
    found = law.expected_loss(np.array([[2e8, 1e10, 131072.0]]), rates)
    assert found == pytest.approx(truth().loss(2e8, 1e10, 131072.0, rates), rel=3e-3)


def test_the_held_out_error_is_of_the_largest_size(sweep):
    law = fit(sweep())
    assert {cell.params for cell in law.heldout.cells} == {8e8}
    assert law.heldout.mean == pytest.approx(np.mean([cell.excess_loss for cell in law.heldout.cells]))
    assert law.heldout.worst == max(cell.excess_loss for cell in law.heldout.cells)


def test_tiny_proxies_with_a_fixed_batch_and_few_runs_are_fitted(sweep, truth, fast):
    class Tiny(truth):
        def optimum(self, params, tokens, batch_tokens):
            return -4.5 - 0.4 * np.log(params / 3e4) - 0.3 * np.log(tokens / 2e5) + 0 * batch_tokens

    runs = sweep(
        Tiny(curvature=0.03, noise=2e-3),
        sizes=(1e4, 3e4, 1e5),
        horizons=(1e5, 2e5, 4e5),
        batches=(2048.0,),
        rates=4,
    )
    law = fit(runs, options=fast)
    answer = law.predict(Point(params=2e5, tokens=4e5, batch_tokens=2048))
    wanted = float(np.exp(Tiny().optimum(np.array(2e5), np.array(4e5), 2048.0)))
    assert answer.low < wanted < answer.high
    assert answer.high / answer.low < 4
