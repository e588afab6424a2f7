import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import BadSchedule, Schedule


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


def test_without_a_warm_up_the_first_update_is_at_the_peak():
    assert Schedule(warmup_tokens=0).in_steps(128).multiplier(0) == 1.0


@given(
    warmup=st.integers(0, 20),
    fraction=st.floats(0.01, 0.9),
    steps=st.integers(40, 400),
    shape=st.sampled_from(["linear", "sqrt"]),
)
def test_branch_and_trunk_agree_up_to_the_fork_and_the_branch_only_falls_after(
    warmup, fraction, steps, shape
):
    timetable = Schedule(warmup_tokens=warmup * 64, decay_fraction=fraction, shape=shape).in_steps(64)
    horizon = steps * 64
    if timetable.warmup_steps > steps - max(1, round(fraction * steps)):
        with pytest.raises(BadSchedule, match="within the warm-up"):
            timetable.fork(horizon)
        return
    fork = timetable.fork(horizon)
    assert all(timetable.multiplier(step, horizon) == timetable.multiplier(step) for step in range(fork))
    decay = [timetable.multiplier(step, horizon) for step in range(fork, steps)]
    assert len(decay) >= 1
    assert all(0.0 < later < earlier for earlier, later in zip([1.0, *decay], decay, strict=False))


def test_horizons_are_rounded_to_whole_batches():
    timetable = Schedule(warmup_tokens=0).in_steps(2_048)
    assert timetable.end(400_000) == 195
    assert timetable.end(800_000) == 391


def test_a_horizon_within_the_warm_up_is_refused_with_the_least_that_is_allowed():
    timetable = Schedule(warmup_tokens=16_384).in_steps(256)
    with pytest.raises(
        BadSchedule, match=r"horizon of 10000 tokens.*allowed: (\d+) tokens or more"
    ) as refused:
        timetable.fork(10_000)
    least = int(str(refused.value).split("allowed: ")[1].split()[0])
    assert timetable.fork(least) >= timetable.warmup_steps


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"warmup_tokens": -1}, "warmup_tokens is -1"),
        ({"warmup_tokens": 0, "decay_fraction": 0.0}, "decay_fraction is 0.0"),
        ({"warmup_tokens": 0, "decay_fraction": 1.0}, "decay_fraction is 1.0"),
        ({"warmup_tokens": 0, "decay_fraction": float("nan")}, "decay_fraction is nan"),
        ({"warmup_tokens": 0, "shape": "cosine"}, "shape is 'cosine'; allowed: linear, sqrt"),
    ],
)
def test_bad_fields_are_named(fields, named):
    with pytest.raises(BadSchedule, match=named):
        Schedule(**fields)
