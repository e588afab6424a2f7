"""The cost of a rate in a cell, by the losses that are recorded there."""

import numpy as np
import pytest

from orchestrator.law.unseen_cells import RecordedBowl

X = np.log([1e-3, 2e-3, 2e-3, 4e-3])
BOWL = RecordedBowl.of(X, np.array([2.2, 1.9, 2.1, 2.1]))


@pytest.mark.parametrize(("rate", "excess"), [(1e-3, 0.1), (2e-3, 0.0), (4e-3, 0.05)])
def test_a_recorded_rate_loses_the_mean_of_its_runs(rate: float, excess: float) -> None:
    assert BOWL.excess_loss(float(np.log(rate))) == pytest.approx(excess)
    assert BOWL.held(float(np.log(rate))) == pytest.approx(excess)


@pytest.mark.parametrize(("rate", "excess"), [(9e-4, 0.1), (1.0, 0.05)])
def test_beyond_the_rates_tried_nothing_is_recorded_or_the_outermost_is_held(
    rate: float, excess: float
) -> None:
    assert BOWL.excess_loss(float(np.log(rate))) is None
    assert BOWL.held(float(np.log(rate))) == pytest.approx(excess)


def test_one_rate_has_nothing_to_lose_against() -> None:
    one = RecordedBowl.of(X[:1], np.array([2.2]))
    assert one.excess_loss(float(X[0])) is None
    with pytest.raises(ValueError, match="needs two learning rates"):
        one.held(float(X[0]))
