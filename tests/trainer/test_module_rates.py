"""Rates of single modules: factors on a member's own rate, each member's its own."""

from typing import get_args

import pytest
import torch

from trainer import Experts, Member, Recipe, Schedule, Shape, Training
from trainer.exceptions import BadJob
from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import ProxyModel, layout
from trainer.scaling_rules import Module
from trainer.stack import Stack

SHAPE = Shape(width=16, depth=2, context=32, experts=Experts(count=4, top_k=2, width=16, shared=1))


def moved(corpus, modules: dict[str, float]) -> dict[str, float]:
    """Largest change of each matrix in one update without weight decay: AdamW's first step is the rate itself."""
    recipe = Recipe(shape=SHAPE, schedule=Schedule(warmup_tokens=0), batch_tokens=64, weight_decay=0.0)
    model = ProxyModel(recipe, torch.device("cpu"))
    stack = Stack.initial(model, 1)
    before = stack.parameters.clone()
    tokens = torch.from_numpy(corpus.batch(0, 0, recipe.sequences, SHAPE.context))
    rates = [MemberRates(learning_rate=1e-3, modules=modules)]
    stack.train(model, StackOptimizer(model), tokens[:, :-1], tokens[:, 1:], rates)
    changes = torch.split((stack.parameters - before).abs()[0], [m.size for m in layout(recipe)])
    return {m.name: change.max().item() for m, change in zip(layout(recipe), changes, strict=True)}


@pytest.mark.parametrize("module", get_args(Module))
def test_a_factor_moves_its_module_and_no_other(corpus, module):
    of_module = {
        m.name: m.rule.kind.module
        for m in layout(Recipe(shape=SHAPE, schedule=Schedule(warmup_tokens=0), batch_tokens=32))
    }
    for name, change in moved(corpus, {module: 3.0}).items():
        factor = 3.0 if of_module[name] == module else 1.0
        assert change == pytest.approx(factor * 1e-3, rel=1e-3), name


def test_the_same_factor_everywhere_is_another_learning_rate(corpus, make_job, outcome):
    job = make_job((2e-3,), (30,), shape=SHAPE)
    everywhere = Member(
        learning_rate=1e-3,
        horizons=job.members[0].horizons,
        module_rates=dict.fromkeys(get_args(Module), 2.0),
    )
    other = type(job)(recipe=job.recipe, members=(everywhere,))
    assert outcome(Training(other, corpus).advance(), 0) == outcome(Training(job, corpus).advance(), 0)


@pytest.mark.parametrize(
    ("factors", "match"),
    [
        ({"tail": 2.0}, "'tail'; allowed: embedding"),
        ({"head": 0.0}, "head is 0.0"),
        ({"head": float("nan")}, "head is nan"),
    ],
)
def test_bad_factors_are_refused(factors, match):
    with pytest.raises(BadJob, match=match):
        Member(learning_rate=1e-3, horizons=(100,), module_rates=factors)
