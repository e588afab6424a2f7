"""Symptoms in one member's numbers, and the one that explains a divergence."""

import math
import random

import pytest

from trainer.symptoms import (
    ATTENTION_LOGIT,
    GRADIENT_RISE,
    OUTPUT_LOGIT,
    PROBES,
    STEPS_PER_PROBE,
    UPDATE,
    WINDOW,
    MemberState,
    StepSample,
)


def healthy(count: int = 200, *, start: int = 1, seed: int = 0) -> list[StepSample]:
    """Steps of a loss that falls and is noisy, and of a norm about 1."""
    chance = random.Random(seed)
    return [
        StepSample(
            step=step,
            loss=3.0 + 2.0 / math.sqrt(step) + chance.gauss(0.0, 0.1),
            gradient_norm=math.exp(chance.gauss(0.0, 0.3)),
        )
        for step in range(start, start + count)
    ]


def state_of(samples: list[StepSample], *, at_once: int = 16) -> MemberState:
    state = MemberState()
    for first in range(0, len(samples), at_once):
        state.add_steps(samples[first : first + at_once])
    return state


def test_a_healthy_member_has_no_symptom():
    state = state_of(healthy(1_000))
    assert state.symptoms == {}
    assert state.first_symptom(1_000) is None
    assert state.close_point()["loss_spikes"] == 0.0


def test_a_rising_gradient_norm_is_reported_with_its_steps_and_its_factor():
    state = state_of(healthy(192))
    rise = [StepSample(step=192 + n, loss=3.2, gradient_norm=12.0 * n) for n in range(1, 5)]
    state.add_steps(rise)
    sentence = str(state.first_symptom(200))
    factor = rise[-1].gradient_norm / sorted(g.gradient_norm for g in healthy(192)[-WINDOW:])[WINDOW // 2]
    assert sentence.startswith(f"the gradient norm rose {factor:.0f}-fold")
    assert sentence.endswith("over its median between steps 193 and 196")


def test_a_norm_that_is_high_all_the_time_is_no_rise():
    samples = [StepSample(step=step, loss=3.0, gradient_norm=1e6) for step in range(1, 200)]
    assert "gradient" not in state_of(samples).symptoms


def test_a_jump_of_the_loss_is_a_spike_and_counts_once():
    state = state_of(healthy(192))
    state.add_steps([StepSample(step=193, loss=9.0, gradient_norm=1.0), *healthy(7, start=194)])
    assert state.close_point()["loss_spikes"] == 1.0
    assert state.close_point()["loss_spikes"] == 0.0
    assert "standard deviations above its average at step 193" in str(state.first_symptom(200))


def test_the_way_down_from_the_start_is_no_spike():
    rising = [StepSample(step=step, loss=6.0 - step / 10, gradient_norm=1.0) for step in range(1, 40)]
    assert state_of(rising).close_point()["loss_spikes"] == 0.0


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        (411, "attention logits passed 50 at step 412"),
        (384, "attention logits passed 50 between steps 385 and 412"),
    ],
)
def test_logits_pass_between_the_last_measured_steps(before, sentence):
    state = MemberState()
    state.add_logits(before, 20.0, 5.0)
    state.add_logits(412, ATTENTION_LOGIT + 1, 5.0)
    state.add_logits(430, 10 * ATTENTION_LOGIT, 5.0)
    assert str(state.first_symptom(440)) == sentence


def test_output_logits_have_their_own_sentence():
    state = MemberState()
    state.add_logits(8, 1.0, 2.0)
    state.add_logits(9, 1.0, OUTPUT_LOGIT + 1)
    assert str(state.first_symptom(16)) == "the output logits' RMS passed 30 at step 9"


def test_the_first_symptom_is_the_earliest_and_of_two_at_once_the_most_severe():
    state = MemberState()
    state.add_logits(7, 1.0, 1.0)
    state.add_logits(8, 1.1 * ATTENTION_LOGIT, 20 * OUTPUT_LOGIT)
    assert "output logits" in str(state.first_symptom(16))
    state = MemberState()
    state.add_logits(7, 1.1 * ATTENTION_LOGIT, 1.0)
    state.add_logits(8, 1.1 * ATTENTION_LOGIT, 20 * OUTPUT_LOGIT)
    assert "attention logits" in str(state.first_symptom(16))


def test_a_large_update_counts_only_without_another_symptom():
    state = MemberState()
    state.add_updates(0, 1, {"head": 0.1, "attention": 2 * UPDATE})
    assert (
        str(state.first_symptom(16)) == "one update was 0.6 times as large as the attention weights at step 1"
    )
    state.add_logits(8, 2 * ATTENTION_LOGIT, 1.0)
    assert "attention logits" in str(state.first_symptom(16))


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_number_that_is_not_finite_passes_every_threshold(value):
    state = MemberState()
    state.add_logits(1, 1.0, value)
    assert str(state.first_symptom(2)) == "the output logits' RMS passed 30 at step 1"
    state = MemberState()
    state.add_updates(0, 1, {"embedding": value})
    assert str(state.first_symptom(2)) == "the update of the embedding weights overflowed float32 at step 1"
    state = state_of(healthy(192))
    state.add_steps([StepSample(step=193, loss=3.0, gradient_norm=value)])
    assert str(state.first_symptom(200)) == "the gradient norm was not finite at step 193"


def test_a_symptom_older_than_the_window_does_not_explain():
    state = state_of(healthy(192))
    state.add_steps([StepSample(step=193, loss=3.0, gradient_norm=50 * GRADIENT_RISE)])
    state.add_steps(healthy(WINDOW + 10, start=194))
    assert state.first_symptom(193 + WINDOW) is not None
    assert state.first_symptom(194 + WINDOW) is None


def test_steps_after_a_loss_that_is_not_finite_are_ignored():
    state = state_of(healthy(192))
    state.add_steps([StepSample(step=193 + n, loss=math.nan, gradient_norm=math.nan) for n in range(3)])
    state.add_logits(195, math.nan, math.nan)
    state.add_updates(192, 195, {"head": math.nan})
    assert state.symptoms == {}


def test_a_suspicious_member_is_probed_a_bounded_number_of_times():
    state = state_of(healthy(192))
    assert not state.probe_is_due(193)
    state.add_steps([StepSample(step=193, loss=3.0, gradient_norm=0.8 * GRADIENT_RISE)])
    assert [step for step in range(194, 206) if state.probe_is_due(step)] == [196, 200, 204]
    state.probes = PROBES + 196 // STEPS_PER_PROBE
    assert not state.probe_is_due(196)


def test_logits_known_to_be_too_large_are_not_probed():
    state = MemberState()
    state.add_logits(8, 0.8 * ATTENTION_LOGIT, 1.0)
    assert state.probe_is_due(12)
    state.add_logits(12, 1.1 * ATTENTION_LOGIT, 1.0)
    assert not state.probe_is_due(16)


def test_a_copy_is_independent_and_a_saved_state_is_the_same():
    state = state_of(healthy(192))
    copy = state.copy()
    copy.add_steps([StepSample(step=193, loss=30.0, gradient_norm=1e4)])
    assert state.symptoms == {}
    assert MemberState.loaded(copy.saved()) == copy
