"""What is noticed in one member's numbers, and what is named when it is lost."""

import math
import random

import pytest

from trainer.symptoms import (
    ATTENTION_LOGIT,
    CLOSE,
    CLOSE_EVERY,
    GRADIENT_RISE,
    OUTPUT_LOGIT,
    UPDATE,
    WINDOW,
    Glance,
    Track,
)


def healthy(count: int = 200, *, start: int = 1, seed: int = 0) -> list[Glance]:
    """Steps of a loss that falls and is noisy, and of a norm about 1."""
    chance = random.Random(seed)
    return [
        Glance(
            step=step,
            loss=3.0 + 2.0 / math.sqrt(step) + chance.gauss(0.0, 0.1),
            gradient_norm=math.exp(chance.gauss(0.0, 0.3)),
        )
        for step in range(start, start + count)
    ]


def track_of(glances: list[Glance], *, at_once: int = 16) -> Track:
    track = Track()
    for first in range(0, len(glances), at_once):
        track.read(glances[first : first + at_once])
    return track


def test_a_healthy_member_has_no_symptom():
    track = track_of(healthy(1_000))
    assert track.symptoms == {}
    assert track.explanation(1_000) == "no symptom before it"
    assert track.close_point()["loss_spikes"] == 0.0


def test_a_gradient_norm_that_rises_is_named_with_its_steps_and_its_factor():
    track = track_of(healthy(192))
    rise = [Glance(step=192 + n, loss=3.2, gradient_norm=12.0 * n) for n in range(1, 5)]
    track.read(rise)
    told = track.explanation(200)
    factor = rise[-1].gradient_norm / sorted(g.gradient_norm for g in healthy(192)[-WINDOW:])[WINDOW // 2]
    assert told.startswith(f"the gradient norm rose {factor:.0f}-fold")
    assert told.endswith("over its median between steps 193 and 196")


def test_a_norm_that_is_high_all_the_time_is_no_rise():
    glances = [Glance(step=step, loss=3.0, gradient_norm=1e6) for step in range(1, 200)]
    assert "gradient" not in track_of(glances).symptoms


def test_a_jump_of_the_loss_is_a_spike_and_counts_once():
    track = track_of(healthy(192))
    track.read([Glance(step=193, loss=9.0, gradient_norm=1.0), *healthy(7, start=194)])
    assert track.close_point()["loss_spikes"] == 1.0
    assert track.close_point()["loss_spikes"] == 0.0
    assert "standard deviations above its average at step 193" in track.explanation(200)


def test_the_way_down_from_the_start_is_no_spike():
    rising = [Glance(step=step, loss=6.0 - step / 10, gradient_norm=1.0) for step in range(1, 40)]
    assert track_of(rising).close_point()["loss_spikes"] == 0.0


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (411, "attention logits passed 50 at step 412"),
        (384, "attention logits passed 50 between steps 385 and 412"),
    ],
)
def test_logits_are_told_as_exactly_as_they_were_looked_at(before, told):
    track = Track()
    track.look(before, 20.0, 5.0)
    track.look(412, ATTENTION_LOGIT + 1, 5.0)
    track.look(430, 10 * ATTENTION_LOGIT, 5.0)
    assert track.explanation(440) == told


def test_output_logits_have_a_sentence_of_their_own():
    track = Track()
    track.look(8, 1.0, 2.0)
    track.look(9, 1.0, OUTPUT_LOGIT + 1)
    assert track.explanation(16) == "the output logits' RMS passed 30 at step 9"


def test_the_earliest_symptom_is_named_and_of_two_at_once_the_gravest():
    track = Track()
    track.look(7, 1.0, 1.0)
    track.look(8, 1.1 * ATTENTION_LOGIT, 20 * OUTPUT_LOGIT)
    assert "output logits" in track.explanation(16)
    track = Track()
    track.look(7, 1.1 * ATTENTION_LOGIT, 1.0)
    track.look(8, 1.1 * ATTENTION_LOGIT, 20 * OUTPUT_LOGIT)
    assert "attention logits" in track.explanation(16)


def test_a_large_update_is_named_only_where_nothing_else_went_wrong():
    track = Track()
    track.weigh(0, 1, {"head": 0.1, "attention": 2 * UPDATE})
    assert track.explanation(16) == "one update was 0.6 times as large as the attention weights at step 1"
    track.look(8, 2 * ATTENTION_LOGIT, 1.0)
    assert "attention logits" in track.explanation(16)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_is_not_a_number_passed_every_threshold(value):
    track = Track()
    track.look(1, 1.0, value)
    assert track.explanation(2) == "the output logits' RMS passed 30 at step 1"
    track = Track()
    track.weigh(0, 1, {"embedding": value})
    assert track.explanation(2) == "the update of the embedding weights left float32 at step 1"
    track = track_of(healthy(192))
    track.read([Glance(step=193, loss=3.0, gradient_norm=value)])
    assert track.explanation(200) == "the gradient norm was not finite at step 193"


def test_a_symptom_that_passed_long_ago_explains_nothing():
    track = track_of(healthy(192))
    track.read([Glance(step=193, loss=3.0, gradient_norm=50 * GRADIENT_RISE)])
    track.read(healthy(WINDOW + 10, start=194))
    assert track.explanation(193 + WINDOW) != "no symptom before it"
    assert track.explanation(194 + WINDOW) == "no symptom before it"


def test_steps_after_a_loss_that_is_no_number_tell_nothing():
    track = track_of(healthy(192))
    track.read([Glance(step=193 + n, loss=math.nan, gradient_norm=math.nan) for n in range(3)])
    track.look(195, math.nan, math.nan)
    track.weigh(192, 195, {"head": math.nan})
    assert track.symptoms == {}


def test_a_member_is_watched_closely_while_something_seems_wrong_and_not_without_end():
    track = track_of(healthy(192))
    assert not track.watches(193)
    track.read([Glance(step=193, loss=3.0, gradient_norm=0.8 * GRADIENT_RISE)])
    assert [step for step in range(194, 206) if track.watches(step)] == [196, 200, 204]
    track.close = CLOSE + 196 // CLOSE_EVERY
    assert not track.watches(196)


def test_logits_that_are_known_to_be_too_large_need_no_closer_look():
    track = Track()
    track.look(8, 0.8 * ATTENTION_LOGIT, 1.0)
    assert track.watches(12)
    track.look(12, 1.1 * ATTENTION_LOGIT, 1.0)
    assert not track.watches(16)


def test_a_copy_goes_its_own_way_and_a_saved_track_is_the_same():
    track = track_of(healthy(192))
    copy = track.copy()
    copy.read([Glance(step=193, loss=30.0, gradient_norm=1e4)])
    assert track.symptoms == {}
    assert Track.loaded(copy.saved()) == copy
