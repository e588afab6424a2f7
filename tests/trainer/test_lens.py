"""The lenses change no loss, and measure what they say."""

import math
from itertools import pairwise

import pytest
import torch

from trainer import (
    CurveEvent,
    DivergedEvent,
    Experts,
    FinishedEvent,
    LensEvent,
    Member,
    Schedule,
    Shape,
    Training,
    TrainingJob,
)
from trainer.lens import DOUBLING, EVERY, Lens, LensState, is_due
from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import ProxyModel
from trainer.stack import Stack
from trainer.symptoms import ATTENTION_LOGIT, OUTPUT_LOGIT, UPDATE

MIXTURE = Shape(width=16, depth=2, experts=Experts(count=4, top_k=2, width=16))


def seen(events, member=0, horizon=None):
    return [e for e in events if isinstance(e, LensEvent) and (e.member, e.horizon) == (member, horizon)]


def points(events, **of):
    """Without probes."""
    return [event for event in seen(events, **of) if "gradient_norm" in event.values]


@pytest.mark.parametrize("shape", [Shape(width=16, depth=2), MIXTURE], ids=["dense", "experts"])
def test_lenses_change_no_bit(corpus, make_job, shape):
    found = []
    for lens in (True, False):
        job = make_job([2e-3, 8e-3], (40,), shape=shape)
        training = Training(job, corpus, lens=lens)
        events = training.advance()
        kept = [
            (e.member, e.horizon, e.losses) if isinstance(e, CurveEvent) else (e.member, e.loss, e.trunk_loss)
            for e in events
            if isinstance(e, CurveEvent | FinishedEvent)
        ]
        found.append(kept)
        assert bool(seen(events)) is lens
    assert found[0] == found[1]


def test_lenses_change_no_bit_of_a_member_that_diverges(corpus, make_job):
    found = []
    for lens in (True, False):
        events = Training(make_job([4e-3, 5.0], (100,)), corpus, lens=lens).advance()
        found.append(
            [
                (e.step, e.reason.split("; ")[0]) if isinstance(e, DivergedEvent) else e.loss
                for e in events
                if isinstance(e, DivergedEvent | FinishedEvent)
            ]
        )
    assert found[0] == found[1]


def test_points_are_at_absolute_steps_and_at_the_end_of_a_branch(corpus, make_job):
    events = Training(make_job([4e-3], (60, 90)), corpus).advance()
    assert [event.step for event in points(events)] == [1, 4, 16, 48]
    assert [event.step for event in points(events, horizon=60 * 128)] == [60]
    assert [event.step for event in points(events, horizon=90 * 128)] == [90]
    assert all(event.tokens == 128 * event.step for event in seen(events))


def test_a_long_training_has_the_same_number_of_points_in_each_doubling():
    due = [step for step in range(1 << 17) if is_due(step)]
    assert due[:6] == [1, 4, 16, 48, 96, 144]
    assert {b - a for a, b in pairwise(due) if a >= 48 and b <= 2 * DOUBLING * EVERY} == {EVERY}
    for doubled in range(6):
        first = DOUBLING * EVERY << doubled
        assert sum(first <= step < 2 * first for step in due) == DOUBLING


@pytest.fixture
def point(corpus, make_job):
    """One update of two members, as a point: the values, the model, the stack before and after."""
    recipe = make_job([4e-3], (30,), shape=MIXTURE).recipe
    model = ProxyModel(recipe, torch.device("cpu"))
    lens, state, stack = Lens(model), LensState.fresh(2), Stack.initial(model, 2)
    tokens = torch.from_numpy(corpus.batch(0, 0, recipe.sequences, recipe.shape.context))
    batch, start = (tokens[:, :-1], tokens[:, 1:]), stack.parameters.clone()
    before = lens.before(stack, *batch)
    rates = [MemberRates(learning_rate=rate) for rate in (4e-3, 8e-3)]
    result = stack.train(model, StackOptimizer(model), *batch, rates)
    (values, _) = (reading.values for reading in lens.point(state, stack, result, *batch, before))
    return values, model, start, stack, result, batch


def test_updates_are_the_rms_of_the_change_over_that_of_the_weights(point):
    values, model, start, stack, _, _ = point
    for module in ("embedding", "attention", "feedforward", "router", "head"):
        kept = torch.cat([torch.full((m.size,), m.rule.kind.module == module) for m in model.matrices])
        old, new = start[0][kept], stack.parameters[0].detach()[kept]
        assert values[f"{module}.update"] == pytest.approx(((new - old).norm() / old.norm()).item(), rel=1e-5)


def test_activations_are_those_of_the_first_sequence_and_change_by_the_update(point):
    values, model, start, stack, result, (inputs, targets) = point

    def passing(parameters):
        found = {}
        model.forward(
            parameters,
            stack.balance,
            inputs[:1],
            targets[:1],
            hook=lambda place, block, passed: found.setdefault(place, []).append(passed[0].detach()),
        )
        return {place: torch.stack(blocks) for place, blocks in found.items()}

    old, new = passing(start), passing(stack.parameters)
    for place in ("embedding", "attention", "feedforward", "router", "head"):
        assert values[f"{place}.activation"] == pytest.approx(rms(new[place]), rel=1e-5)
        assert values[f"{place}.change"] == pytest.approx(rms(new[place] - old[place]), rel=1e-4)
    assert values["attention_logit"] == pytest.approx(new["attention_logits"].tril().abs().max().item())
    assert values["expert_imbalance"] == pytest.approx(4 * result.loads[0].max().item())


def test_logits_that_are_nan_in_a_later_block_are_not_hidden_by_an_earlier_one(point):
    _, model, _, stack, result, batch = point
    lens, state = Lens(model), LensState.fresh(2)
    places = torch.cat([torch.full((m.size,), m.name == "attention_in.1") for m in model.matrices])
    before = lens.before(stack, *batch)
    stack.parameters[0, places] = math.nan
    lost, healthy = (reading.values for reading in lens.point(state, stack, result, *batch, before))
    assert math.isnan(lost["attention_logit"])
    assert math.isfinite(healthy["attention_logit"])
    assert str(state.members[0].first_symptom(1)) == f"attention logits passed {ATTENTION_LOGIT:g} at step 1"


def rms(values):
    return values.pow(2).mean().sqrt().item()


def test_the_largest_norm_and_the_mean_are_of_all_steps_since_the_last_point(corpus, make_job):
    first, second = points(Training(make_job([4e-3], (60,)), corpus).advance())[:2]
    assert first.values["gradient_norm"] == first.values["gradient_norm_max"]
    assert second.values["gradient_norm"] < second.values["gradient_norm_max"]


def test_steps_between_the_last_reading_and_a_fork_count_on_the_branch_too(corpus, make_job):
    """Steps 33 to 37 belong to the trunk, and with a log every 16 steps are read only after the fork."""
    found = []
    for every in (1, 16):
        events = Training(make_job([4e-3], (46,)), corpus, log_every=every).advance()
        (point,) = points(events, horizon=46 * 128)
        found.append([point.values[name] for name in ("gradient_norm", "gradient_norm_max")])
    assert found[0] == found[1]


@pytest.mark.parametrize("width", [16, 64])
def test_a_sample_of_the_weights_gives_nearly_the_same_update(corpus, make_job, monkeypatch, width):
    job = make_job([4e-3], (30,), shape=Shape(width=width, depth=2))
    monkeypatch.setattr("trainer.lens.SAMPLE", 1 << 20)
    whole = points(Training(job, corpus).advance())[-1].values
    monkeypatch.setattr("trainer.lens.SAMPLE", 1 << 10)
    sample = points(Training(job, corpus).advance())[-1].values
    for module in ("attention", "feedforward", "head"):
        assert sample[f"{module}.update"] == pytest.approx(whole[f"{module}.update"], rel=0.1)


def explanation(events):
    """The symptom of the only divergence."""
    (lost,) = [e for e in events if isinstance(e, DivergedEvent)]
    return lost.reason.split("; ")[1]


def test_exploding_attention_logits_are_reported_with_their_step(corpus, make_job):
    """Without a norm of queries and keys the products grow with the square of the rate."""
    shape = Shape(width=32, depth=2, qk_norm=False)
    job = make_job([1.5], (200,), shape=shape, schedule=Schedule(warmup_tokens=32 * 128))
    events = Training(job, corpus).advance()
    passed = [e.step for e in seen(events) if not e.values["attention_logit"] <= ATTENTION_LOGIT]
    below = [e.step for e in seen(events) if e.step < passed[0]]
    when = (
        f"at step {passed[0]}"
        if below[-1] == passed[0] - 1
        else f"between steps {below[-1] + 1} and {passed[0]}"
    )
    assert explanation(events) == f"attention logits passed {ATTENTION_LOGIT:g} {when}"


def test_exploding_output_logits_are_reported(corpus, make_job):
    """The head alone has a rate far too high, and nothing holds its weights back."""
    recipe = make_job([1e-2], (200,), weight_decay=0.0).recipe
    member = Member(learning_rate=1e-2, horizons=(200 * 128,), module_rates={"head": 300.0})
    events = Training(TrainingJob(recipe=recipe, members=(member,)), corpus).advance()
    assert explanation(events).startswith(f"the output logits' RMS passed {OUTPUT_LOGIT:g} ")


def test_a_divergence_at_once_is_explained_by_its_first_update(corpus, make_job):
    events = Training(make_job([1e9], (60,)), corpus).advance()
    sentence = explanation(events)
    assert sentence.startswith("one update was ")
    assert sentence.endswith(" weights at step 1")
    assert points(events)[0].values["attention.update"] > UPDATE


def test_without_lenses_a_divergence_has_no_symptom(corpus, make_job):
    (lost,) = [
        e
        for e in Training(make_job([1e30], (60,)), corpus, lens=False).advance()
        if isinstance(e, DivergedEvent)
    ]
    assert lost.reason == "the loss is not finite"


def test_a_trunk_without_lenses_continues_with_them(corpus, make_job):
    first = Training(make_job([4e-3], (60,)), corpus, lens=False)
    first.advance()
    events = Training(make_job([4e-3], (90,)), corpus, trunks=[first.trunk(0)]).advance()
    assert [event.step for event in points(events)] == []
    assert [event.step for event in points(events, horizon=90 * 128)] == [90]
    assert all(math.isfinite(value) for event in seen(events) for value in event.values.values())
