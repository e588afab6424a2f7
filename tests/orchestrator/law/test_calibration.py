"""Intervals hold the truth about as often as they say; ``benchmarks.law`` measures it over many laws."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.calibration import judge
from benchmarks.synthetic import DESIGNS
from orchestrator.cells import Point
from orchestrator.errors import Refused
from orchestrator.law import fit
from orchestrator.law.observations import point_array
from tests.known_law import FAST, LARGE, runs_of

TARGET = Point(params=1.6e9, tokens=1e10, batch_tokens=262144)


@pytest.mark.parametrize("design", ["grid", "sparse", "tied batch", "proxies", "trunks"])
def test_intervals_and_valleys_hold_the_truth(design):
    row = judge(DESIGNS[design](np.random.default_rng(seed)) for seed in range(12))
    assert row.holds >= 0.85
    assert row.cells >= 0.85
    assert row.rms < 1.6
    assert not row.named or row.valley >= 0.7


@pytest.mark.parametrize("rates", [3, 5])
def test_a_single_noisy_cell_does_not_promise_too_much(rates):
    known, inside = replace(LARGE, noise=4e-3, curvature=0.04), []
    for seed in range(20):
        runs = runs_of(known, sizes=(1e8,), horizons=(1e10,), batches=(262144.0,), rates=rates, seed=seed)
        try:
            (bowl,) = fit(runs, options=FAST).bowls
        except Refused:
            continue
        inside.append(abs(np.log(bowl.law_learning_rate) - known.log_optimum(bowl)) < 1.96 * bowl.law_sd)
    assert len(inside) > 6
    assert np.mean(inside) > 0.85


def test_the_confidence_band_is_narrower_than_the_prediction_band():
    law, place = fit(runs_of(), options=FAST), point_array([TARGET])
    assert law.band(place)[0] == law.prediction_band(place)[0]
    assert law.band(place)[1] < law.prediction_band(place)[1]
