"""Curves of bounded size with the right means, whatever comes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.programs.curve_thinner import CurveThinner
from workers.programs.journal import Diverged, Entry, Measured
from workers.programs.readings import Reading


def thinned(readings: Iterable[Reading], **changes: int) -> list[Entry]:
    thinner = CurveThinner(**{"tokens": 1000, "start_tokens": 0, "points": 10, **changes})
    entries = [entry for reading in readings for entry in thinner.take(reading)]
    return entries + thinner.flush()


def test_training_losses_are_averaged_over_equal_parts_and_the_first_stands_alone():
    entries = thinned(Reading("training", step, float(step)) for step in range(1, 901, 1))
    assert entries[0] == Measured(kind="training", tokens=1, loss=1.0, count=1)
    ends = [entry.tokens for entry in entries[1:] if isinstance(entry, Measured)]
    assert ends == [111, 222, 333, 444, 555, 666, 777, 888, 900]
    assert entries[2] == Measured(kind="training", tokens=222, loss=167.0, count=111)


def test_a_loss_without_a_position_takes_the_last_one():
    entries = thinned(
        [Reading("position", 300), Reading("training", None, 2.0), Reading("validation", None, 3.0)]
    )
    assert [(entry.kind, entry.tokens) for entry in entries if isinstance(entry, Measured)] == [
        ("training", 300),
        ("validation", 300),
    ]


def test_the_last_validation_loss_is_always_kept():
    readings = [Reading("validation", step, float(step)) for step in range(1, 1000)]
    entries = thinned(readings)
    assert entries[:10] == [Measured(kind="validation", tokens=n, loss=float(n)) for n in range(1, 11)]
    assert entries[-1] == Measured(kind="validation", tokens=999, loss=999.0)
    assert len(entries) < 50


@pytest.mark.parametrize(
    ("loss", "word"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (1e300, "1e+300")]
)
def test_a_loss_that_is_not_finite_ends_the_curve(loss, word):
    readings = [Reading("training", 10, 3.0), Reading("training", 20, 2.0), Reading("validation", 30, loss)]
    entries = thinned([*readings, Reading("training", 40, 1.0)])
    assert entries[-2:] == [
        Measured(kind="training", tokens=20, loss=2.0),
        Diverged(reason=f"validation loss is {word}", tokens=30),
    ]


@given(positions=st.lists(st.integers(0, 10**9), max_size=300))
@settings(deadline=None)
def test_no_loss_is_lost_and_entries_are_few_wherever_positions_jump(positions):
    entries = thinned([Reading("training", tokens, 1.0) for tokens in positions], points=5)
    assert sum(entry.count for entry in entries if isinstance(entry, Measured)) == len(positions)


def test_positions_far_beyond_the_end_do_not_flood_the_journal():
    entries = thinned((Reading("training", step * 100, 1.0) for step in range(100_000)), points=10)
    assert len(entries) < 200
