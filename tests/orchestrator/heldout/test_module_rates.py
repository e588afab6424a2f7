"""Module-wise rates: one text for the same multipliers, and a search that is deterministic and stays within its span."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Refused
from orchestrator.heldout.module_rates import (
    MODULES,
    ModuleSearch,
    ModuleTrial,
    format_module_rates,
    parse_module_rates,
)


def test_modules_are_named_in_one_order_with_four_digits_and_without_ones() -> None:
    assert (
        format_module_rates({"head": 1.0, "embedding": 2.0, "attention": 1 / 3})
        == "attention=0.3333,embedding=2"
    )
    assert format_module_rates({}) == ""


@given(st.dictionaries(st.sampled_from(MODULES), st.floats(1e-3, 1e3)))
def test_parsed_text_is_formatted_the_same(multipliers: dict[str, float]) -> None:
    text = format_module_rates(multipliers)
    assert format_module_rates(parse_module_rates(text)) == text
    for module, value in parse_module_rates(text).items():
        assert value == pytest.approx(multipliers[module], rel=1e-3)


@pytest.mark.parametrize(
    "text", ["head=1", "head=0.33333", "head=2,attention=2", "head", "head=x", "tail=2", "head=-1"]
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="module|convert|multiplier|canonical"):
        parse_module_rates(text)


@pytest.mark.parametrize("multiplier", [0.0, -1.0, float("inf"), float("nan")])
def test_a_multiplier_that_is_no_positive_number_is_refused(multiplier: float) -> None:
    with pytest.raises(ValueError, match="the multiplier of head is"):
        format_module_rates({"head": multiplier})


DENSE = ("attention", "embedding", "feedforward", "head")


def search(sampler: str = "tpe", **changes: object) -> ModuleSearch:
    fields: dict[str, object] = {"modules": DENSE, "runs": 24, "span": 4.0, "sampler": sampler, "at_once": 8}
    return ModuleSearch(**{**fields, **changes})  # type: ignore[arg-type]


def loss_of(text: str) -> float:
    """Best with the embedding's rate doubled and the head's halved."""
    rates = parse_module_rates(text)
    return (
        2 + 0.1 * math.log(rates.get("embedding", 1) / 2) ** 2 + 0.1 * math.log(rates.get("head", 1) * 2) ** 2
    )


def carried_out(asked: ModuleSearch, loss: Callable[[str], float | None] = loss_of) -> list[ModuleTrial]:
    ended: list[ModuleTrial] = []
    while batch := asked.next_trials(ended):
        ended += [ModuleTrial(module_rates=text, loss=loss(text)) for text in batch]
    return ended


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_it_finds_better_multipliers_than_none_in_batches_that_fill_the_workers(sampler: str) -> None:
    asked = search(sampler, runs=32)
    ended = carried_out(asked)
    best = asked.best(ended)
    assert len({trial.module_rates for trial in ended}) == 32
    assert best is not None
    assert best.loss is not None
    assert best.loss < loss_of("") - 0.05


def test_the_first_trial_has_no_multipliers() -> None:
    assert search().next_trials([])[0] == ""
    assert len(search().next_trials([])) == 8


def test_every_multiplier_lies_within_the_span() -> None:
    values = [
        v for trial in carried_out(search(span=3.0)) for v in parse_module_rates(trial.module_rates).values()
    ]
    assert min(values) >= 0.3333
    assert max(values) <= 3.0


def test_the_order_in_which_trials_ended_changes_nothing() -> None:
    ended = carried_out(search(runs=8))
    assert search().next_trials(ended) == search().next_trials(ended[::-1])


def test_the_last_batch_is_what_is_left() -> None:
    ended = carried_out(search(runs=20))
    assert len(ended) == 20
    assert search(runs=20).next_trials(ended) == ()


def test_a_trial_that_diverged_is_worse_than_all_and_never_the_best() -> None:
    asked = search(runs=16)
    ended = carried_out(
        asked, lambda text: None if parse_module_rates(text).get("head", 1) > 1 else loss_of(text)
    )
    best = asked.best(ended)
    assert best is not None
    assert parse_module_rates(best.module_rates).get("head", 1) <= 1


def test_a_failed_trial_counts_but_teaches_nothing() -> None:
    asked = search(runs=16)
    first = [
        ModuleTrial(module_rates=text, loss=None, failed=place % 2 == 1)
        for place, text in enumerate(asked.next_trials([]))
    ]
    following = asked.next_trials(first)
    assert len(following) == 8
    assert not {trial.module_rates for trial in first} & set(following)
    diverged = [ModuleTrial(module_rates=trial.module_rates, loss=None) for trial in first]
    known = [ModuleTrial(module_rates=trial.module_rates, loss=2.0) for trial in first[:4]]
    lost = [ModuleTrial(module_rates=trial.module_rates, loss=None, failed=True) for trial in first[4:]]
    assert asked.next_trials(known + lost) != asked.next_trials(known + diverged[4:])


def test_nothing_that_completed_is_no_best() -> None:
    assert search().best([ModuleTrial(module_rates="", loss=None)]) is None


def test_a_span_so_narrow_that_few_multipliers_differ_ends_with_those() -> None:
    ended = carried_out(search(modules=("head",), span=1.001, runs=100, at_once=4))
    assert len(ended) == len({trial.module_rates for trial in ended})
    assert 2 < len(ended) <= 12


def test_it_says_what_it_needs_where_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Refused, match="module-wise rates by gp needs optuna and torch; torch is not"):
        search("gp").next_trials([])
    search("tpe").next_trials([])
