"""The scales of the sizes are integrated out: few sizes leave them open, many determine them."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.synthetic import crossed, draw_truth, lopsided, world
from orchestrator.law import Observations, fit
from orchestrator.law.few_draws import GRID, UNCERTAIN, Eliminated
from orchestrator.law.pooled import PooledSystem
from tests.known_law import FAST

QUIET = {"drift": 0.0, "bend": 0.0, "cell": 0.0, "noise": 1e-3, "shape": lopsided(0.7), "curvature": -4.3}


def sweep(
    sizes: int, *, size: float = 0.0, curl: float = 0.0, times: float = 10.0, seed: int = 0, step: float = 2.0
):
    """A grid of sizes, each `step` times the last, whose law is straight but for `curl` and shifts of `size`."""
    rng = np.random.default_rng(seed)
    truth = replace(draw_truth(rng), size=size, curl=curl, **QUIET)
    cells = crossed(1e8 * step ** np.arange(sizes), 2e9 * 3.0 ** np.arange(4), 131072 * 2.0 ** np.arange(3))
    return world(rng, truth, cells, cells[cells[:, 0] == cells[:, 0].max()] * [times, 1, 1])


def at_target(runs: Observations, places):
    law = fit(runs, options=FAST)
    mean, sd = law.prediction_band(places)
    return mean, sd, law


def test_more_sizes_on_one_line_narrow_what_a_further_size_may_do():
    sds = [at_target((made := sweep(sizes)).runs, made.places)[1].mean() for sizes in (2, 3, 4, 6)]
    assert sds == sorted(sds, reverse=True)
    assert sds[2] < 0.32
    assert sds[3] < 0.27


@pytest.mark.parametrize("times", [4.0, 10.0, 30.0])
@pytest.mark.parametrize("sizes", [4, 5])
def test_a_curve_in_size_that_the_runs_hardly_show_is_inside_the_interval(sizes, times):
    for seed in range(3):
        made = sweep(sizes, curl=0.03, times=times, seed=seed)
        mean, sd, _ = at_target(made.runs, made.places)
        assert (np.abs(mean - made.optimum) < 1.96 * sd).mean() > 0.9


def test_shifts_of_sizes_are_found_where_there_are_many():
    found = [
        at_target((made := sweep(12, size=size, step=1.9)).runs, made.places)[2].scales
        for size in (0.01, 0.25)
    ]
    quiet, rough = (np.hypot(scales.size, scales.path) for scales in found)
    assert quiet < 0.1
    assert 0.15 < rough < 0.45


def test_one_size_leaves_the_scales_at_their_priors():
    made = sweep(1)
    scales = at_target(made.runs, made.places)[2].scales
    weight = np.exp(sum(np.meshgrid(*(scale.log_prior for scale in UNCERTAIN), indexing="ij"))).ravel()
    prior = np.sqrt(weight / weight.sum() @ np.square(GRID))
    assert [scales.path, scales.size_bend] == pytest.approx(prior[1:], rel=0.05)


def test_eliminating_the_other_unknowns_keeps_posterior_and_evidence():
    rng = np.random.default_rng(0)
    rows, mean = rng.normal(size=(9, 6)), np.array([0.3, 0.0, -1.0, 0.0, 2.0, 0.0])
    normal, right, at = rows.T @ rows, rng.normal(size=6), np.array([1, 3, 5])

    def system(sd):
        precision = np.array([4.0, sd**-2, 0.5, sd**-2, 1.0, sd**-2])
        return PooledSystem(normal=normal, right=right, prior=precision, mean=mean)

    evidence, eliminated = [], []
    for sd in (0.2, 3.0):
        whole = system(sd)
        part = Eliminated.of(whole, at)
        covariance, centre, log_evidence = part.posterior(whole.prior[None, at])
        expected, spread = whole.solved()
        assert part.whole_mean(centre[0]) == pytest.approx(expected)
        assert part.whole_covariance(covariance[0]) == pytest.approx(spread)
        told = right + whole.prior * mean
        determinants = np.log(whole.prior).sum() + np.linalg.slogdet(spread)[1]
        evidence.append((determinants + told @ spread @ told) / 2)
        eliminated.append(float(log_evidence[0]))
    assert np.diff(eliminated) == pytest.approx(np.diff(evidence))
