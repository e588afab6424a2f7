"""The prediction document: what a wrong rate costs, and a valley that is none."""

from __future__ import annotations

import math

import pytest

from orchestrator.answers.prediction import prediction
from orchestrator.cells import Point
from orchestrator.law import Law, fit
from orchestrator.spec import SweepSpec
from tests.known_law import KnownLaw, grid, observations

CURVATURE = 0.02


@pytest.fixture(scope="module")
def law() -> Law:
    """One size at three horizons, so that far sizes are known from a prior alone."""
    known = KnownLaw(rate=1e-2, at=(1e6, 1e8, 65_536), exponents=(0.0, -0.3, 0.0), curvature=CURVATURE)
    cells = grid((1e6,), (1e8, 2e8, 4e8), (65_536,))
    return fit(observations(known.runs(cells, [8e-3 * 2**octave for octave in range(-3, 4)])))


NEAR = Point(params=1e6, tokens=4e8, batch_tokens=65_536)
FAR = Point(params=2.2e6, tokens=4e8, batch_tokens=65_536)


def test_a_wrong_rate_costs_what_the_bowl_says(law: Law) -> None:
    answer = prediction(law, NEAR)

    costs = {item.factor: item for item in answer.wrong_rate}
    assert list(costs) == [0.25, 0.5, 1 / math.sqrt(2), 1, math.sqrt(2), 2, 4]
    for factor, item in costs.items():
        assert item.learning_rate == pytest.approx(factor * answer.learning_rate)
        assert item.excess_loss == pytest.approx(CURVATURE * math.log(factor) ** 2, rel=0.25, abs=2e-4)
    assert costs[1].excess_loss < answer.valley.excess_loss


def test_the_uncertainty_of_the_optimum_is_part_of_the_cost(law: Law) -> None:
    near, far = (
        {item.factor: item.excess_loss for item in prediction(law, target).wrong_rate}
        for target in (NEAR, FAR)
    )

    assert far[1] > 10 * near[1]
    assert far[2] > near[2]


def test_every_warning_has_a_code(law: Law) -> None:
    answer = prediction(law, FAR)

    assert answer.warnings
    assert [notice.message for notice in answer.notices] == answer.warnings
    assert "no_valley" in {notice.code for notice in answer.notices}


def test_a_valley_says_nothing_more_and_its_absence_why(law: Law) -> None:
    near, far = prediction(law, NEAR), prediction(law, FAR)

    assert near.valley.low < near.valley.high
    assert near.valley.reason is None
    assert far.valley.low == far.valley.high == far.learning_rate
    assert far.valley.reason.startswith("The optimum is too uncertain: no rate loses at most 0.1")
    assert any("too uncertain to name a range" in warning for warning in far.warnings)


@pytest.mark.parametrize("parametrization", ["standard", "mup"])
def test_a_global_rate_of_mup_is_named_as_one(law: Law, parametrization: str) -> None:
    spec = SweepSpec.model_validate(
        {
            "name": "widths",
            "trainer": {"kind": "proxy", "parametrization": parametrization},
            "grid": {
                "scales": [{"width": 64, "depth": 4}, {"width": 32, "depth": 4}],
                "tokens": [262_144],
                "batch_tokens": [256],
                "learning_rates": [1e-3, 4e-3],
            },
        }
    )

    answer = prediction(law, NEAR, spec=spec)

    warned = [warning for warning in answer.warnings if "etalon rules" in warning]
    laws = {item.law for item in answer.published}
    if parametrization == "mup":
        assert (answer.base.width, answer.base.depth) == (32, 4)
        assert "in units of the base of width 32 and depth 4" in warned[0]
        assert laws == {"Power Scheduler"}
    else:
        assert answer.base is None
        assert not warned
        assert {"Step Law", "Power Scheduler"} < laws


@pytest.mark.parametrize(("counted", "share"), [("active", 1.0), ("total", 66_560 / 164_864)])
def test_a_run_costs_by_the_parameters_that_a_token_meets(law: Law, counted: str, share: float) -> None:
    architecture = {"kind": "moe", "experts": 8, "top_k": 2, "expert_width": 64, "params": counted}
    spec = SweepSpec.model_validate(
        {
            "name": "mixtures",
            "trainer": {"kind": "proxy", "architecture": architecture},
            "grid": {
                "scales": [{"width": 32, "depth": 2}, {"width": 64, "depth": 2}],
                "tokens": [262_144],
                "batch_tokens": [256],
                "learning_rates": [1e-3, 4e-3],
            },
        }
    )
    full = 6 * FAR.params * FAR.tokens

    answer = prediction(law, FAR, spec=spec, budget_flops=0.5 * full)

    assert answer.confirmation.flops_per_run == pytest.approx(share * full, rel=1e-6)
    assert (answer.confirmation.affordable is None) == (share < 0.5)
    assert any("N counts every expert" in warning for warning in answer.warnings) == (share < 1)
