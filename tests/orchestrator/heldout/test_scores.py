"""Scores recover what is known of a synthetic held-out scale, and their standard errors are right."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.heldout.reference import reference
from orchestrator.heldout.scores import Score, by_name, scored
from orchestrator.heldout.values import Outcome
from orchestrator.law import BowlStatus
from orchestrator.spec import CellRole
from tests.orchestrator.heldout.world import EXPECTED, HeldOut

DRAWS = 60


def scores_of(world: HeldOut, draw: int) -> dict[str, Score]:
    outcomes = world.outcomes(draw)
    return dict(by_name(scored(world.contenders, outcomes, reference(outcomes, EXPECTED))))


@pytest.fixture(scope="module")
def drawn() -> list[dict[str, Score]]:
    return [scores_of(HeldOut(), draw) for draw in range(DRAWS)]


@pytest.mark.parametrize("name", ["Fitting", "Transfer", "the same rate", "Zhou", "Step Law"])
def test_the_excess_loss_is_found_within_its_standard_error(name: str, drawn: list[dict[str, Score]]) -> None:
    truth = HeldOut().excess_loss(name)
    estimates = [estimate for scores in drawn if (estimate := scores[name].excess_loss) is not None]
    off = np.array([(estimate.value - truth) / estimate.standard_error for estimate in estimates])
    assert len(off) == DRAWS
    assert abs(off.mean()) < 0.4
    assert 0.5 < math.sqrt(np.square(off).mean()) < 1.2  # the bowl allows for a misfit that this world lacks


@pytest.mark.parametrize("name", ["Transfer", "the same rate", "Zhou"])
def test_the_paired_difference_has_the_standard_error_that_repetition_shows(
    name: str, drawn: list[dict[str, Score]]
) -> None:
    world = HeldOut()
    truth = (1 + world.excess_loss(name)) / (1 + world.excess_loss("Fitting")) - 1
    estimates = [estimate for scores in drawn if (estimate := scores[name].difference) is not None]
    off = np.array([(estimate.value - truth) / estimate.standard_error for estimate in estimates])
    assert len(off) == DRAWS
    assert 0.75 < math.sqrt(np.square(off).mean()) < 1.25
    assert np.mean([abs(estimate.value - truth) <= estimate.reach for estimate in estimates]) > 0.88


def test_what_seeds_share_cancels() -> None:
    calm, restless = HeldOut(seed_sd=0.0), HeldOut(seed_sd=0.05)
    for name in ("Transfer", "Zhou"):
        one, other = scores_of(calm, 5)[name], scores_of(restless, 5)[name]
        assert one.difference is not None
        assert other.difference is not None
        assert one.excess_loss is not None
        assert other.excess_loss is not None
        assert other.difference.value == pytest.approx(one.difference.value, abs=1e-9)
        assert other.excess_loss.value == pytest.approx(one.excess_loss.value, abs=1e-4)


def test_more_seeds_are_sharper() -> None:
    few, many = scores_of(HeldOut(seeds=2), 1)["Transfer"], scores_of(HeldOut(seeds=12), 1)["Transfer"]
    assert few.difference is not None
    assert many.difference is not None
    assert many.difference.standard_error < 0.7 * few.difference.standard_error


def test_one_seed_has_the_standard_error_of_the_noise_between_rates() -> None:
    score = scores_of(HeldOut(seeds=1), 3)["Transfer"]
    assert score.difference is not None
    assert score.difference.standard_error == pytest.approx(math.sqrt(2) * EXPECTED.noise, rel=0.1)


def test_a_contender_that_diverged_has_no_number() -> None:
    world = HeldOut()
    outcomes = world.outcomes(0)
    place = (CellRole.STANDARD, world.rates["Step Law"], "")
    outcomes[place] = Outcome(losses={0: 2.0, 2: 2.1}, diverged=(1,))
    score = by_name(scored(world.contenders, outcomes, reference(outcomes, EXPECTED)))["Step Law"]
    assert score.has_diverged
    assert score.excess_loss is None
    assert score.difference is None


def test_fitting_is_not_compared_with_itself_nor_with_who_shares_its_runs() -> None:
    world = HeldOut()
    twin = replace(world.contenders[0], name="Bjorck")
    outcomes = world.outcomes(0)
    found = by_name(scored((*world.contenders, twin), outcomes, reference(outcomes, EXPECTED)))
    assert found["Fitting"].difference is None
    assert found["Bjorck"].difference is None
    assert found["Bjorck"].excess_loss == found["Fitting"].excess_loss


def test_the_bowl_finds_the_best_loss_and_rate() -> None:
    world = HeldOut(seeds=8)
    best = reference(world.outcomes(4), EXPECTED)
    assert best is not None
    assert best.status is BowlStatus.INTERIOR
    mean = world.loss * math.exp(
        float(np.mean(np.random.default_rng(4).normal(0, world.seed_sd, world.seeds)))
    )
    assert best.loss == pytest.approx(mean, rel=1.5e-3)
    assert best.low < world.optimum < best.high
    assert 0.5 < best.noise / world.noise < 1.7


def test_a_rate_that_diverges_bounds_the_bowl_and_is_no_point_of_it() -> None:
    world = HeldOut(rates={"Fitting": 3.5e-3})
    outcomes = world.outcomes(2)
    outcomes[CellRole.STANDARD, 1.6e-2, ""] = Outcome(diverged=(0, 1, 2))
    best = reference(outcomes, EXPECTED)
    assert best is not None
    assert 1.6e-2 not in best.weights
    assert best.low < 4e-3 < best.high


def test_without_a_minimum_among_the_rates_the_best_run_stands_for_it() -> None:
    world = HeldOut(optimum=1e-4, rates={"Fitting": 3.5e-3})
    best = reference(world.outcomes(1), EXPECTED)
    assert best is not None
    assert best.status is BowlStatus.EDGE_LOW
    assert best.learning_rate == min(world.reference)


def test_module_rates_and_transfer_are_no_points_of_the_bowl() -> None:
    outcomes = HeldOut().outcomes(0)
    before = reference(outcomes, EXPECTED)
    outcomes[CellRole.STANDARD, 4e-3, "head=4"] = Outcome(losses={0: 1.0, 1: 1.0, 2: 1.0})
    outcomes[CellRole.TRANSFER, 8e-3, ""] = Outcome(losses={0: 1.0, 1: 1.0, 2: 1.0})
    assert reference(outcomes, EXPECTED) == before


def test_nothing_that_completed_is_no_bowl() -> None:
    assert reference({(CellRole.STANDARD, 1e-3, ""): Outcome(diverged=(0,))}, EXPECTED) is None
