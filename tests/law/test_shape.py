"""The shared shape of bowls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.law.shape import expected_rise, half_widths, rise, slope


def test_it_is_a_quadratic_at_the_bottom_and_steeper_above():
    small = np.array([-1e-3, 1e-3])
    assert rise(small) == pytest.approx(small**2, rel=1e-3)
    assert rise(np.array([1.0]))[0] > rise(np.array([-1.0]))[0]


@given(st.floats(-4, 4))
def test_the_slope_is_the_derivative(u):
    step = 1e-5
    numeric = (rise(np.array([u + step])) - rise(np.array([u - step]))) / (2 * step)
    assert slope(np.array([u])) == pytest.approx(numeric, rel=1e-4, abs=1e-6)


@given(st.floats(-2, 2), st.floats(0.001, 0.5))
def test_the_expected_rise_is_the_average_over_the_bottom(u, sd):
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    average = (weights * rise(u + sd * nodes)).sum() / weights.sum()
    assert expected_rise(np.array([u]), np.array([sd**2]))[0] == pytest.approx(average, rel=1e-6, abs=1e-9)


@given(st.floats(1e-3, 3.0), st.floats(0, 0.5))
def test_half_widths_are_where_the_expected_rise_reaches_the_height(height, sd):
    low, high = (value[0] for value in half_widths(np.array([height]), np.array([sd**2])))
    assert low <= 0 <= high
    for u in (low, high):
        if u != 0:
            assert expected_rise(np.array([u]), np.array([sd**2]))[0] == pytest.approx(height, rel=1e-6)
    assert low < high or expected_rise(np.zeros(1), np.array([sd**2]))[0] > height * 0.5
