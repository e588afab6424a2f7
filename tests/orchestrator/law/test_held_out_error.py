"""Smaller laws are judged where they had not been, and taken only where they lose less by more than chance."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.law import FitOptions, fit
from orchestrator.law.fitting import fit_once
from orchestrator.law.held_out_error import Alternative, HeldOutCell, smaller_laws
from orchestrator.law.observations import OWN
from orchestrator.law.unseen_cells import sharing
from tests.known_law import FAST, runs_of


def cells(losses, groups=None):
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
            group=group,
        )
        for loss, group in zip(losses, groups or [OWN] * len(losses), strict=True)
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


def test_the_standard_error_counts_trunks_not_cells():
    """Three horizons of each trunk, alike: as much is known as from one horizon each."""
    lost = np.repeat(1e-3 + 1e-4 * np.array([1.0, 2.0, 4.0, 3.0]), 3)
    groups = np.repeat([7, 2, 5, 0], 3).tolist()
    none = cells(np.zeros(12))
    apart = Alternative.against("without bends", none, cells(lost))
    shared = Alternative.against("without bends", none, cells(lost, groups))
    single = Alternative.against("without bends", none[::3], cells(lost[::3]))
    assert (apart.cells, apart.groups, shared.cells, shared.groups) == (12, 12, 12, 4)
    assert shared.gain == pytest.approx(apart.gain)
    assert shared.gain_sd == pytest.approx(single.gain_sd)
    assert apart.gain_sd < 0.6 * shared.gain_sd
    assert apart.better
    assert not shared.better


def test_cells_that_a_chain_of_trunks_connects_are_one_group():
    cell = np.array([0, 0, 1, 1, 2, 3, 4, -1])
    trunk = np.array([9, OWN, 9, 5, 5, 3, OWN, 3])
    assert sharing(cell, trunk, 6).tolist() == [0, 0, 0, OWN, OWN, OWN]


def test_a_law_whose_horizons_share_trunks_says_how_many_cells_are_independent():
    runs = runs_of()
    places = np.column_stack([runs.params, runs.batch_tokens, np.round(np.log(runs.learning_rate), 6)])
    plain = fit(runs).heldout
    each = np.unique(places, axis=0, return_inverse=True)[1].ravel()
    assert (plain.groups, {cell.group for cell in plain.cells}) == (len(plain.cells), {OWN})
    # as if all rates of one size and batch had the trunks of their place in the row
    at = np.arange(runs.size) % 7
    label = np.unique(np.column_stack([places[:, :2], at]), axis=0, return_inverse=True)[1].ravel()
    branched = fit(replace(runs, trunk=label)).heldout
    assert branched.groups == len({cell.batch_tokens for cell in branched.cells}) < len(branched.cells)
    assert fit(replace(runs, trunk=each)).heldout.groups == len(plain.cells)


def test_a_fit_that_starts_near_ends_where_a_cold_one_does():
    runs = runs_of()
    earlier = fit(runs.where(np.arange(runs.size) % 7 != 3), options=FAST)
    cold, warm = fit(runs, options=FAST), fit_once(runs.counting(), FAST, earlier)
    target = Point(params=1.6e9, tokens=2.5e10, batch_tokens=524288)
    one, other = cold.predict(target), warm.predict(target)
    assert np.log(other.learning_rate / one.learning_rate) == pytest.approx(0, abs=5e-3)
    assert np.log(other.high / other.low) == pytest.approx(np.log(one.high / one.low), rel=0.05)
