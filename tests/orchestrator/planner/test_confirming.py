"""Confirmation at the target: what is run first and next, when it stops, and whether it keeps its word."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from orchestrator.law import Law
from orchestrator.law.observations import point_array
from orchestrator.planner.confirming import CONFIRMED_PROBABILITY, NEAR, TargetRun, confirm
from tests.orchestrator.planner.target_world import (
    LATTICE,
    TARGET,
    TargetWorld,
    sweep,
)


def walk(world: TargetWorld, off: float = 0.0, rates: tuple[float, ...] | None = LATTICE) -> list[TargetRun]:
    """Confirm until nothing more is asked for."""
    trials: list[TargetRun] = []
    while (asked := confirm(world.law, TARGET, rates=rates, trials=trials).rates) and len(trials) < 15:
        trials.append(world.trial(asked[0], off))
    return trials


def runs_until_near(world: TargetWorld) -> int:
    """Runs until one is within 0.1 %, stopped by an observer who knows the truth."""
    trials: list[TargetRun] = []
    while not any(world.lost(trial.learning_rate) <= NEAR for trial in trials):
        trials.append(
            world.trial(confirm(world.law, TARGET, rates=LATTICE, trials=trials, sure=math.inf).rates[0])
        )
    return len(trials)


def predicted(law: Law) -> float:
    return law.predict(TARGET).learning_rate


def test_the_first_rate_is_the_one_expected_to_lose_least() -> None:
    law = sweep().law
    cost = law.excess_loss(point_array([TARGET]), np.array(LATTICE))

    found = confirm(law, TARGET, rates=LATTICE)

    assert found.rates[0] == LATTICE[int(np.argmin(cost))]
    assert found.best is None
    assert found.probability_best is None


def test_where_any_rate_may_be_run_the_first_is_the_predicted_one_within_a_few_per_cent() -> None:
    law = sweep().law
    assert confirm(law, TARGET).rates[0] == pytest.approx(predicted(law), rel=0.05)


@pytest.mark.parametrize("off", [-0.8, -0.4, 0.4, 0.8])
def test_it_walks_to_a_bottom_that_lies_elsewhere(off: float) -> None:
    world = sweep()
    truth = math.log(predicted(world.law)) + off - world.optimum

    trials = walk(world, truth)

    assert min(world.lost(trial.learning_rate, truth) for trial in trials) <= NEAR
    assert len(trials) <= 5


def test_one_low_loss_is_not_taken_for_the_bottom_where_the_loss_surface_is_off() -> None:
    world = sweep()
    first = confirm(world.law, TARGET, rates=LATTICE)
    expected = world.law.predict(TARGET).expected_loss
    assert expected is not None
    assert first.probability_first is not None

    after = confirm(
        world.law,
        TARGET,
        rates=LATTICE,
        trials=[TargetRun(learning_rate=first.rates[0], loss=0.96 * expected)],
    )

    assert after.probability_best == pytest.approx(first.probability_first, abs=0.03)


@pytest.mark.parametrize("off", [-0.4, 0.4])
def test_two_runs_show_on_which_side_the_bottom_is(off: float) -> None:
    world = sweep()
    centre = math.log(predicted(world.law))
    truth = centre + off - world.optimum
    trials = [world.trial(math.exp(centre + u), truth) for u in (-0.35, 0.35)]

    found = confirm(world.law, TARGET, trials=trials)

    assert math.log(found.rates[0] if found.rates else found.best or 0.0) == pytest.approx(
        centre + off, abs=0.2
    )


def test_it_stops_when_a_rate_is_surely_near_enough() -> None:
    world = sweep()
    found = confirm(world.law, TARGET, rates=LATTICE, trials=walk(world))

    assert found.rates == ()
    assert found.probability_first is None
    assert (found.expected_runs, found.expected_runs_until_sure) == (0.0, 0.0)
    assert found.probability_best is not None
    assert found.probability_best >= CONFIRMED_PROBABILITY
    assert found.best is not None
    assert world.lost(found.best) <= NEAR


@settings(max_examples=25, deadline=None)
@given(off=st.floats(-1.0, 1.0), first=st.integers(0, 12), last=st.integers(13, 19), diverges=st.booleans())
def test_no_rate_comes_twice_or_from_outside_the_lattice(
    off: float, first: int, last: int, *, diverges: bool
) -> None:
    world, lattice, trials = sweep(), LATTICE[first:last], list[TargetRun]()
    while asked := confirm(world.law, TARGET, rates=lattice, trials=trials).rates:
        assert set(asked) <= set(lattice)
        assert asked[0] not in {trial.learning_rate for trial in trials}
        trial = world.trial(asked[0], off)
        fell = diverges and math.log(asked[0]) > world.optimum + off + 0.2
        trials.append(TargetRun(learning_rate=asked[0], loss=None) if fell else trial)

    assert len(trials) <= len(lattice)


def test_a_run_that_diverged_sends_the_next_one_lower() -> None:
    law = sweep().law
    first = confirm(law, TARGET, rates=LATTICE).rates[0]

    found = confirm(law, TARGET, rates=LATTICE, trials=[TargetRun(learning_rate=first, loss=None)])

    assert found.best is None
    assert found.rates[0] < first


def test_the_same_question_has_the_same_answer() -> None:
    world = sweep()
    trials = [world.trial(LATTICE[7])]
    assert confirm(world.law, TARGET, rates=LATTICE, trials=trials) == confirm(
        world.law, TARGET, rates=LATTICE, trials=trials
    )


def test_the_order_of_the_runs_says_nothing() -> None:
    world = sweep()
    trials = [world.trial(rate) for rate in LATTICE[6:9]]
    there, back = (
        confirm(world.law, TARGET, rates=LATTICE, trials=order) for order in (trials, trials[::-1])
    )
    assert there.rates == back.rates
    assert there.probability_best == pytest.approx(back.probability_best)


def test_claims_hold_at_the_end_and_are_not_made_too_early_in_200_worlds() -> None:
    worlds = [sweep(seed) for seed in range(200)]
    first = [confirm(world.law, TARGET, rates=LATTICE) for world in worlds]
    walks = [walk(world) for world in worlds]
    last = [
        confirm(world.law, TARGET, rates=LATTICE, trials=trials)
        for world, trials in zip(worlds, walks, strict=True)
    ]
    near = [world.lost(found.rates[0]) <= NEAR for world, found in zip(worlds, first, strict=True)]
    right = [world.lost(found.best or 1.0) <= NEAR for world, found in zip(worlds, last, strict=True)]

    assert np.mean([found.probability_first for found in first]) <= np.mean(near) + 0.04
    assert np.mean([found.probability_best for found in last]) == pytest.approx(np.mean(right), abs=0.04)
    assert np.mean([found.expected_runs_until_sure for found in first]) == pytest.approx(
        np.mean([len(trials) for trials in walks]), rel=0.12
    )


def test_probabilities_and_forecasts_are_right_where_the_law_is() -> None:
    """200 targets, spread evenly over what one law believes."""
    law, random = sweep().law, np.random.default_rng(1)
    point = point_array([TARGET])
    mean, sd = (float(value[0]) for value in law.prediction_band(point))
    level = float(law.surface.at(law.reference.coordinates(point))[0][0])
    worlds = [
        TargetWorld(
            known=sweep().known,
            law=law,
            optimum=mean + sd * float(at),
            bottom=math.exp(random.normal(level, 5e-3)),
            seed=seed,
        )
        for seed, at in enumerate(ndtri((np.arange(200) + 0.5) / 200))
    ]

    first = confirm(law, TARGET, rates=LATTICE)
    until_near = [runs_until_near(world) for world in worlds]
    walks = [walk(world) for world in worlds]
    ends = [confirm(law, TARGET, rates=LATTICE, trials=trials).best or 1.0 for trials in walks]

    assert np.mean([runs == 1 for runs in until_near]) == pytest.approx(first.probability_first, abs=0.06)
    assert np.mean(until_near) == pytest.approx(first.expected_runs, abs=0.12)
    assert np.mean([len(trials) for trials in walks]) == pytest.approx(
        first.expected_runs_until_sure, rel=0.1
    )
    assert (
        np.mean([world.lost(end) <= NEAR for world, end in zip(worlds, ends, strict=True)])
        >= CONFIRMED_PROBABILITY
    )
