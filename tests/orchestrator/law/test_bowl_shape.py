"""The shared shape of bowls."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.law.bowl_shape import expected_rise, half_widths, likely_within, profile, rise, slope

asymmetries = st.floats(-1.5, 2.5)


def test_it_is_a_quadratic_at_the_bottom_and_steeper_above():
    small = np.array([-1e-3, 1e-3])
    assert rise(small) == pytest.approx(small**2, rel=1e-3)
    assert rise(np.array([1.0]))[0] > rise(np.array([-1.0]))[0]


@given(st.floats(-3, 3), asymmetries)
def test_the_derivatives_are_right(u, a):
    def at(u, a):
        return profile(np.array([u]), a)

    step = 1e-5
    by_u = (at(u + step, a).rise - at(u - step, a).rise) / (2 * step)
    assert at(u, a).slope == pytest.approx(by_u, rel=1e-3, abs=1e-4)
    by_a = (at(u, a + 0.01).rise - at(u, a - 0.01).rise) / 0.02
    assert at(u, a).bend == pytest.approx(by_a, rel=0.02, abs=2e-2)


def test_without_asymmetry_it_is_a_quadratic():
    u = np.linspace(-3, 3, 13)
    assert rise(u, 0.0) == pytest.approx(u**2, rel=2e-3, abs=1e-9)
    assert slope(u, 0.0) == pytest.approx(2 * u, rel=2e-3, abs=1e-9)
    assert profile(u, 0.0).bend == pytest.approx(u**3 / 3, rel=2e-3, abs=1e-6)
    assert expected_rise(u, np.full(13, 0.1), 0.0) == pytest.approx(u**2 + 0.1, rel=2e-3)


@given(st.floats(-2, 2), st.floats(0.001, 0.5), asymmetries)
def test_the_expected_rise_is_the_average_over_the_bottom(u, sd, a):
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    average = (weights * rise(u + sd * nodes, a)).sum() / weights.sum()
    assert expected_rise(np.array([u]), np.array([sd**2]), a)[0] == pytest.approx(average, rel=1e-6, abs=1e-8)


@given(st.floats(1e-3, 3.0), asymmetries)
def test_half_widths_are_where_the_rise_reaches_the_height(height, a):
    low, high = (value[0] for value in half_widths(np.array([height]), a))
    assert low < 0 < high
    for u in (low, high):
        assert rise(np.array([u]), a)[0] == pytest.approx(height, rel=1e-4)


@given(st.floats(-2, -0.05), st.floats(0.05, 2), st.floats(1e-3, 1.0), st.floats(0.5, 0.95))
def test_at_the_ends_of_the_likely_rates_the_bottom_is_near_enough_with_the_probability_asked_for(
    low, high, sd, chance
):
    def probability(u):
        return NormalDist(sigma=sd).cdf(high - u) - NormalDist(sigma=sd).cdf(low - u)

    below, above = (value[0] for value in likely_within(*map(np.array, ([low], [high], [sd])), chance))
    best = probability((low + high) / 2)
    if best < chance:
        assert below == above == 0
    for u in (below, above):
        if u != 0:
            assert probability(u) == pytest.approx(chance, abs=1e-3)
