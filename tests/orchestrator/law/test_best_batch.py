"""The best batch: recovered, bounded at edges, invariant, honest about what it does not know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.law.batch_cost import BestBatch
from orchestrator.law.best_batch import BatchLaw, batch_law, batch_to_ask, best_batch, best_tried
from tests.orchestrator.law.valleys import (
    BATCHES,
    EXPONENTS,
    best_batch_of,
    bowl,
    bowls_of,
    scaled,
    true_loss,
)

TARGET = (4e8, 1e11)


def law_of(bowls) -> BatchLaw:
    found = batch_law(bowls)
    assert isinstance(found, BatchLaw), found
    return found


def asked(bowls, place=TARGET) -> BestBatch:
    return law_of(bowls).at(*place)


def test_it_recovers_the_exponents_and_the_best_batch_beyond_the_runs() -> None:
    law = law_of(bowls_of())

    assert law.exponents == pytest.approx(EXPONENTS, abs=0.08)
    found = law.at(*TARGET)
    low, high = found.interval
    assert low < best_batch_of(*TARGET) < high
    assert found.batch_tokens == pytest.approx(best_batch_of(*TARGET), rel=0.25)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(60):
        random = np.random.default_rng(1000 + seed)
        shifts: dict[tuple[float, float], float] = {}

        def loss(n, d, b, shifts=shifts, random=random):
            shift = shifts.setdefault((n, d), random.normal(0.0, 0.15))
            return true_loss(n, d, b * np.exp(-shift))

        best = asked(bowls_of(seed=seed, loss=loss, scatter=4e-4), (2e8, 6e10))
        truth = np.log(best_batch_of(2e8, 6e10)) + random.normal(0.0, 0.15)
        held += abs(best.mean[0] - truth) < 1.96 * best.sd
    assert held >= 54


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.floats(1e-4, 1e4),
    params=st.floats(1e-4, 1e4),
    loss=st.floats(1e-2, 1e2),
    seed=st.integers(0, 99),
)
def test_units_of_tokens_params_and_loss_do_not_matter(tokens, params, loss, seed) -> None:
    bowls = bowls_of(seed=seed)
    plain = asked(bowls)
    other = asked(
        scaled(bowls, tokens=tokens, params=params, loss=loss), (TARGET[0] * params, TARGET[1] * tokens)
    )

    assert other.batch_tokens == pytest.approx(plain.batch_tokens * tokens, rel=1e-4)
    assert other.sd == pytest.approx(plain.sd, rel=1e-3)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(12 * 2)))
def test_the_order_of_the_bowls_does_not_matter_to_the_last_bit(order) -> None:
    bowls = bowls_of(sizes=(5e7, 1e8), horizons=(4e9, 2e10))
    plain, other = asked(bowls), asked([bowls[at] for at in order])

    assert (other.mean == plain.mean).all()
    assert (other.covariance == plain.covariance).all()


def test_the_interval_widens_with_the_distance_from_the_runs() -> None:
    law = law_of(bowls_of())

    for axis in range(2):
        places = [tuple(10.0**k if at == axis else 1.0 for at in range(2)) for k in range(4)]
        sds = [law.at(2e8 * n, 2.5e10 * d).sd for n, d in places]
        assert sds == sorted(sds)
        assert sds[-1] > 2 * sds[0]


def test_a_group_whose_best_batch_is_at_the_edge_bounds_the_answer() -> None:
    whole = bowls_of()
    cut = [
        b for b in whole if b.tokens < 2e10 or b.batch_tokens <= 262_144
    ]  # the best at 25 B tokens is above
    without = [b for b in whole if b.tokens < 2e10]
    place = (1e8, 2.5e10)

    at_edge, dropped = asked(cut, place), asked(without, place)

    assert at_edge.sd < dropped.sd
    assert at_edge.batch_tokens > 262_144
    low, high = at_edge.interval
    assert low < best_batch_of(*place) < high


def test_one_batch_has_no_best_and_is_the_one_asked_at() -> None:
    bowls = bowls_of(batches=(262_144.0,))

    assert (
        batch_law(bowls)
        == "All runs have one batch of 262\u00a0k tokens, so they do not show which batch is best."
    )
    assert batch_to_ask(bowls, *TARGET) == 262_144.0


def test_two_batches_have_no_best_and_the_better_one_is_asked_at() -> None:
    bowls = bowls_of(batches=(262_144.0, 2_097_152.0))

    reason = batch_law(bowls)

    assert isinstance(reason, str)
    assert "3 batches or more" in reason
    assert batch_to_ask(bowls, *TARGET) == 262_144.0


@pytest.mark.parametrize(
    ("batches", "end"), [((*BATCHES[:2], 98_304.0), "largest"), (BATCHES[-3:], "smallest")]
)
def test_a_table_that_ends_before_the_best_batch_gives_a_bound(batches, end) -> None:
    def loss(n, d, b):
        return true_loss(n, d, b * (0.1 if end == "largest" else 10))

    reason = batch_law(bowls_of(batches=batches, loss=loss))

    assert isinstance(reason, str)
    assert f"the {end} batch tried loses least" in reason


def test_groups_of_two_batches_take_part_beside_larger_ones() -> None:
    bowls = bowls_of()
    pairs = bowls_of(sizes=(8e8,), horizons=(1e11,), batches=(1_048_576.0, 2_097_152.0))
    place = (8e8, 1e11)

    assert asked([*bowls, *pairs], place).sd < asked(bowls, place).sd


def test_a_target_that_nothing_bears_on_is_told_so_and_asked_at_the_best_tried() -> None:
    bowls = bowls_of(sizes=(1e8,), horizons=(1e10,))
    far = (1e12, 1e14)

    reason = best_batch(bowls, *far)

    assert isinstance(reason, str)
    assert "×/÷ 10" in reason
    assert batch_to_ask(bowls, *far) == best_tried(bowls, *far) == 524_288.0


def test_bowls_without_a_loss_are_left_out() -> None:
    bowls = bowls_of()
    lost = [bowl((n, 1e12, 1e6), None) for n in (1e7, 1e8)]

    assert (asked([*bowls, *lost]).mean == asked(bowls).mean).all()
    assert isinstance(batch_law(lost), str)


def test_an_outlier_hardly_moves_the_answer() -> None:
    bowls = bowls_of()
    assert bowls[20].loss is not None
    spoilt = [replace(b, loss=1.02 * b.loss) if at == 20 and b.loss else b for at, b in enumerate(bowls)]

    assert asked(spoilt).batch_tokens == pytest.approx(asked(bowls).batch_tokens, rel=0.1)


def test_costs_rise_from_the_best_batch_and_their_interval_holds_the_truth() -> None:
    best = asked(bowls_of())
    batches = best.batch_tokens * 2.0 ** np.arange(-3, 4)

    expected, low, high = best.excess_loss(batches)

    truth = [true_loss(*TARGET, b) / true_loss(*TARGET, best_batch_of(*TARGET)) - 1 for b in batches]
    assert (np.diff(expected[:4]) < 0).all()
    assert (np.diff(expected[3:]) > 0).all()
    assert (low <= truth).all()
    assert (truth <= high).all()
    assert expected[3] < 0.001


def test_the_largest_batch_within_a_cost_has_that_expected_cost() -> None:
    best = asked(bowls_of())

    for allowed in (0.005, 0.01):
        largest = best.largest_within(allowed)
        assert largest is not None
        assert largest > best.batch_tokens
        assert best.excess_loss(np.array([largest]))[0][0] == pytest.approx(allowed, rel=1e-6)


def test_where_the_best_batch_is_uncertain_no_batch_is_within_a_small_cost() -> None:
    certain = asked(bowls_of())
    vague = BestBatch(mean=certain.mean, covariance=certain.covariance + np.diag([2.0, 0.0, 0.0]))

    assert vague.largest_within(0.005) is None
    assert vague.vague


@pytest.mark.parametrize("tokens", [1.0, 1e3, 1e16])
def test_costs_far_from_steep_runs_are_numbers(tokens) -> None:
    def steep(n, d, b):
        return 2 * float(np.exp(0.2 * np.log(b / 2.7e5 / (d / 1e10) ** 0.4) ** 2))

    expected, low, high = law_of(bowls_of(loss=steep)).at(1e8, tokens).excess_loss(2.0 ** np.arange(50))

    assert np.isfinite([expected, low, high]).all()
    assert (low <= high).all()


def test_the_only_size_has_its_shift_in_the_level() -> None:
    law = law_of(bowls_of(sizes=(1e8,)))
    same, other = (law.at(params, 6e10).covariance[0, 0] for params in (1e8, 1.02e8))

    assert other - same == pytest.approx(law.size_variance, rel=0.05)
