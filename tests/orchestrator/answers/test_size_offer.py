"""The further size that a prediction offers, and a refusal names."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from orchestrator.answers.prediction import prediction
from orchestrator.cells import Point
from orchestrator.documents.predictions import FurtherSizeDocument
from orchestrator.errors import Refused
from orchestrator.law import Law, fit
from tests.known_law import FAST, runs_of

SIZES = (1e8, 2e8, 4e8)
FAR = Point(params=6.4e9, tokens=2.5e10, batch_tokens=262_144.0)


@pytest.fixture(scope="module")
def law() -> Law:
    return fit(runs_of(sizes=SIZES), options=FAST)


@pytest.fixture(scope="module")
def small() -> Law:
    """A law of one size."""
    return fit(runs_of(sizes=SIZES[:1]), options=FAST)


def refusal(law: Law, target: Point, **given: object) -> Refused:
    with pytest.raises(Refused) as caught:
        prediction(law, target, **given)
    return caught.value


def test_the_offer_says_what_it_brings_what_it_costs_and_what_to_run(law: Law) -> None:
    answer = prediction(law, FAR)
    offer = answer.further_size

    assert offer is not None
    assert offer.flops == pytest.approx(
        sum(6 * cell.params * cell.tokens * len(cell.learning_rates) for cell in offer.cells)
    )
    assert offer.interval_factor_before == pytest.approx(answer.interval.high / answer.learning_rate)
    assert 1 < offer.interval_factor_after < offer.interval_factor_before
    said = offer.reason.replace("\u00a0", " ")
    assert re.match(
        r"A fourth size near [0-9.]+ [MB] parameters would narrow the interval from ×/÷ [12]\.", said
    )
    share = 100 * offer.flops / (6 * FAR.params * FAR.tokens)
    assert f"{share:.2g} % of one run at the target): {len(offer.cells[0].learning_rates)} runs at" in said
    assert FurtherSizeDocument.model_validate_json(offer.model_dump_json()) == offer


def test_without_an_offer_there_is_a_reason(law: Law) -> None:
    offer = prediction(law, replace(FAR, params=4e8)).further_size

    assert offer is not None
    assert offer.cells == []
    assert {offer.params, offer.flops, offer.interval_factor_before, offer.interval_factor_after} == {None}
    assert (
        offer.reason == "The target's size, 400\u00a0M parameters, has runs: a further size would add little."
    )


def test_nothing_is_offered_before_all_sizes_of_the_sweep_have_results(law: Law, small: Law) -> None:
    target = replace(FAR, params=1.6e9)
    offer = prediction(law, FAR, planned=(*SIZES, 8e8, 1.6e9)).further_size

    assert offer is not None
    assert offer.params is None
    assert offer.reason.replace("\u00a0", " ") == (
        "The sweep's own cells of 800 M, 1.6 B parameters have no results yet."
    )
    assert prediction(law, FAR, planned=SIZES).further_size == prediction(law, FAR).further_size
    assert "would narrow" not in refusal(small, target, planned=SIZES).detail


def test_a_refusal_names_the_size_that_would_lift_it(small: Law) -> None:
    target = replace(FAR, params=1.6e9)
    refused, plain = refusal(small, target), refusal(small, replace(FAR, params=1e12))

    assert refused.code == plain.code == "interval_too_wide"
    assert [field.path for field in refused.fields] == ["target"]
    assert "A second size near" in refused.detail
    assert re.search(
        r"% of one run at the target\): [34] runs at .* B tokens", refused.detail.replace("\u00a0", " ")
    )
    assert "would narrow" not in plain.detail


def test_what_may_be_spent_limits_the_offer(law: Law, small: Law) -> None:
    target = replace(FAR, params=1.6e9)

    assert prediction(law, FAR, budget_flops=1e15).further_size.params is None
    assert "would narrow" not in refusal(small, target, budget_flops=1e15).detail
