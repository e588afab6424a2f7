"""Module rates as text: one text for the same multipliers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.heldout.module_rates import MODULES, read, told, written


def test_modules_are_named_in_one_order_with_four_digits_and_without_ones() -> None:
    assert written({"head": 1.0, "embedding": 2.0, "attention": 1 / 3}) == "attention=0.3333,embedding=2"
    assert written({}) == ""


def test_people_read_them_with_signs_and_spaces() -> None:
    assert told("attention=0.3333,embedding=2") == "attention ×0.3333, embedding ×2"
    assert told("") == ""


@given(st.dictionaries(st.sampled_from(MODULES), st.floats(1e-3, 1e3)))
def test_what_is_read_is_written_the_same(multipliers: dict[str, float]) -> None:
    text = written(multipliers)
    assert written(read(text)) == text
    for module, value in read(text).items():
        assert value == pytest.approx(multipliers[module], rel=1e-3)


@pytest.mark.parametrize(
    "text", ["head=1", "head=0.33333", "head=2,attention=2", "head", "head=x", "tail=2", "head=-1"]
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="module|convert|multiplier"):
        read(text)


@pytest.mark.parametrize("multiplier", [0.0, -1.0, float("inf"), float("nan")])
def test_a_multiplier_that_is_no_positive_number_is_refused(multiplier: float) -> None:
    with pytest.raises(ValueError, match="the multiplier of head is"):
        written({"head": multiplier})
