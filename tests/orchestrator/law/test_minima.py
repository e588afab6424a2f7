"""Without a bowl, the refusal describes the losses."""

import numpy as np
import pytest

from orchestrator.errors import Refused
from orchestrator.law import LawRefusal, fit


@pytest.fixture
def refused(sweep, truth, changed, fast):
    """The refusal of a sweep whose ln loss is a function of the distance u from the optimum, but for noise."""

    def make(shape, noise=5e-4):
        known = truth(noise=0.0)
        runs = sweep(known)
        u = np.log(runs.learning_rate) - known.optimum(runs.params, runs.tokens, runs.batch_tokens)
        random = np.random.default_rng(0).standard_normal(runs.size)
        with pytest.raises(Refused) as caught:
            fit(changed(runs, loss=3 * np.exp(shape(u) + noise * random)), options=fast)
        return caught.value

    return make


@pytest.mark.parametrize("depth", [0.015, 0.1])
def test_inverted_losses_are_called_that(refused, depth):
    found = refused(lambda u: -depth * u**2)
    assert found.code == LawRefusal.INVERTED.code
    assert "of 24 cells with three rates or more the loss is highest between the rates tried" in found.detail


@pytest.mark.parametrize("depth", [0.05, 0.3])
def test_two_minima_are_called_that(refused, depth):
    found = refused(lambda u: depth * np.abs(np.abs(u) - 0.6))
    assert "cells the loss has several minima" in found.detail
    assert "does not depend" not in found.detail


def test_losses_of_noise_are_called_noise(refused):
    found = refused(lambda u: 0 * u)
    assert found.code == LawRefusal.FLAT.code
    assert "No bowl stands out from the noise" in found.detail


@pytest.mark.parametrize("factor", [2.2, np.nan])
def test_rates_that_all_diverged_but_one_are_not_called_untried(sweep, changed, fast, factor):
    runs = sweep()
    lowest = np.arange(runs.size) % 7 == 0
    with pytest.raises(Refused) as caught:
        fit(changed(runs, loss=np.where(lowest, runs.loss, factor * runs.loss)), options=fast)
    assert caught.value.code == LawRefusal.NO_INTERIOR_MINIMUM.code
    assert (
        "0 have fewer than three rates, 24 have more but fewer than three that neither diverged"
        in caught.value.detail
    )
    assert "Run more learning rates near the best run" in caught.value.detail
