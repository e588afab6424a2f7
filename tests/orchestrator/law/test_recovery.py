"""Known laws are found again, and what should not move the answer does not."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.law import fit
from orchestrator.law.observations import point_array
from tests.known_law import FAST, LARGE, KnownLaw, joined, runs_of

TARGET = Point(params=1.6e9, tokens=2.5e10, batch_tokens=524288)
MIDDLE = Point(params=2.8e8, tokens=1e10, batch_tokens=262144.0)


def exponent(law, axis, **place):
    """The law's own exponent of one axis at a place: the slope of ln η* over a factor e^0.4."""
    at = replace(MIDDLE, **place)
    ends = [replace(at, **{axis: getattr(at, axis) * np.exp(side)}) for side in (-0.2, 0.2)]
    low, high = law.band(point_array(ends))[0]
    return (high - low) / 0.4


def moved(runs, spoilt, target=TARGET):
    """The distance in ln η between the answers of two tables."""
    plain, other = (fit(table, options=FAST).predict(target).learning_rate for table in (runs, spoilt))
    return abs(np.log(other / plain))


@pytest.mark.parametrize(("exponents", "interaction"), [((-0.7, 0.3, 0.2), 0.0), ((-0.2, -0.35, 0.5), 0.15)])
def test_exponents_and_batch_terms_are_recovered(exponents, interaction):
    law = fit(runs_of(replace(LARGE, exponents=exponents, interaction=interaction)), options=FAST)
    alpha, beta, gamma = exponents
    (size,) = (term.value for term in law.coefficients if term.name == "ln N")
    assert size == pytest.approx(alpha, abs=0.05)
    for batch in (131072, 262144, 524288):
        wanted = beta + interaction * np.log(batch / 262144)
        assert exponent(law, "tokens", batch_tokens=batch) == pytest.approx(wanted, abs=0.04)
    for tokens in (5e9, 1e10, 2e10):
        wanted = gamma + interaction * np.log(tokens / 1e10)
        assert exponent(law, "batch_tokens", tokens=tokens) == pytest.approx(wanted, abs=0.04)


@pytest.mark.parametrize("asymmetry", [0.0, 0.4, 1.2])
@pytest.mark.parametrize("offset", [0.35, -0.35])
def test_lopsided_and_symmetric_bowls_are_distinguished(asymmetry, offset):
    known = replace(LARGE, asymmetry=asymmetry, noise=3e-4)
    law = fit(runs_of(known, rates=9, offset=offset), options=FAST)
    assert law.asymmetry == pytest.approx(asymmetry, abs=0.12)
    off = [np.log(bowl.learning_rate) - known.log_optimum(bowl) for bowl in law.bowls]
    assert abs(np.mean(off)) < 0.015
    assert np.mean([bowl.low < known.optimum(bowl) < bowl.high for bowl in law.bowls]) > 0.85


def test_the_answer_is_close_and_its_interval_holds_the_truth():
    law = fit(runs_of())
    answer, wanted = law.predict(TARGET), LARGE.optimum(TARGET)
    assert abs(np.log(answer.learning_rate / wanted)) < 0.12
    assert answer.low < wanted < answer.high
    assert answer.low < answer.learning_rate < answer.high
    assert answer.valley_low <= answer.learning_rate <= answer.valley_high
    assert {cell.params for cell in law.heldout.cells} == {8e8}, "the largest size is held out"
    assert law.heldout.mean == pytest.approx(np.mean([cell.excess_loss for cell in law.heldout.cells]))
    assert law.heldout.worst == max(cell.excess_loss for cell in law.heldout.cells)
    assert law.heldout.mean < 1e-3


def test_rows_in_another_order_give_the_same_law_bit_for_bit():
    runs = runs_of()
    shuffled = runs.where(np.random.default_rng(1).permutation(runs.size))
    one, other = fit(runs), fit(shuffled)
    assert one.fingerprint == other.fingerprint
    assert one.to_document() == other.to_document()


@pytest.mark.parametrize("unit", [1 / np.log(2), 250.0])
def test_the_unit_of_loss_changes_no_rate(unit):
    runs = runs_of()
    plain, scaled = (
        fit(replace(runs, loss=runs.loss * by), options=FAST).predict(TARGET) for by in (1.0, unit)
    )
    assert scaled.learning_rate == pytest.approx(plain.learning_rate, rel=1e-6)
    assert scaled.high == pytest.approx(plain.high, rel=1e-6)
    assert scaled.expected_loss == pytest.approx(plain.expected_loss * unit, rel=1e-6)


@pytest.mark.parametrize(("tokens", "within"), [(1.0, 1e-6), (1e3, 5e-3)])
def test_units_of_params_and_tokens_change_no_rate(tokens, within):
    """Params may count anything; of tokens only where the law bends depends on what they count."""
    runs = runs_of()
    scaled = replace(
        runs,
        params=runs.params / 1e3,
        tokens=runs.tokens / tokens,
        batch_tokens=runs.batch_tokens / tokens,
    )
    target = Point(params=1.6e6, tokens=2.5e10 / tokens, batch_tokens=524288 / tokens)
    assert fit(scaled, options=FAST).predict(target).learning_rate == pytest.approx(
        fit(runs, options=FAST).predict(TARGET).learning_rate, rel=within
    )


@pytest.mark.parametrize("factor", [0.9, 1.15])
def test_an_outlier_does_not_move_the_answer(factor):
    """The largest error that passes for a loss, three steps from the optimum."""
    runs = runs_of()
    loss = np.where(np.arange(runs.size) == 1, factor, 1.0) * runs.loss
    assert moved(runs, replace(runs, loss=loss)) < 0.02


def test_a_noisy_cell_weighs_little():
    noisy = runs_of(replace(LARGE, noise=0.03), sizes=(8e8,), horizons=(5e10,), batches=(524288.0,), seed=3)
    misled = replace(noisy, learning_rate=noisy.learning_rate * 1.5)
    assert moved(runs_of(), joined(runs_of(), misled)) < 0.08


def test_repeated_runs_narrow_the_interval():
    tables = [runs_of(replace(LARGE, noise=3e-3), seed=seed, sizes=(1e8, 2e8)) for seed in range(5)]
    place = point_array([Point(params=2e8, tokens=1e10, batch_tokens=131072)])
    once, often = fit(tables[0], options=FAST), fit(joined(*tables), options=FAST)
    assert often.optimum(place)[1][0] < once.optimum(place)[1][0]


def test_expected_loss_is_the_recorded_one_where_runs_are():
    place = Point(params=2e8, tokens=1e10, batch_tokens=131072.0)
    rates = LARGE.optimum(place) * np.exp([-0.7, 0.0, 0.7])
    found = fit(runs_of(), options=FAST).expected_loss(point_array([place]), rates)
    assert found == pytest.approx(LARGE.losses(place, rates), rel=3e-3)


def test_tiny_proxies_with_a_fixed_batch_and_few_runs_are_fitted():
    tiny = KnownLaw(
        rate=np.exp(-4.5),
        at=(3e4, 2e5, 2048.0),
        exponents=(-0.4, -0.3, 0.0),
        curvature=0.03,
        asymmetry=0.5,
        bottom=LARGE.bottom,
        noise=2e-3,
    )
    runs = runs_of(tiny, sizes=(1e4, 3e4, 1e5), horizons=(1e5, 2e5, 4e5), batches=(2048.0,), rates=4)
    target = Point(params=2e5, tokens=4e5, batch_tokens=2048)
    answer = fit(runs, options=FAST).predict(target)
    assert answer.low < tiny.optimum(target) < answer.high
    assert answer.high / answer.low < 4
