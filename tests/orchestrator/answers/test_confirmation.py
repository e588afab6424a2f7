"""The confirmation that a prediction offers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from benchmarks.confirmed_targets import TARGET, target_world
from orchestrator.answers.confirmation import confirmation
from orchestrator.answers.prediction import prediction
from orchestrator.cells import Point
from orchestrator.law import Observations, fit

RUN = 6 * TARGET.params * TARGET.tokens


def tried(*rates: float) -> Observations:
    """The sweep's runs, and some at the target."""
    return target_world().with_runs(TARGET, [target_world().trial(rate) for rate in rates])


def test_where_nothing_ran_the_predicted_rate_is_first() -> None:
    answer = prediction(target_world().law, TARGET)
    offer = answer.confirmation

    assert offer.learning_rates[0] == pytest.approx(answer.learning_rate, rel=0.05)
    assert offer.flops_per_run == RUN
    assert 0.5 < offer.probability_first < 1
    assert 1 <= offer.expected_runs < offer.expected_runs_until_sure < 4
    assert offer.best is None
    assert offer.affordable is None
    assert "within 0.1" in offer.reason
    assert offer.reason.endswith(
        "Runs expected at the target: 1.7 until one is that close, 2.6 until one is known to be with probability 0.9."
    )


def test_runs_until_sure_are_reported_once_if_they_are_no_more() -> None:
    near = target_world().law.bowls[-1]
    place = Point(params=near.params, tokens=1.2 * near.tokens, batch_tokens=near.batch_tokens)

    offer = prediction(target_world().law, place).confirmation

    assert offer.expected_runs == offer.expected_runs_until_sure == pytest.approx(1)
    assert offer.reason.endswith("until one is that close, and known to be with probability 0.9: 1.0.")


def test_runs_at_the_target_settle_it() -> None:
    at = target_world().optimum
    runs = tried(*np.exp([at - 0.4, at, at + 0.4]).tolist())

    offer = prediction(fit(runs), TARGET, runs=lambda: runs).confirmation

    assert offer.learning_rates == []
    assert offer.expected_runs == 0
    assert offer.best.learning_rate == pytest.approx(np.exp(at))
    assert offer.best.probability >= 0.9
    assert offer.reason.endswith("No further run is needed.")


def test_one_run_far_off_asks_for_another() -> None:
    runs = tried(float(np.exp(target_world().optimum + 1.0)))

    offer = prediction(fit(runs), TARGET, runs=lambda: runs).confirmation

    assert offer.best.probability < 0.2
    assert np.log(offer.learning_rates[0]) < target_world().optimum + 0.6


def test_a_target_without_its_runs_gives_a_sentence() -> None:
    law = fit(tried(2e-3))

    offer = prediction(law, TARGET).confirmation

    assert (offer.learning_rates, offer.expected_runs) == ([], None)
    assert "runs of its own" in offer.reason


def test_where_the_target_is_all_that_is_known_nothing_is_promised() -> None:
    runs = target_world().runs
    place = Point(
        params=float(runs.params[0]), tokens=float(runs.tokens[0]), batch_tokens=float(runs.batch_tokens[0])
    )
    one = runs.where((runs.params == place.params) & (runs.tokens == place.tokens))

    offer = prediction(fit(one), place, runs=lambda: one).confirmation

    assert offer.expected_runs is None
    assert "the others give no law" in offer.reason


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_cell_to_run_instead_is_named_where_the_target_costs_more_than_may_be_spent(share: float) -> None:
    ask = partial(prediction, target_world().law, TARGET, runs=lambda: target_world().runs)
    instead = ask(budget_flops=share * RUN).confirmation.affordable

    if share >= 1:
        assert instead is None
    else:
        assert instead.flops <= share * RUN
        assert 1 < instead.interval_factor_after < instead.interval_factor_before


@pytest.mark.parametrize(
    ("at_target", "budget", "reads"),
    [(False, None, 0), (False, 2, 0), (False, 0.5, 1), (True, None, 1), (True, 0.5, 1)],
)
def test_runs_are_read_once_and_only_where_they_are_needed(
    at_target: bool, budget: float | None, reads: int
) -> None:
    known = tried(float(np.exp(target_world().optimum))) if at_target else target_world().runs
    read: list[Observations] = []

    def runs() -> Observations:
        read.append(known)
        return known

    confirmation(fit(known), TARGET, runs=runs, budget_flops=None if budget is None else budget * RUN)

    assert len(read) == reads
