"""The lenses look on: they change nothing, and what they tell is what there is to see."""

import math
from itertools import pairwise

import pytest
import torch

from trainer import Diverged, Experts, Finished, Job, Member, Points, Recipe, Schedule, Seen, Shape, Training
from trainer.lens import EVERY, is_due
from trainer.model import Model
from trainer.symptoms import ATTENTION_LOGIT, OUTPUT_LOGIT, UPDATE

MIXTURE = Shape(width=16, depth=2, experts=Experts(count=4, top_k=2, width=16))


def seen(events, member=0, horizon=None):
    return [e for e in events if isinstance(e, Seen) and (e.member, e.horizon) == (member, horizon)]


def points(events, **of):
    """Without the closer looks between."""
    return [event for event in seen(events, **of) if "gradient_norm" in event.values]


@pytest.mark.parametrize("shape", [Shape(width=16, depth=2), MIXTURE], ids=["dense", "experts"])
def test_looking_changes_no_bit(corpus, make_job, shape):
    told = []
    for lens in (True, False):
        job = make_job([2e-3, 8e-3], (60, 90), shape=shape)
        training = Training(job, corpus, lens=lens)
        events = training.advance()
        kept = [
            (e.member, e.horizon, e.losses) if isinstance(e, Points) else (e.member, e.loss, e.trunk_loss)
            for e in events
            if isinstance(e, Points | Finished)
        ]
        told.append(kept)
        assert bool(seen(events)) is lens
    assert told[0] == told[1]


def test_looking_changes_no_bit_of_a_member_that_is_lost(corpus, make_job):
    told = []
    for lens in (True, False):
        events = Training(make_job([4e-3, 5.0], (200,)), corpus, lens=lens).advance()
        told.append(
            [
                (e.step, e.reason.split("; ")[0]) if isinstance(e, Diverged) else e.loss
                for e in events
                if isinstance(e, Diverged | Finished)
            ]
        )
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "shape",
    [MIXTURE, Shape(width=16, depth=3, qk_norm=False), Shape(width=64, depth=1)],
    ids=["experts", "plain", "wide"],
)
def test_what_is_seen_of_a_member_is_the_same_alone_and_in_a_stack(corpus, make_job, outcome, shape):
    """The highest rate is looked at closely, its neighbours are not."""
    rates = (2e-3, 3e-2, 0.3)
    stacked = Training(make_job(rates, (60, 90), shape=shape), corpus).advance()
    for member, rate in enumerate(rates):
        alone = Training(make_job([rate], (60, 90), shape=shape), corpus).advance()
        assert outcome(alone, 0) == outcome(stacked, member)
        assert seen(alone)


@pytest.mark.parametrize("steps", [5, 37, 52, 70])
def test_what_is_seen_is_the_same_after_a_resumption(corpus, make_job, outcome, steps):
    job = make_job([4e-3, 0.4], (60, 90), shape=Shape(width=16, depth=2, qk_norm=False))
    whole = Training(job, corpus).advance()
    first = Training(job, corpus)
    events = first.advance(steps=steps)
    events += Training.resume(job, corpus, first.state()).advance()
    for member in range(2):
        assert outcome(events, member) == outcome(whole, member)


def test_points_are_at_absolute_steps_and_at_the_end_of_a_branch(corpus, make_job):
    events = Training(make_job([4e-3], (60, 90)), corpus).advance()
    assert [event.step for event in points(events)] == [1, 2, 4, 8, 16, 32, 64]
    assert [event.step for event in points(events, horizon=60 * 128)] == [60]
    assert [event.step for event in points(events, horizon=90 * 128)] == [90]
    assert all(event.tokens == 128 * event.step for event in seen(events))


def test_points_of_a_long_training_are_a_few_for_each_doubling():
    due = [step for step in range(1 << 17) if is_due(step)]
    assert due[:8] == [1, 2, 4, 8, 16, 32, 64, 96]
    assert max(b - a for a, b in pairwise(due) if b <= EVERY**2) == EVERY
    for power in range(10, 17):
        assert sum(1 << power <= step < 2 << power for step in due) == EVERY


def test_the_numbers_are_those_of_the_model(corpus, make_job):
    """The first point, recomputed from the trainer's own state before and after the first update."""
    job = make_job([4e-3], (30,), shape=MIXTURE)
    training = Training(job, corpus)
    (event,) = points(training.advance(steps=1))
    model = Model(job.recipe, torch.device("cpu"))
    start = initial(model)
    after = parameters(training, job)
    weights = {m.name: slice(at, at + m.size) for at, m in zip(starts(model), model.matrices, strict=True)}
    change, old = after - start, start
    router = torch.cat([change[weights[f"router.{b}"]] for b in (0, 1)])
    assert event.values["router.update"] == pytest.approx(
        (router.norm() / torch.cat([old[weights[f"router.{b}"]] for b in (0, 1)]).norm()).item(), rel=1e-3
    )
    batch = torch.from_numpy(corpus.batch(0, 0, 2, 64))[:1]
    looks = {}
    model.forward(
        after[None],
        torch.zeros(1, 2, 4),
        batch[:, :-1],
        batch[:, 1:],
        watch=lambda place, block, passing: looks.setdefault(place, []).append(passing),
    )
    assert event.values["head.activation"] == pytest.approx(looks["head"][0].pow(2).mean().sqrt().item(), rel=1e-3)
    blocks = torch.stack(looks["feedforward"])
    assert event.values["feedforward.activation"] == pytest.approx(blocks.pow(2).mean().sqrt().item(), rel=1e-3)
    largest = max(one.tril().abs().max().item() for one in looks["attention_logits"])
    assert event.values["attention_logit"] == pytest.approx(largest, rel=1e-3)


def initial(model):
    from trainer.model import initial_parameters

    return initial_parameters(model.recipe)
