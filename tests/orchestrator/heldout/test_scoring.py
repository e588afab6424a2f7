"""Scores recover the truth of a synthetic held-out scale with honest standard errors; a verdict follows from them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.heldout.reference_bowl import ReferenceBowl, reference_bowl
from orchestrator.heldout.run_groups import GroupResult, RunGroup
from orchestrator.heldout.scoring import ContenderScore, contender_scores, verdict
from orchestrator.law import BowlStatus
from orchestrator.spec import CellRole
from tests.orchestrator.heldout.world import EXPECTED, HeldOut

DRAWS = 60


def scores_of(world: HeldOut, draw: int) -> dict[str, ContenderScore]:
    results = world.results(draw)
    return contender_scores(world.contenders, results, reference_bowl(results, EXPECTED))


@pytest.fixture(scope="module")
def drawn() -> list[dict[str, ContenderScore]]:
    return [scores_of(HeldOut(), draw) for draw in range(DRAWS)]


@pytest.mark.parametrize("name", ["Fitting", "Transfer", "the same rate", "Zhou", "Step Law"])
def test_the_excess_loss_is_found_within_its_standard_error(
    name: str, drawn: list[dict[str, ContenderScore]]
) -> None:
    truth = HeldOut().excess_loss(name)
    estimates = [estimate for scores in drawn if (estimate := scores[name].excess_loss) is not None]
    off = np.array([(estimate.value - truth) / estimate.standard_error for estimate in estimates])
    assert len(off) == DRAWS
    assert abs(off.mean()) < 0.4
    assert 0.5 < math.sqrt(np.square(off).mean()) < 1.2  # the bowl allows for a misfit that this world lacks


@pytest.mark.parametrize("name", ["Transfer", "the same rate", "Zhou"])
def test_the_paired_difference_has_the_standard_error_that_repetition_shows(
    name: str, drawn: list[dict[str, ContenderScore]]
) -> None:
    world = HeldOut()
    truth = (1 + world.excess_loss(name)) / (1 + world.excess_loss("Fitting")) - 1
    estimates = [estimate for scores in drawn if (estimate := scores[name].difference) is not None]
    off = np.array([(estimate.value - truth) / estimate.standard_error for estimate in estimates])
    assert len(off) == DRAWS
    assert 0.75 < math.sqrt(np.square(off).mean()) < 1.25
    assert np.mean([abs(estimate.value - truth) <= estimate.half_width for estimate in estimates]) > 0.88


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
    results = world.results(0)
    group = RunGroup(CellRole.STANDARD, world.rates["Step Law"])
    results[group] = GroupResult(losses={0: 2.0, 2: 2.1}, diverged=(1,))
    score = contender_scores(world.contenders, results, reference_bowl(results, EXPECTED))["Step Law"]
    assert score.has_diverged
    assert score.excess_loss is None
    assert score.difference is None


def test_fitting_is_not_compared_with_itself_nor_with_contenders_that_share_its_runs() -> None:
    world = HeldOut()
    twin = world.contenders[0].model_copy(update={"name": "Bjorck"})
    results = world.results(0)
    found = contender_scores((*world.contenders, twin), results, reference_bowl(results, EXPECTED))
    assert found["Fitting"].difference is None
    assert found["Bjorck"].difference is None
    assert found["Bjorck"].excess_loss == found["Fitting"].excess_loss


def test_the_bowl_finds_the_best_loss_and_rate() -> None:
    world = HeldOut(seeds=8)
    best = reference_bowl(world.results(4), EXPECTED)
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
    results = world.results(2)
    results[RunGroup(CellRole.STANDARD, 1.6e-2)] = GroupResult(diverged=(0, 1, 2))
    best = reference_bowl(results, EXPECTED)
    assert best is not None
    assert 1.6e-2 not in best.weights
    assert best.low < 4e-3 < best.high


def test_the_excess_loss_of_equal_runs_is_over_the_bottom_without_the_effects_of_seeds() -> None:
    world = HeldOut(seeds=8)
    results = world.results(4)
    bowl = reference_bowl(results, EXPECTED)
    assert bowl is not None
    far = results[RunGroup(CellRole.STANDARD, max(world.reference))].losses
    excess, of_one = bowl.excess_loss(far), bowl.excess_loss({0: far[0]})
    assert excess is not None
    assert of_one == pytest.approx(excess, abs=5e-3)
    assert excess > 0
    assert bowl.excess_loss({}) is None


def test_without_a_minimum_among_the_rates_the_best_run_stands_for_it() -> None:
    world = HeldOut(optimum=1e-4, rates={"Fitting": 3.5e-3})
    best = reference_bowl(world.results(1), EXPECTED)
    assert best is not None
    assert best.status is BowlStatus.EDGE_LOW
    assert best.learning_rate == min(world.reference)


def test_module_rates_and_transfer_are_no_points_of_the_bowl() -> None:
    results = HeldOut().results(0)
    before = reference_bowl(results, EXPECTED)
    results[RunGroup(CellRole.STANDARD, 4e-3, "head=4")] = GroupResult(losses={0: 1.0, 1: 1.0, 2: 1.0})
    results[RunGroup(CellRole.TRANSFER, 8e-3)] = GroupResult(losses={0: 1.0, 1: 1.0, 2: 1.0})
    assert reference_bowl(results, EXPECTED) == before


def test_nothing_that_completed_is_no_bowl() -> None:
    assert reference_bowl({RunGroup(CellRole.STANDARD, 1e-3): GroupResult(diverged=(0,))}, EXPECTED) is None


def judged(world: HeldOut, draw: int = 0) -> tuple[ContenderScore, ContenderScore, ReferenceBowl]:
    results = world.results(draw)
    best = reference_bowl(results, EXPECTED)
    assert best is not None
    scores = contender_scores(world.contenders, results, best)
    return scores["Fitting"], scores["Transfer"], best


def test_a_paradigm_that_loses_less_beyond_noise_is_trusted() -> None:
    near = HeldOut(rates={"Fitting": 4.2e-3}, noise=3e-4)
    sentence = verdict(*judged(near)).replace("\u00a0", " ")
    assert sentence.startswith("Trust Fitting here: Transfer loses 0.")
    assert "; Fitting's rate is within ×/÷ 1.0" in sentence
    far = HeldOut(rates={"Fitting": 1.2e-2}, noise=3e-4)
    assert verdict(*judged(far)).startswith("Trust Transfer here: Fitting loses ")


def test_a_difference_within_noise_is_called_so() -> None:
    even = HeldOut(rates={"Fitting": 5.8e-3}, noise=3e-3)
    assert verdict(*judged(even)).endswith("is within noise: either may be trusted here.")


@pytest.mark.parametrize(
    ("fitting", "transfer", "sentence"),
    [
        ((1,), (), "Trust Transfer here: Fitting diverged in 1 of 3 seeds."),
        ((), (0, 2), "Trust Fitting here: Transfer diverged in 2 of 3 seeds."),
        ((0,), (0,), "Trust neither paradigm here: both diverged."),
    ],
)
def test_divergence_comes_before_any_number(
    fitting: tuple[int, ...], transfer: tuple[int, ...], sentence: str
) -> None:
    one, other, best = judged(HeldOut())

    def with_diverged(score: ContenderScore, seeds: tuple[int, ...]) -> ContenderScore:
        losses = {seed: loss for seed, loss in score.result.losses.items() if seed not in seeds}
        return replace(score, result=GroupResult(losses=losses, diverged=seeds))

    assert verdict(with_diverged(one, fitting), with_diverged(other, transfer), best) == sentence


def test_a_paradigm_that_never_ran_is_not_trusted_because_the_other_diverged() -> None:
    fitting, transfer, best = judged(HeldOut())
    lost = replace(transfer, difference=None, result=GroupResult())
    diverged = replace(fitting, result=GroupResult(diverged=(0, 1, 2)))
    assert verdict(diverged, lost, best) == (
        "Trust neither paradigm here: Fitting diverged in 3 of 3 seeds, and no run of Transfer completed."
    )


def test_without_numbers_nothing_is_claimed() -> None:
    fitting, transfer, best = judged(HeldOut())
    assert verdict(fitting, transfer, None).startswith("No run in standard parametrization completed")
    lost = replace(transfer, difference=None, result=GroupResult())
    assert verdict(fitting, lost, best).endswith("so the two cannot be compared.")


def test_a_reference_without_a_minimum_is_no_reason() -> None:
    fitting, transfer, best = judged(HeldOut(rates={"Fitting": 4.2e-3}, noise=3e-4))
    edge = replace(best, status=BowlStatus.EDGE_LOW)
    assert verdict(fitting, transfer, edge).endswith(
        "though the reference bowl has no minimum among the rates that were run."
    )
