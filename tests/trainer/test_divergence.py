import math

import pytest
import torch

from trainer import Diverged, Finished, Job, Member, Points, Training
from trainer.divergence import reason_for_divergence
from trainer.model import Model

LOST = 1e30


@pytest.fixture
def work(monkeypatch):
    """Member-tokens that went forward with a gradient to follow, counted at the model's own door."""
    done = []
    losses = Model.losses

    def counted(self, parameters, inputs, targets):
        if torch.is_grad_enabled():
            done.append(len(parameters) * inputs.numel())
        return losses(self, parameters, inputs, targets)

    monkeypatch.setattr(Model, "losses", counted)
    return done


def test_a_lost_member_leaves_its_neighbours_bit_for_bit_as_they_were(corpus, make_job, outcome):
    with_it = Training(make_job([1e-3, LOST, 4e-3], (60, 90)), corpus).advance()
    without = Training(make_job([1e-3, 4e-3], (60, 90)), corpus).advance()
    assert outcome(with_it, 0) == outcome(without, 0)
    assert outcome(with_it, 2) == outcome(without, 1)
    (lost,) = [event for event in with_it if isinstance(event, Diverged)]
    assert (lost.member, lost.horizons, lost.step) == (1, (60 * 128, 90 * 128), 16)
    assert "not finite" in lost.reason
    assert not any(
        isinstance(event, Points | Finished) and event.member == 1 for event in with_it[with_it.index(lost) :]
    )


def test_a_lost_member_stops_costing_compute(corpus, make_job, work):
    Training(make_job([1e-3, LOST], (60,)), corpus).advance()
    assert sum(work) == (60 + 16) * 128


def test_costs_add_up_to_what_was_trained(corpus, make_job, work):
    job = make_job([1e-3, LOST, 4e-3], (60, 90))
    training = Training(job, corpus)
    events = training.advance()
    ends = [event for event in events if isinstance(event, Finished | Diverged)]
    assert sum(event.flops for event in ends) == sum(work) * job.recipe.shape.flops_per_token
    assert all(event.seconds > 0 for event in ends)
    # One trunk of 72 steps and branches of 12 and 18 for each member that lived.
    assert sum(work) == (2 * (72 + 12 + 18) + 16) * 128


def test_a_job_whose_members_are_all_lost_is_done(corpus, make_job):
    training = Training(make_job([LOST, LOST], (60,)), corpus)
    events = training.advance()
    assert training.done
    assert training.progress == 1.0
    assert [type(event) for event in events] == [Diverged, Diverged]
    assert training.trunk(0) is None


def test_a_rate_that_degrades_without_a_nan_is_noticed(corpus, make_job):
    events = Training(make_job([5.0], (200,)), corpus).advance()
    (end,) = [event for event in events if not isinstance(event, Points)]
    assert isinstance(end, Diverged)
    assert "unigram entropy" in end.reason
    assert all(math.isfinite(loss) for event in events if isinstance(event, Points) for loss in event.losses)


@pytest.mark.parametrize("log_every", [1, 16])
def test_a_rate_that_is_merely_slow_is_not(corpus, make_job, log_every):
    events = Training(make_job([1e-7, 1e-5, 1e-4], (100,)), corpus, log_every=log_every).advance()
    finished = [event for event in events if isinstance(event, Finished)]
    assert [event.member for event in finished] == [0, 1, 2]
    assert finished[0].loss > corpus.unigram_entropy


@pytest.mark.parametrize(
    ("loss", "best", "travel", "lost"),
    [
        (float("nan"), 2.0, 0.0, True),
        (float("inf"), 2.0, 0.0, True),
        (5.0, 5.2, 0.1, False),
        (5.0, 2.0, 0.1, True),
        (2.9, 2.0, 50.0, False),
        (3.2, 3.1, 50.0, True),
        (3.2, 3.1, 1.0, False),
        (3.2, 3.1, None, False),
    ],
)
def test_the_rule(loss, best, travel, lost):
    assert (reason_for_divergence(loss, best, travel, unigram_entropy=3.15) is not None) is lost


def test_it_is_noticed_on_a_branch_too(corpus, make_job):
    """The warm-up is so long that nothing is judged before the fork, and the rate is far too high."""
    recipe = make_job([1.0]).recipe
    job = Job(recipe=recipe, members=(Member(learning_rate=LOST, horizons=(20 * 128,)),))
    events = Training(job, corpus, log_every=1_000).advance()
    (end,) = [event for event in events if not isinstance(event, Points)]
    assert isinstance(end, Diverged)
    assert end.step == 16
