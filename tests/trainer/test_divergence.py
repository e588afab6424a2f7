import math

import numpy as np
import pytest
import torch

from trainer import (
    CurveEvent,
    DivergedEvent,
    FinishedEvent,
    LensEvent,
    Member,
    Schedule,
    Shape,
    Training,
    TrainingJob,
    load_corpus,
)
from trainer.divergence import TRAVEL, find_divergence, judged_loss, travel
from trainer.proxy_model import ProxyModel

LOST = 1e30


@pytest.fixture
def work(monkeypatch):
    """Member-tokens of each forward pass with gradients, counted in the model."""
    done = []
    forward = ProxyModel.forward

    def counted(self, parameters, balance, inputs, targets, **others):
        if torch.is_grad_enabled():
            done.append(len(parameters) * inputs.numel())
        return forward(self, parameters, balance, inputs, targets, **others)

    monkeypatch.setattr(ProxyModel, "forward", counted)
    return done


def test_a_lost_member_leaves_its_neighbours_bit_for_bit_as_they_were(corpus, make_job, outcome):
    with_it = Training(make_job([1e-3, LOST, 4e-3], (60, 90)), corpus).advance()
    without = Training(make_job([1e-3, 4e-3], (60, 90)), corpus).advance()
    assert outcome(with_it, 0) == outcome(without, 0)
    assert outcome(with_it, 2) == outcome(without, 1)
    (lost,) = [event for event in with_it if isinstance(event, DivergedEvent)]
    assert (lost.member, lost.horizons, lost.step) == (1, (60 * 128, 90 * 128), 16)
    assert lost.tokens == 16 * 128
    assert lost.reason.startswith("the loss is not finite; ")
    assert not any(
        isinstance(event, CurveEvent | FinishedEvent) and event.member == 1
        for event in with_it[with_it.index(lost) :]
    )


def test_a_lost_member_stops_costing_compute(corpus, make_job, work):
    Training(make_job([1e-3, LOST], (60,)), corpus).advance()
    assert sum(work) == (60 + 16) * 128


def test_costs_add_up_to_what_was_trained(corpus, make_job, work):
    job = make_job([1e-3, LOST, 4e-3], (60, 90))
    training = Training(job, corpus)
    events = training.advance()
    ends = [event for event in events if isinstance(event, FinishedEvent | DivergedEvent)]
    assert sum(event.flops for event in ends) == sum(work) * job.recipe.shape.flops_per_token
    assert all(event.seconds > 0 for event in ends)
    # One trunk of 72 steps and branches of 12 and 18 for each member that lived.
    assert sum(work) == (2 * (72 + 12 + 18) + 16) * 128


def test_a_job_whose_members_are_all_lost_is_done(corpus, make_job):
    training = Training(make_job([LOST, LOST], (60,)), corpus)
    events = training.advance()
    assert training.done
    assert [type(event) for event in events if not isinstance(event, LensEvent)] == [
        DivergedEvent,
        DivergedEvent,
    ]
    assert training.trunk(0) is None


def test_a_rate_that_degrades_without_a_nan_is_noticed(corpus, make_job):
    events = Training(make_job([5.0], (200,)), corpus).advance()
    (end,) = [event for event in events if isinstance(event, FinishedEvent | DivergedEvent)]
    assert isinstance(end, DivergedEvent)
    assert "unigram entropy" in end.reason
    assert all(
        math.isfinite(loss) for event in events if isinstance(event, CurveEvent) for loss in event.losses
    )


@pytest.mark.parametrize("log_every", [1, 16])
def test_a_rate_that_is_merely_slow_is_not(corpus, make_job, log_every):
    events = Training(make_job([1e-7, 1e-5, 1e-4], (100,)), corpus, log_every=log_every).advance()
    finished = [event for event in events if isinstance(event, FinishedEvent)]
    assert [event.member for event in finished] == [0, 1, 2]
    assert finished[0].loss > corpus.unigram_entropy


@pytest.mark.parametrize(
    ("loss", "best", "travel", "cause"),
    [
        (float("nan"), 2.0, 0.0, "the loss is not finite"),
        (float("inf"), 2.0, 0.0, "the loss is not finite"),
        (5.0, 5.2, 0.1, None),
        (
            5.0,
            2.0,
            0.1,
            "the loss rose from 2.000 to 5.000 nats, above the corpus's unigram entropy of 3.150",
        ),
        (2.9, 2.0, 50.0, None),
        (
            3.2,
            3.1,
            50.0,
            "the loss after the decay is 3.200 nats, above the corpus's unigram entropy of 3.150",
        ),
        (3.2, 3.1, 1.0, None),
        (3.2, 3.1, None, None),
    ],
)
def test_the_rule(loss, best, travel, cause):
    assert find_divergence(loss, best, travel, unigram_entropy=3.15) == cause


@pytest.mark.parametrize("warmup", [0, 1, 16])
@pytest.mark.parametrize("shape", ["linear", "sqrt", "cosine"])
def test_travel_is_the_sum_of_the_rates(warmup, shape):
    timetable = Schedule(warmup_tokens=128 * warmup, shape=shape, final_fraction=0.1).in_steps(128)
    for steps in (40, 97):
        rates = [3e-3 * timetable.multiplier(step, 128 * steps) for step in range(steps)]
        assert travel(timetable, 128 * steps, 3e-3) == pytest.approx(sum(rates))


@pytest.mark.parametrize(
    ("smoothed", "heldout", "judged"),
    [(2.0, 4.0, 2.0), (3.5, 3.0, 3.0), (math.inf, 5.0, 5.0), (2.0, math.inf, math.inf)],
)
def test_the_lower_loss_is_judged_unless_one_is_lost(smoothed, heldout, judged):
    assert judged_loss(smoothed, heldout) == judged


def test_a_heldout_loss_that_is_not_a_number_is_not_hidden():
    assert math.isnan(judged_loss(2.0, math.nan))


@pytest.fixture
def changing(tmp_path):
    """A text whose held-out end has other characters than the rest."""
    begin = np.arange(60_000) % 4
    end = np.random.default_rng(0).integers(4, 64, size=4_001)
    path = tmp_path / "changing.bin"
    np.concatenate([begin, end]).astype("<u2").tofile(path)
    return load_corpus(path, token_type="uint16", vocab_size=64)


def test_a_text_whose_end_differs_is_not_called_divergence(changing, make_job):
    """Its held-out loss is far above anything seen in training, and the rate has travelled far."""
    job = make_job([2e-2], (120, 300), shape=Shape(width=16, depth=2, vocab_size=64))
    assert travel(job.recipe.timetable, 300 * 128, 2e-2) > TRAVEL
    finished = [event for event in Training(job, changing).advance() if isinstance(event, FinishedEvent)]
    assert len(finished) == 2
    assert all(event.loss > changing.unigram_entropy + 1 for event in finished)


def test_overfitting_is_not_called_divergence(tmp_path, make_job):
    """A text of chance, short enough to learn by heart: the training loss falls and the held-out loss rises."""
    path = tmp_path / "chance.bin"
    np.random.default_rng(1).integers(0, 64, size=700).astype("<u2").tofile(path)
    chance = load_corpus(path, token_type="uint16", vocab_size=64)
    shape = Shape(width=32, depth=2, vocab_size=64, context=32)
    events = Training(make_job([1e-2], (300, 600), shape=shape), chance).advance()
    finished = [event for event in events if isinstance(event, FinishedEvent)]
    assert len(finished) == 2
    curve = [loss for event in events if isinstance(event, CurveEvent) for loss in event.losses]
    assert curve[-1] < chance.unigram_entropy - 0.5
    assert finished[-1].loss > chance.unigram_entropy + 0.5


def test_it_is_noticed_on_a_branch_too(corpus, make_job):
    """The warm-up is so long that nothing is judged before the fork, and the rate is far too high."""
    recipe = make_job([1.0]).recipe
    job = TrainingJob(recipe=recipe, members=(Member(learning_rate=LOST, horizons=(20 * 128,)),))
    events = Training(job, corpus, log_every=1_000).advance()
    (end,) = [event for event in events if isinstance(event, FinishedEvent | DivergedEvent)]
    assert isinstance(end, DivergedEvent)
    assert end.step == 16
