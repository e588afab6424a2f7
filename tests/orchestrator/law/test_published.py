"""The published laws give their own papers' numbers."""

import math

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.law import fit
from orchestrator.law.published import (
    LAWS,
    Anchor,
    bjorck_ratio,
    deepseek,
    deepseek_batch,
    joint_moe,
    kaplan,
    porian,
    porian_batch,
    power_scheduler,
    published_rates,
    step_law,
    step_law_batch,
    zhou,
)
from tests.known_law import FAST, LARGE, runs_of

N, D = 1e9, 1e11


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (step_law(N, D), 1.632e-3),
        (step_law_batch(D), 1.108e6),
        (deepseek(N, D), 7.88e-4),
        (deepseek_batch(N, D), 1.828e6),
        (porian(N), 2.129e-3),
        (porian_batch(N), 1.609e6),
        (kaplan(N), 3.481e-4),
        (joint_moe(N), 2.258e-4),
        (power_scheduler(1024, D), 1.156e-2),
        (zhou(N, D), 5.35e-5),
        (zhou(1e9, 1e12) / zhou(1e9, 1e11), 0.446),
        (zhou(1e10, 1e11) / zhou(1e9, 1e11), 0.600),
        (bjorck_ratio(10, 10), 10**-0.55),
    ],
)
def test_vectors(found, wanted):
    assert found == pytest.approx(wanted, rel=1e-3)


def test_kaplan_has_no_rate_where_its_formula_passes_zero():
    assert kaplan(1.22e10) is None
    assert "Kaplan" not in {
        rate.law for rate in published_rates(Point(params=2e10, tokens=D, batch_tokens=1e6))
    }


def test_ratio_only_laws_need_an_anchor():
    target = Point(params=N, tokens=D, batch_tokens=1e6)
    plain = {rate.law for rate in published_rates(target)}
    anchored = {
        rate.law: rate
        for rate in published_rates(
            target, Anchor(params=1e8, tokens=1e10, batch_tokens=1e6, learning_rate=3e-3)
        )
    }
    ratio_only = {law.name for law in LAWS if law.ratio_only}
    assert set(anchored) - plain == ratio_only == {"Bjorck", "Power Scheduler", "Zhou"}
    assert anchored["Zhou"].learning_rate == pytest.approx(3e-3 * 10**-0.2219 * 10**-0.3509)
    assert anchored["Bjorck"].learning_rate == pytest.approx(3e-3 * 10**-0.55)
    assert all(rate.source and rate.note and math.isfinite(rate.learning_rate) for rate in anchored.values())


@pytest.mark.parametrize(("asked", "nearest"), [(1e5, 131072), (4e5, 524288), (8e6, 524288)])
def test_a_law_offers_its_costliest_optimum_at_the_nearest_batch_as_the_anchor(asked, nearest):
    anchor = fit(runs_of(), options=FAST).anchor(asked)
    assert (anchor.params, anchor.tokens, anchor.batch_tokens) == (8e8, 2.5e10, nearest)
    assert np.log(anchor.learning_rate) == pytest.approx(LARGE.log_optimum(anchor), abs=0.1)


def test_an_anchored_law_gives_the_anchor_back():
    anchor = Anchor(params=1e8, tokens=1e10, batch_tokens=1e6, learning_rate=3e-3)
    target = Point(params=1e8, tokens=1e10, batch_tokens=1e6)
    rates = {rate.law: rate.learning_rate for rate in published_rates(target, anchor)}
    assert [rates[name] for name in ("Bjorck", "Power Scheduler", "Zhou")] == pytest.approx([3e-3] * 3)
