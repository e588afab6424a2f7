"""Confirmation at the target: what is run first and next, when it stops, and whether it keeps its word."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.confirmed_targets import LATTICE, TARGET, claims, target_world, worlds_of_one_law
from orchestrator.law import Law
from orchestrator.law.observations import point_array
from orchestrator.planner.confirming import CONFIRMED_PROBABILITY, NEAR, TargetRun, confirm


def predicted(law: Law) -> float:
    return law.predict(TARGET).learning_rate


def test_the_first_rate_is_the_one_expected_to_lose_least() -> None:
    law = target_world().law
    cost = law.excess_loss(point_array([TARGET]), np.array(LATTICE))

    found = confirm(law, TARGET, rates=LATTICE)

    assert found.rates[0] == LATTICE[int(np.argmin(cost))]
    assert found.best is None
    assert found.probability_best is None


def test_where_any_rate_may_be_run_the_first_is_the_predicted_one_within_a_few_per_cent() -> None:
    law = target_world().law
    assert confirm(law, TARGET).rates[0] == pytest.approx(predicted(law), rel=0.05)


@pytest.mark.parametrize("off", [-0.8, -0.4, 0.4, 0.8])
def test_it_walks_to_a_bottom_that_lies_elsewhere(off: float) -> None:
    world = target_world()
    truth = math.log(predicted(world.law)) + off - world.optimum

    trials = world.walk(truth)

    assert min(world.lost(trial.learning_rate, truth) for trial in trials) <= NEAR
    assert len(trials) <= 5


def test_one_low_loss_is_not_taken_for_the_bottom_where_the_loss_surface_is_off() -> None:
    world = target_world()
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
    world = target_world()
    centre = math.log(predicted(world.law))
    truth = centre + off - world.optimum
    trials = [world.trial(math.exp(centre + u), truth) for u in (-0.35, 0.35)]

    found = confirm(world.law, TARGET, trials=trials)

    assert math.log(found.rates[0] if found.rates else found.best or 0.0) == pytest.approx(
        centre + off, abs=0.2
    )


def test_it_stops_when_a_rate_is_surely_near_enough() -> None:
    world = target_world()
    found = confirm(world.law, TARGET, rates=LATTICE, trials=world.walk())

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
    world, lattice, trials = target_world(), LATTICE[first:last], list[TargetRun]()
    while asked := confirm(world.law, TARGET, rates=lattice, trials=trials).rates:
        assert set(asked) <= set(lattice)
        assert asked[0] not in {trial.learning_rate for trial in trials}
        trial = world.trial(asked[0], off)
        fell = diverges and math.log(asked[0]) > world.optimum + off + 0.2
        trials.append(TargetRun(learning_rate=asked[0], loss=None) if fell else trial)

    assert len(trials) <= len(lattice)


def test_a_run_that_diverged_sends_the_next_one_lower() -> None:
    law = target_world().law
    first = confirm(law, TARGET, rates=LATTICE).rates[0]

    found = confirm(law, TARGET, rates=LATTICE, trials=[TargetRun(learning_rate=first, loss=None)])

    assert found.best is None
    assert found.rates[0] < first


def test_the_order_of_the_runs_says_nothing() -> None:
    world = target_world()
    trials = [world.trial(rate) for rate in LATTICE[6:9]]
    there, back = (
        confirm(world.law, TARGET, rates=LATTICE, trials=order) for order in (trials, trials[::-1])
    )
    assert there.rates == back.rates
    assert there.probability_best == pytest.approx(back.probability_best)


@pytest.mark.parametrize("kind", ["laws of their own", "one law"])
def test_claims_hold_at_the_end_and_are_not_made_too_early(kind: str) -> None:
    """``benchmarks.confirmed_targets`` measures them over hundreds of worlds."""
    worlds = worlds_of_one_law(20) if kind == "one law" else [target_world(seed) for seed in range(20)]
    found = claims(worlds)

    assert found.probability_first <= found.first_is_near + 0.2
    assert found.probability_last == pytest.approx(found.last_is_near, abs=0.12)
    assert found.expected_runs == pytest.approx(found.runs, rel=0.3)
