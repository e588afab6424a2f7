"""The published laws give their own papers' numbers."""

import math

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.law import fit
from orchestrator.law.published import LAWS, Anchor, published_rates
from tests.known_law import FAST, LARGE, runs_of

N, D = 1e9, 1e11


def rate(name: str, params: float, tokens: float, batch_tokens: float = 1e6) -> float:
    """What the formula of a published law gives."""
    (law,) = (law for law in LAWS if law.name == name)
    return law.rate(Point(params=params, tokens=tokens, batch_tokens=batch_tokens))


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (rate("Step Law", N, D), 1.632e-3),
        (rate("DeepSeek", N, D), 7.88e-4),
        (rate("Porian", N, D), 2.129e-3),
        (rate("Kaplan", N, D), 3.481e-4),
        (rate("Joint MoE", N, D), 2.258e-4),
        (rate("Power Scheduler", N, D, 1024), 1.156e-2),
        (rate("Zhou", N, D), 5.35e-5),
        (rate("Zhou", 1e9, 1e12) / rate("Zhou", 1e9, 1e11), 0.446),
        (rate("Zhou", 1e10, 1e11) / rate("Zhou", 1e9, 1e11), 0.600),
        (rate("Bjorck", 10, 10), 10**-0.55),
    ],
)
def test_vectors(found, wanted):
    assert found == pytest.approx(wanted, rel=1e-3)


def test_kaplan_has_no_rate_where_its_formula_passes_zero():
    assert rate("Kaplan", 1.22e10, D) <= 0
    assert "Kaplan" not in {
        rate.law.name for rate in published_rates(Point(params=2e10, tokens=D, batch_tokens=1e6))
    }


def test_ratio_only_laws_need_an_anchor():
    target = Point(params=N, tokens=D, batch_tokens=1e6)
    plain = {rate.law.name for rate in published_rates(target)}
    anchored = {
        rate.law.name: rate
        for rate in published_rates(
            target, Anchor(params=1e8, tokens=1e10, batch_tokens=1e6, learning_rate=3e-3)
        )
    }
    ratio_only = {law.name for law in LAWS if law.ratio_only}
    assert set(anchored) - plain == ratio_only == {"Bjorck", "Power Scheduler", "Zhou"}
    assert anchored["Zhou"].learning_rate == pytest.approx(3e-3 * 10**-0.2219 * 10**-0.3509)
    assert anchored["Bjorck"].learning_rate == pytest.approx(3e-3 * 10**-0.55)
    assert all(
        rate.law.source and rate.note and math.isfinite(rate.learning_rate) for rate in anchored.values()
    )


@pytest.mark.parametrize(("asked", "nearest"), [(1e5, 131072), (4e5, 524288), (8e6, 524288)])
def test_a_law_offers_its_costliest_optimum_at_the_nearest_batch_as_the_anchor(asked, nearest):
    anchor = fit(runs_of(), options=FAST).anchor(asked)
    assert (anchor.params, anchor.tokens, anchor.batch_tokens) == (8e8, 2.5e10, nearest)
    assert np.log(anchor.learning_rate) == pytest.approx(LARGE.log_optimum(anchor), abs=0.1)


def test_an_anchored_law_gives_the_anchor_back():
    anchor = Anchor(params=1e8, tokens=1e10, batch_tokens=1e6, learning_rate=3e-3)
    target = Point(params=1e8, tokens=1e10, batch_tokens=1e6)
    rates = {rate.law.name: rate.learning_rate for rate in published_rates(target, anchor)}
    assert [rates[name] for name in ("Bjorck", "Power Scheduler", "Zhou")] == pytest.approx([3e-3] * 3)
