import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import Schedule
from trainer.exceptions import BadSchedule


def test_warms_up_holds_and_decays_linearly():
    timetable = Schedule(warmup_tokens=400, decay_fraction=0.2).in_steps(100)
    horizon = 2_000
    assert (timetable.warmup_steps, timetable.fork(horizon), timetable.end(horizon)) == (4, 16, 20)
    rates = [timetable.multiplier(step, horizon) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:16] == [1.0] * 12
    assert rates[16:] == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_the_square_root_falls_faster_first():
    linear = Schedule(warmup_tokens=0).in_steps(1)
    root = Schedule(warmup_tokens=0, shape="sqrt").in_steps(1)
    for step in range(80, 100):
        assert 0.0 < root.multiplier(step, 100) < linear.multiplier(step, 100)
    assert root.multiplier(80 + 6, 100) == pytest.approx(1 - (7 / 21) ** 0.5)


def test_a_cosine_falls_half_a_wave_from_the_end_of_the_warm_up():
    timetable = Schedule(warmup_tokens=400, shape="cosine").in_steps(100)
    assert [timetable.fork(100 * steps) for steps in (5, 20, 40)] == [4, 4, 4]
    rates = [timetable.multiplier(step, 2_000) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == pytest.approx([(1 + math.cos(math.pi * place / 17)) / 2 for place in range(1, 17)])


@pytest.mark.parametrize("shape", ["linear", "sqrt", "cosine"])
@pytest.mark.parametrize("final", [0.1, 0.5])
def test_a_decay_ends_at_the_final_fraction(shape, final):
    to_zero = Schedule(warmup_tokens=400, shape=shape).in_steps(100)
    to_final = Schedule(warmup_tokens=400, shape=shape, final_fraction=final).in_steps(100)
    assert to_final.fork(4_000) == to_zero.fork(4_000)
    for step in range(40):
        over = to_zero.multiplier(step, 4_000)
        assert to_final.multiplier(step, 4_000) == pytest.approx(
            final + (1 - final) * over if step >= to_zero.fork(4_000) else over
        )


def test_without_a_warm_up_the_first_update_is_at_the_peak():
    assert Schedule(warmup_tokens=0).in_steps(128).multiplier(0) == 1.0


@given(
    warmup=st.integers(0, 20),
    fraction=st.floats(0.01, 0.9),
    steps=st.integers(40, 400),
    shape=st.sampled_from(["linear", "sqrt", "cosine"]),
    final=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_branch_and_trunk_agree_up_to_the_fork_and_the_branch_only_falls_after(
    warmup, fraction, steps, shape, final
):
    fields = {} if shape == "cosine" else {"decay_fraction": fraction}
    schedule = Schedule(warmup_tokens=warmup * 64, shape=shape, final_fraction=final, **fields)
    timetable = schedule.in_steps(64)
    horizon = steps * 64
    if shape != "cosine" and timetable.warmup_steps > steps - max(1, round(fraction * steps)):
        with pytest.raises(BadSchedule, match="within the warm-up"):
            timetable.fork(horizon)
        return
    fork = timetable.fork(horizon)
    assert all(timetable.multiplier(step, horizon) == timetable.multiplier(step) for step in range(fork))
    decay = [timetable.multiplier(step, horizon) for step in range(fork, steps)]
    assert len(decay) >= 1
    assert all(final < later < earlier for earlier, later in zip([1.0, *decay], decay, strict=False))


def test_horizons_are_rounded_to_whole_batches():
    timetable = Schedule(warmup_tokens=0).in_steps(2_048)
    assert timetable.end(400_000) == 195
    assert timetable.end(800_000) == 391


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_a_horizon_within_the_warm_up_is_refused_with_the_least_that_is_allowed(shape):
    timetable = Schedule(warmup_tokens=16_384, shape=shape).in_steps(256)
    with pytest.raises(
        BadSchedule, match=r"horizon of 10000 tokens.*allowed: (\d+) tokens or more"
    ) as refused:
        timetable.fork(10_000)
    least = int(str(refused.value).split("allowed: ")[1].split()[0])
    assert timetable.fork(least) >= timetable.warmup_steps
    if shape == "cosine":
        assert least == 16_384 + 256


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"warmup_tokens": -1}, "warmup_tokens is -1"),
        ({"warmup_tokens": 0, "decay_fraction": 0.0}, "decay_fraction is 0.0"),
        ({"warmup_tokens": 0, "decay_fraction": 1.0}, "decay_fraction is 1.0"),
        ({"warmup_tokens": 0, "decay_fraction": float("nan")}, "decay_fraction is nan"),
        ({"warmup_tokens": 0, "shape": "step"}, "shape is 'step'; allowed: linear, sqrt, cosine"),
        (
            {"warmup_tokens": 0, "shape": "cosine", "decay_fraction": 0.3},
            "decay_fraction is 0.3, but a cosine",
        ),
        ({"warmup_tokens": 0, "final_fraction": -0.1}, "final_fraction is -0.1"),
        ({"warmup_tokens": 0, "final_fraction": 1.0}, "final_fraction is 1.0"),
        ({"warmup_tokens": 0, "final_fraction": float("nan")}, "final_fraction is nan"),
    ],
)
def test_bad_fields_are_named(fields, named):
    with pytest.raises(BadSchedule, match=named):
        Schedule(**fields)
