"""Same seed, same losses: alone, stacked, resumed, continued, forked. On one thread the difference is 0.0."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from trainer import (
    BaseScale,
    CurveEvent,
    Experts,
    FinishedEvent,
    Member,
    Parametrization,
    Schedule,
    Shape,
    Training,
    TrainingJob,
)
from trainer.checkpoint import identity
from trainer.exceptions import BadCheckpoint

RATES = (1e-3, 4e-3, 1e-2, 0.3, 2e-3)
"""The fourth is high enough that the lenses probe it."""
COSINE = Schedule(warmup_tokens=16 * 128, shape="cosine")
MIXTURE = Shape(width=16, depth=2, context=32, experts=Experts(count=4, top_k=2, width=24, balance_rate=1e-2))


def mixture(**fields: Any) -> dict[str, Any]:
    return {"shape": replace(MIXTURE, experts=replace(MIXTURE.experts, **fields))}


RECIPES: dict[str, dict[str, Any]] = {
    "deep": {"shape": Shape(width=16, depth=3)},
    "wide": {"shape": Shape(width=64, depth=1), "batch_tokens": 64},
    "plain": {"shape": Shape(width=24, depth=1, context=32, qk_norm=False), "batch_tokens": 96},
    "cosine": {"schedule": COSINE},
    "mixture": mixture(shared=1),
    "mixture balanced by loss": mixture(balance="loss"),
    "mixture of single choices": mixture(top_k=1, count=8, width=8),
    "Muon": {"optimizer": "muon"},
    "Muon on a mixture": {"optimizer": "muon", **mixture(shared=1)},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_member_alone_stacked_and_resumed_is_the_same_bit_for_bit(corpus, make_job, outcome, recipe):
    job = make_job(RATES, (30, 40), **RECIPES[recipe])
    stacked = Training(job, corpus).advance()
    for member in (0, 3):
        alone = Training(make_job([RATES[member]], (30, 40), **RECIPES[recipe]), corpus)
        assert outcome(alone.advance(), 0) == outcome(stacked, member)
    first = Training(job, corpus)
    events = first.advance(steps=27)
    events += Training(job, corpus, state=first.state()).advance()
    for member in range(len(RATES)):
        assert outcome(events, member) == outcome(stacked, member)


def test_members_may_have_rates_by_module_of_their_own(corpus, make_job, outcome):
    job = make_job((2e-3,), (30, 40), **RECIPES["mixture"])
    (plain,) = job.members
    factors = ({}, {"embedding": 4.0, "head": 0.25}, {"router": 0.5})
    members = tuple(replace(plain, module_rates=own) for own in factors)
    together = Training(replace(job, members=members), corpus).advance()
    for place, member in enumerate(members):
        alone = Training(replace(job, members=(member,)), corpus).advance()
        assert outcome(alone, 0) == outcome(together, place)
    assert len({str(outcome(together, place)) for place in range(3)}) == 3


@pytest.mark.parametrize("recipe", ["deep", "cosine"])
def test_a_fork_is_the_run_that_had_that_horizon_alone(corpus, make_job, outcome, recipe):
    both = Training(make_job(RATES[:2], (60, 90), **RECIPES[recipe]), corpus).advance()
    for steps in (60, 90):
        only = Training(make_job(RATES[:2], (steps,), **RECIPES[recipe]), corpus).advance()
        for member in range(2):
            for key in (("finished", steps * 128), ("curve", steps * 128)):
                assert outcome(only, member)[key] == outcome(both, member)[key]


def test_a_cosine_goes_on_from_an_earlier_job_and_from_any_step(corpus, make_job, outcome):
    whole = Training(make_job(RATES[:2], (60, 90), schedule=COSINE), corpus).advance()
    first = Training(make_job(RATES[:2], (60,), schedule=COSINE), corpus)
    early = first.advance()
    assert [first.trunk_tokens(member) for member in range(2)] == [16 * 128] * 2
    trunks = [first.trunk(member) for member in range(2)]
    later = make_job(RATES[:2], (90,), schedule=COSINE)
    second = Training(later, corpus, trunks=trunks)
    events = second.advance(steps=40)
    late = events + Training(later, corpus, state=second.state()).advance()
    for member in range(2):
        for steps, found in ((60, early), (90, late)):
            key = ("finished", steps * 128)
            assert outcome(found, member)[key] == outcome(whole, member)[key]


@pytest.mark.parametrize("steps", [7, 50, 53, 62, 63, 70, 88])
def test_a_job_resumed_at_any_step_has_the_same_outcome(corpus, make_job, outcome, steps):
    """Steps 7 and 70 are within an interval of the trunk, 50 and 53 about the first fork, 62 and 63 its end."""
    job = make_job(RATES[:3], (60, 90))
    whole = Training(job, corpus).advance()
    first = Training(job, corpus)
    events = first.advance(steps=steps)
    events += Training(job, corpus, state=first.state()).advance()
    for member in range(3):
        assert outcome(events, member) == outcome(whole, member)
    assert sum(e.flops for e in events if isinstance(e, FinishedEvent)) == sum(
        e.flops for e in whole if isinstance(e, FinishedEvent)
    )


@pytest.mark.parametrize("recipe", ["deep", "mixture"])
def test_two_jobs_in_a_row_are_one_job(corpus, make_job, outcome, recipe):
    whole = Training(make_job(RATES, (60, 90, 120), **RECIPES[recipe]), corpus).advance()
    first = Training(make_job(RATES, (60,), **RECIPES[recipe]), corpus)
    early = first.advance()
    kept = (0, 2, 4)
    trunks = [first.trunk(member) for member in kept]
    assert [first.trunk_tokens(member) for member in kept] == [48 * 128] * 3
    later = make_job([RATES[member] for member in kept], (90, 120), **RECIPES[recipe])
    late = Training(later, corpus, trunks=trunks).advance()
    for place, member in enumerate(kept):
        parts = outcome(early, member)
        for key, value in outcome(late, place).items():
            parts[key] = parts[key] + value if key in parts else value
        assert parts == outcome(whole, member)


def test_a_cosine_costs_its_warm_up_once_and_every_step_after(corpus, make_job):
    job = make_job(RATES[:2], (60, 90), schedule=COSINE)
    training = Training(job, corpus)
    whole = 2 * (16 + 44 + 74)
    events = []
    while not training.done:
        events += training.advance(steps=30)
    flops = [event.flops for event in events if isinstance(event, FinishedEvent)]
    assert sum(flops) == whole * 128 * job.recipe.shape.flops_per_token


def test_members_may_want_different_horizons(corpus, make_job, outcome):
    recipe = make_job([1e-3]).recipe
    wanted = ((60,), (60, 90), (90,))
    members = tuple(
        Member(learning_rate=rate, horizons=tuple(128 * steps for steps in horizons))
        for rate, horizons in zip(RATES, wanted, strict=False)
    )
    together = Training(TrainingJob(recipe=recipe, members=members), corpus).advance()
    for place, member in enumerate(members):
        alone = Training(TrainingJob(recipe=recipe, members=(member,)), corpus).advance()
        assert outcome(alone, 0) == outcome(together, place)


def test_logging_more_often_changes_the_curve_but_no_loss_of_a_run(corpus, make_job, outcome):
    job = make_job([4e-3], (60,))
    often, seldom = (outcome(Training(job, corpus, log_every=n).advance(), 0) for n in (1, 16))
    assert often["finished", 60 * 128] == seldom["finished", 60 * 128]
    losses = [loss for _, _, loss in often["curve", None]]
    assert seldom["curve", None][0] == (16, 16 * 128, pytest.approx(sum(losses[:16]) / 16))


def test_the_order_of_data_and_the_start_follow_the_seed(corpus, make_job, outcome):
    first, again, other = (
        outcome(Training(make_job([4e-3], (30,), seed=seed), corpus).advance(), 0) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["finished", 30 * 128] != other["finished", 30 * 128]


def test_there_is_no_trunk_before_its_last_fork(corpus, make_job):
    training = Training(make_job([4e-3], (60, 90)), corpus)
    training.advance(steps=65)
    assert training.trunk(0) is None
    assert training.trunk_tokens(0) is None
    training.advance()
    assert training.trunk(0) is not None
    assert training.trunk_tokens(0) == 72 * 128


def test_state_and_trunks_of_another_job_are_refused(corpus, make_job):
    job = make_job([4e-3], (30, 40))
    training = Training(job, corpus)
    training.advance()
    trunk = training.trunk(0)
    with pytest.raises(BadCheckpoint, match="belongs to"):
        Training(make_job([2e-3], (30, 40)), corpus, state=training.state())
    with pytest.raises(BadCheckpoint, match="belongs to"):
        Training(make_job([2e-3], (60,)), corpus, trunks=[trunk])
    with pytest.raises(BadCheckpoint, match="32 steps long, past the fork of a horizon of 3840 tokens"):
        Training(make_job([4e-3], (30,)), corpus, trunks=[trunk])
    with pytest.raises(BadCheckpoint, match="1 for 2 members"):
        Training(make_job([4e-3, 2e-3], (60,)), corpus, trunks=[trunk])
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        Training(job, corpus, state=b"not a checkpoint")
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        Training(job, corpus, state=training.state()[:1_000])


def test_an_identity_is_the_same_in_every_process(make_job):
    """The order of a set of strings differs from one process to the next."""
    rules = frozenset({"depth", "weight_decay", "batch"})
    base = BaseScale(width=16, depth=2, batch_tokens=128)
    job = make_job([4e-3], parametrization=Parametrization(base=base, rules=rules))
    code = (
        "import pickle, sys; from trainer.checkpoint import identity; "
        "print(identity(pickle.load(sys.stdin.buffer)))"
    )
    for seed in "123":
        environment = os.environ | {"PYTHONHASHSEED": seed}
        printed = subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps(job),
            capture_output=True,
            check=True,
            env=environment,
        )
        assert printed.stdout.decode().strip() == identity(job)


def test_trunks_that_end_at_different_steps_are_refused(corpus, make_job):
    short, long = (Training(make_job([4e-3], (steps,)), corpus) for steps in (30, 40))
    short.advance()
    long.advance()
    with pytest.raises(BadCheckpoint, match=r"different steps: \[24, 32\]"):
        Training(make_job([4e-3, 4e-3], (90,)), corpus, trunks=[short.trunk(0), long.trunk(0)])


def test_points_come_once_each_and_in_order(corpus, make_job):
    training = Training(make_job(RATES[:2], (60, 90)), corpus)
    steps: dict[tuple[int, int | None], list[int]] = {}
    while not training.done:
        for event in training.advance(steps=11):
            if isinstance(event, CurveEvent):
                steps.setdefault((event.member, event.horizon), []).extend(event.steps)
                assert event.tokens == tuple(128 * step for step in event.steps)
    for member in range(2):
        assert steps[member, None] == [16, 32, 48, 64]
        assert steps[member, 60 * 128] == [60]
        assert steps[member, 90 * 128] == [80, 90]
