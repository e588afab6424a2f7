"""Smaller laws are judged where they had not been, and taken only where they lose less by more than chance."""

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.law import FitOptions, fit
from orchestrator.law.fitting import fit_once
from orchestrator.law.held_out_error import Alternative, HeldOutCell, smaller_laws
from tests.known_law import FAST, runs_of


def cells(losses):
    return [
        HeldOutCell(
            params=1e8,
            tokens=1e9,
            batch_tokens=1e5,
            learning_rate=1e-3,
            low=5e-4,
            high=2e-3,
            measured=1e-3,
            excess_loss=loss,
        )
        for loss in losses
    ]


def test_a_law_without_the_batch_loses_where_the_batch_matters():
    law = fit(runs_of())
    (without_batch,) = [a for a in law.heldout.alternatives if a.name == "without terms in batch_tokens"]
    assert without_batch.mean > law.heldout.mean
    assert not without_batch.better
    assert law.heldout.alternatives[0].name == "without bends"


def test_what_does_not_vary_is_not_left_out():
    law = fit(runs_of(batches=(262144.0,)))
    assert [a.name for a in law.heldout.alternatives] == ["without bends"]


def test_terms_that_are_left_out_are_zero():
    runs = runs_of()
    smaller = smaller_laws(runs.points)
    assert list(smaller) == ["without bends", "without terms in batch_tokens"]
    for without in smaller.values():
        law = fit(runs, options=FitOptions(heldout=False, without=without))
        for term in law.coefficients:
            assert (abs(term.value) < 1e-6) == (term.name in without)


@pytest.mark.parametrize(
    ("own", "better"),
    [
        ([1e-4] * 8, True),
        ([9e-4, 1.1e-3] * 4, False),
        ([1e-4] * 4, False),
        ([2e-3] * 8, False),
    ],
    ids=["surely less", "by chance", "too few cells", "more"],
)
def test_a_smaller_law_is_better_only_beyond_chance(own, better):
    full = cells(1e-3 + 1e-5 * np.arange(len(own)))
    assert Alternative.against("without bends", cells(own), full).better is better


def test_a_fit_that_starts_near_ends_where_a_cold_one_does():
    runs = runs_of()
    earlier = fit(runs.where(np.arange(runs.size) % 7 != 3), options=FAST)
    cold, warm = fit(runs, options=FAST), fit_once(runs.counting(), FAST, earlier)
    target = Point(params=1.6e9, tokens=2.5e10, batch_tokens=524288)
    one, other = cold.predict(target), warm.predict(target)
    assert np.log(other.learning_rate / one.learning_rate) == pytest.approx(0, abs=5e-3)
    assert np.log(other.high / other.low) == pytest.approx(np.log(one.high / one.low), rel=0.05)
