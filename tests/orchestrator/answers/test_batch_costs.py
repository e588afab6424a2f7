"""The batch in a prediction: the best one, what others cost, and the one that a target without a batch is asked at."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.answers.batch_costs import offered_batches
from orchestrator.answers.prediction import prediction
from orchestrator.law import Law, fit
from tests.known_law import FAST, LARGE, runs_of
from tests.orchestrator.law.valleys import BATCHES, best_batch_of, true_loss

N, D = 3e8, 2e10


def law_of(batches=BATCHES, sizes=(1e8, 2e8)) -> Law:
    known = replace(
        LARGE,
        bottom=lambda at: np.vectorize(true_loss)(at.params, at.tokens, at.batch_tokens),
    )
    return fit(runs_of(known, sizes=sizes, horizons=(4e9, 1e10), batches=batches), options=FAST)


@pytest.fixture(scope="module")
def law() -> Law:
    return law_of()


def asked(law: Law, batch_tokens: float | None = None, params: float = N, tokens: float = D):
    return prediction(law, law.completed(params=params, tokens=tokens, batch_tokens=batch_tokens))


def codes(answer) -> set[str]:
    return {notice.code for notice in answer.notices}


def test_a_target_without_a_batch_is_asked_at_the_best_one(law: Law) -> None:
    answer = asked(law)

    assert answer.target.batch_tokens == answer.batch.best
    assert answer.batch.interval.low < best_batch_of(N, D) < answer.batch.interval.high
    assert answer.batch.reason is None
    assert answer.batch == asked(law, 65_536.0).batch


def test_a_batch_that_is_given_is_kept(law: Law) -> None:
    assert asked(law, 65_536.0).target.batch_tokens == 65_536.0


def test_the_choices_are_the_batches_tried_and_a_power_of_two_beyond(law: Law) -> None:
    choices = asked(law).batch.choices

    assert [choice.batch_tokens for choice in choices] == [32_768.0, *BATCHES, 4_194_304.0]
    for choice in choices:
        assert choice.low <= choice.excess_loss <= choice.high
        own = asked(law, choice.batch_tokens)
        assert choice.learning_rate == pytest.approx(own.learning_rate)


@pytest.mark.parametrize(
    ("tried", "offered"),
    [
        ([2048.0], [1024.0, 2048.0, 4096.0]),
        ([3000.0, 10_000.0], [2048.0, 3000.0, 4096.0, 8192.0, 10_000.0, 16_384.0]),
        ([65_536.0, 262_144.0], [32_768.0, 65_536.0, 131_072.0, 262_144.0, 524_288.0]),
        ([1.0, 2.0], [1.0, 2.0, 4.0]),
    ],
)
def test_powers_of_two_stand_between_the_batches_tried_and_one_beyond(tried, offered) -> None:
    assert offered_batches(np.array(tried)) == offered


def test_the_largest_batches_that_cost_little_lie_above_the_best(law: Law) -> None:
    batch = asked(law).batch
    half, one = batch.largest_within

    assert (half.excess_loss, one.excess_loss) == (0.005, 0.01)
    assert batch.best < half.batch_tokens < one.batch_tokens


def test_the_best_batch_and_the_largest_that_cost_little_carry_their_rates(law: Law) -> None:
    batch = asked(law).batch
    rates = {batch.best: batch.learning_rate} | {
        w.batch_tokens: w.learning_rate for w in batch.largest_within
    }

    for batch_tokens, learning_rate in rates.items():
        assert learning_rate == pytest.approx(asked(law, batch_tokens).learning_rate)


def test_a_best_batch_outside_those_tried_is_reported(law: Law) -> None:
    far = asked(law_of(batches=BATCHES[1:4]), tokens=5e10)
    assert far.batch.best > BATCHES[3]
    assert "batch_outside" in codes(far)
    assert "batch_outside" not in codes(asked(law))


def test_where_one_batch_was_tried_the_target_is_asked_there_with_its_warning() -> None:
    answer = asked(law_of(batches=(262_144.0,)))

    assert answer.target.batch_tokens == 262_144.0
    assert answer.batch.best is None
    assert answer.batch.choices == []
    assert "one batch" in answer.batch.reason
    assert "single_value" in codes(answer)


def test_where_two_batches_were_tried_the_reason_names_the_one_asked_at() -> None:
    answer = asked(law_of(batches=(262_144.0, 2_097_152.0)))

    assert answer.batch.best is None
    assert answer.target.batch_tokens == 262_144.0
    assert "3 batches or more" in answer.batch.reason
    assert "262" in answer.batch.reason


def test_the_expected_loss_lies_in_its_interval_and_so_does_the_truth(law: Law) -> None:
    for batch_tokens in (131_072.0, 524_288.0):
        answer = asked(law, batch_tokens)
        interval = answer.expected_loss_interval
        assert interval.low < answer.expected_loss < interval.high
        assert interval.low < true_loss(N, D, batch_tokens) < interval.high


def test_where_the_loss_is_unknown_it_has_no_interval() -> None:
    one_size = law_of(sizes=(1e8,))
    answer = asked(one_size, 262_144.0, params=2e8)
    assert answer.expected_loss is None
    assert answer.expected_loss_interval is None


def test_a_law_read_again_gives_the_same_batch_to_the_last_bit(law: Law) -> None:
    again = Law.from_document(law.to_document())
    assert asked(again) == asked(law)
    assert math.isfinite(asked(again).batch.best)
