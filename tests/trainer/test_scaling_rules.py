"""The table of scaling rules, row by row, against numbers worked out by hand from the papers."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch

from trainer import (
    BaseScale,
    Corpus,
    Experts,
    FinishedEvent,
    Parametrization,
    Recipe,
    Schedule,
    Shape,
    Training,
    TrainingJob,
    rules_of,
)
from trainer.exceptions import BadRecipe
from trainer.proxy_model import initial_parameters
from trainer.scaling_rules import PARAMETER_KINDS

EVERY_RULE = frozenset({"depth", "weight_decay", "batch", "horizon"})
DENSE = ("embedding", "attention_in", "attention_out", "feedforward_in", "feedforward_out", "head")


def recipe(
    shape: Shape, *rules: str, base: BaseScale | None = None, exponent: float | None = None, **fields: Any
) -> Recipe:
    """A recipe at a shape; mup from `base` if there is one."""
    parametrization = (
        Parametrization()
        if base is None
        else Parametrization(base=base, rules=frozenset(rules), horizon_exponent=exponent)
    )
    fields = {"batch_tokens": 128, "schedule": Schedule(warmup_tokens=0), **fields}
    return Recipe(shape=shape, parametrization=parametrization, **fields)


def column(recipe: Recipe, name: str) -> dict[str, float]:
    """One column of the table, by kind of parameter."""
    return {rule.kind.name: getattr(rule, name) for rule in rules_of(recipe).rules}


def mixture(width: int, expert_width: int, *, top_k: int = 2, depth: int = 2, shared: int = 0) -> Shape:
    return Shape(
        width=width,
        depth=depth,
        experts=Experts(count=4, top_k=top_k, width=expert_width, shared=shared),
    )


WIDER = recipe(Shape(width=64, depth=2), base=BaseScale(width=16, depth=2))
DEEPER = recipe(Shape(width=64, depth=6), "depth", "weight_decay", base=BaseScale(width=16, depth=2))


def test_standard_scales_nothing():
    table = recipe(Shape(width=64, depth=6))
    for name in ("rate", "decay", "epsilon", "multiplier"):
        assert column(table, name) == dict.fromkeys(DENSE, 1.0)


def test_standard_starts_with_variance_one_over_fan_in_less_where_it_writes_to_the_residual_stream():
    assert column(recipe(Shape(width=64, depth=8)), "std") == {
        "embedding": 1.0,
        "attention_in": 1 / 8,
        "attention_out": 1 / 32,  # 1/√64 / √(2·8)
        "feedforward_in": 1 / 8,
        "feedforward_out": 1 / 64,  # 1/√256 / √(2·8)
        "head": 1 / 8,
    }


def test_mup_divides_the_rates_of_hidden_matrices_by_the_growth_of_width():
    """Tensor Programs V, table 8."""
    assert column(WIDER, "rate") == {
        "embedding": 1.0,
        "attention_in": 0.25,
        "attention_out": 0.25,
        "feedforward_in": 0.25,
        "feedforward_out": 0.25,
        "head": 1.0,
    }


def test_mup_divides_the_logits_by_the_growth_of_width_and_starts_the_head_as_the_base():
    """Tensor Programs V, table 8: the output's multiplier 1/m_w, its variance that of the base."""
    assert column(WIDER, "multiplier") == dict.fromkeys(DENSE, 1.0) | {"head": 0.25}
    assert column(WIDER, "std")["head"] == 0.25  # 1/√16
    assert column(WIDER, "std")["attention_in"] == 0.125  # 1/√64


def test_width_alone_leaves_decay_and_epsilon():
    for name in ("decay", "epsilon"):
        assert column(WIDER, name) == dict.fromkeys(DENSE, 1.0)


def test_weight_decay_keeps_rate_times_decay():
    """MuAdamW of microsoft/mup: AdamW's decay of a weight in one step is rate × decay."""
    wider = recipe(Shape(width=64, depth=2), "weight_decay", base=BaseScale(width=16, depth=2))
    assert column(wider, "decay") == dict.fromkeys(DENSE, 4.0) | {"embedding": 1.0, "head": 1.0}
    for rule in rules_of(wider).rules:
        assert rule.rate * rule.decay == 1.0


def test_muons_rates_fall_as_the_root_of_the_growth():
    """arXiv 2512.05620: updates of the RMS of AdamW's stretch by √m; embedding, router and head stay with AdamW."""
    wider = recipe(
        mixture(64, 64), "weight_decay", base=BaseScale(width=16, depth=2, expert_width=32), optimizer="muon"
    )
    assert column(wider, "rate") == {
        "embedding": 1.0,
        "router": 1 / 4,
        "attention_in": 1 / 2,
        "attention_out": 1 / 2,
        "expert_in": 1 / 2,
        "expert_out": 1 / 2,
        "head": 1.0,
    }
    assert column(wider, "decay")["attention_in"] == 2.0


def test_depth_scales_the_branches_and_not_the_rates():
    """CompleteP with α = 1: branches fall as 1/m_L, rates do not."""
    multipliers = column(DEEPER, "multiplier")
    assert {kind: multipliers[kind] for kind in DENSE if kind != "head"} == {
        "embedding": 1.0,
        "attention_in": 1.0,
        "attention_out": pytest.approx(1 / 3),
        "feedforward_in": 1.0,
        "feedforward_out": pytest.approx(1 / 3),
    }
    assert column(DEEPER, "rate") == column(WIDER, "rate")


def test_depth_keeps_the_initial_values_that_the_base_writes_with():
    assert column(DEEPER, "std")["attention_out"] == 1 / 16  # 1/√64 / √(2·2)
    assert column(DEEPER, "std")["feedforward_out"] == 1 / 32  # 1/√256 / √(2·2)


def test_epsilon_falls_with_the_gradients():
    """CompleteP: m_w^−1·m_L^−1 in blocks. Complete(d)P: m_w^−1 for the embedding.

    The head's too, whose multiplier is in the forward pass.
    """
    assert column(DEEPER, "epsilon") == {
        "embedding": 1 / 4,
        "attention_in": pytest.approx(1 / 12),
        "attention_out": pytest.approx(1 / 12),
        "feedforward_in": pytest.approx(1 / 12),
        "feedforward_out": pytest.approx(1 / 12),
        "head": 1 / 4,
    }


def test_a_deeper_proxy_without_the_rule_starts_smaller_where_it_writes_to_the_residual_stream():
    without = recipe(Shape(width=64, depth=8), base=BaseScale(width=16, depth=2))
    assert column(without, "std")["attention_out"] == 1 / 32  # 1/√64 / √(2·8)
    assert column(without, "multiplier")["attention_out"] == 1.0


NEAR = BaseScale(width=16, depth=2, batch_tokens=128, tokens=8_192)


def test_batch_and_horizon_move_every_rate_decay_and_epsilon_by_square_roots():
    """Complete(d)P with m_B = 4 and m_D = 16: √(m_B/m_D) = 1/2."""
    longer = recipe(
        Shape(width=16, depth=2), "batch", "horizon", base=NEAR, batch_tokens=512, tokens=8_192 * 16
    )
    assert column(longer, "rate") == dict.fromkeys(DENSE, 0.5)
    assert column(longer, "decay") == dict.fromkeys(DENSE, 0.5)
    assert column(longer, "epsilon") == dict.fromkeys(DENSE, 2.0)


def test_batch_and_horizon_make_the_moments_remember_as_many_tokens_for_their_noise():
    """1 − β times m_B/m_D = 1/4: 0.9 becomes 1 − 0.1/4, 0.95 becomes 1 − 0.05/4."""
    longer = rules_of(
        recipe(Shape(width=16, depth=2), "batch", "horizon", base=NEAR, batch_tokens=512, tokens=8_192 * 16)
    )
    assert (longer.beta1, longer.beta2) == (pytest.approx(0.975), pytest.approx(0.9875))


def test_batch_alone_raises_the_rate():
    """m_B = 4 at the base's horizon: rates and decay double, 1 − β becomes fourfold."""
    larger = recipe(Shape(width=16, depth=2), "batch", base=NEAR, batch_tokens=512, tokens=8_192 * 16)
    assert column(larger, "rate")["attention_in"] == column(larger, "decay")["head"] == 2.0
    assert rules_of(larger).beta1 == pytest.approx(0.6)


def test_a_measured_exponent_of_the_horizon_moves_the_rate_alone():
    """arXiv 2409.19913: rate × m_D^−0.32; with m_D = 16, 2^(−1.28)."""
    longer = recipe(
        Shape(width=64, depth=2), "horizon", base=NEAR, exponent=-0.32, batch_tokens=512, tokens=8_192 * 16
    )
    rates = column(longer, "rate")
    assert rates["embedding"] == pytest.approx(0.4118, abs=1e-4)
    assert rates["attention_in"] == rates["embedding"] / 4
    assert column(longer, "decay") == column(longer, "epsilon") == dict.fromkeys(DENSE, 1.0)
    assert rules_of(longer).beta1 == 0.9


def test_what_no_rule_names_does_not_scale():
    """Another depth, batch and horizon than the base's, without their rules."""
    other = recipe(Shape(width=64, depth=6), base=NEAR, batch_tokens=512, tokens=8_192 * 16)
    assert column(other, "rate") == column(WIDER, "rate")
    assert column(other, "multiplier") == column(WIDER, "multiplier")
    assert rules_of(other).beta2 == 0.95


def test_router_and_expert_up_have_rates_by_width_and_expert_down_by_the_experts_width():
    """arXiv 2601.20205, table 2, with the width four-fold and the experts' eight-fold."""
    wider = recipe(mixture(64, 128), "weight_decay", base=BaseScale(width=16, depth=2, expert_width=2 * 16))
    rates, decays = column(wider, "rate"), column(wider, "decay")
    assert (rates["router"], rates["expert_in"], rates["expert_out"]) == (1 / 4, 1 / 4, 1 / 8)
    assert (decays["router"], decays["expert_in"], decays["expert_out"]) == (4.0, 4.0, 8.0)


def test_experts_of_a_fixed_width_keep_the_rate_of_their_second_matrix():
    wider = recipe(
        mixture(64, 16), "weight_decay", "depth", base=BaseScale(width=16, depth=2, expert_width=2 * 16)
    )
    assert column(wider, "rate")["expert_out"] == column(wider, "decay")["expert_out"] == 1.0
    assert column(wider, "rate")["expert_in"] == 1 / 4


def test_epsilon_of_what_feeds_the_experts_falls_with_their_width():
    """arXiv 2601.20205, table 2: M^−1·L^−1 for expert up."""
    wider = recipe(mixture(64, 128, depth=4), "depth", base=BaseScale(width=16, depth=2, expert_width=2 * 16))
    epsilons = column(wider, "epsilon")
    assert epsilons["expert_in"] == 1 / 16
    assert epsilons["expert_out"] == epsilons["router"] == 1 / 8


def test_the_fan_in_of_the_second_matrix_is_that_of_all_experts_of_a_token():
    """More chosen experts of the same width grow the fan-in like wider ones do."""
    more = recipe(mixture(16, 16, top_k=4), base=BaseScale(width=16, depth=2, expert_width=2 * 16))
    assert column(more, "rate")["expert_out"] == 1 / 2
    assert column(more, "std")["expert_out"] == 1 / 16  # 1/√(4·16) / √(2·2)


def test_shared_experts_follow_the_experts():
    wider = recipe(
        mixture(64, 128, shared=1), "depth", base=BaseScale(width=16, depth=2, expert_width=2 * 16)
    )
    for name in ("rate", "decay", "epsilon"):
        values = column(wider, name)
        assert values["feedforward_in"] == values["expert_in"]
        assert values["feedforward_out"] == values["expert_out"]


def test_attention_is_scaled_by_the_head_width_in_units_of_the_base():
    """Tensor Programs V: q·k / d. At d = 64 from a base of 16, √16/64 times the scale of 2."""
    wide_heads = Shape(width=64, depth=2, heads=1)
    base = BaseScale(width=16, depth=2, head_width=16)
    assert rules_of(recipe(wide_heads, base=base)).attention_scale == 2 * 4 / 64
    assert rules_of(recipe(wide_heads, base=replace(base, head_width=None))).attention_scale == 2 / 8
    assert rules_of(recipe(wide_heads)).attention_scale == 2 / 8


def test_every_kind_names_its_source():
    assert all("arXiv" in kind.source for kind in PARAMETER_KINDS)


SHAPES = {
    "dense": (Shape(width=32, depth=3), None),
    "mixture": (mixture(32, 16, depth=3), 32),
    "mixture with shared experts": (mixture(32, 16, depth=3, shared=1), 32),
}


def at_the_base(shape: Shape, expert_width: int | None, rules: Iterable[str]) -> tuple[Recipe, Recipe]:
    """The standard recipe and mup's at the very same scale."""
    base = BaseScale(
        width=shape.width,
        depth=shape.depth,
        head_width=shape.head_width,
        expert_width=expert_width,
        batch_tokens=128,
        tokens=128 * 30,
    )
    scale = {"tokens": 128 * 30}
    return recipe(shape, **scale), recipe(shape, *rules, base=base, **scale)


@pytest.mark.parametrize("rules", [(), EVERY_RULE], ids=["width alone", "every rule"])
@pytest.mark.parametrize(("shape", "expert_width"), SHAPES.values(), ids=SHAPES)
def test_mup_at_its_base_is_standard_parameter_for_parameter(shape, expert_width, rules):
    standard, mup = at_the_base(shape, expert_width, rules)
    assert rules_of(mup) == rules_of(standard)
    assert torch.equal(initial_parameters(mup), initial_parameters(standard))


@pytest.mark.parametrize(("shape", "expert_width"), SHAPES.values(), ids=SHAPES)
def test_mup_at_its_base_trains_like_standard_bit_for_bit(
    shape: Shape, expert_width: int | None, corpus: Corpus, make_job: Callable[..., TrainingJob]
):
    job = make_job([3e-3, 1e-2], [30])
    losses = []
    for each in at_the_base(shape, expert_width, EVERY_RULE):
        training = Training(replace(job, recipe=each), corpus)
        losses.append([event.loss for event in training.advance() if isinstance(event, FinishedEvent)])
    assert len(losses[0]) == 2
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"base": BaseScale(width=16, depth=2), "rules": frozenset({"heads"})},
            "allowed: depth",
        ),
        ({"rules": frozenset({"depth"})}, "rules need the base"),
        (
            {"base": BaseScale(width=16, depth=2), "rules": frozenset({"batch"})},
            "need base.batch_tokens",
        ),
        (
            {
                "base": BaseScale(width=16, depth=2, batch_tokens=128),
                "rules": frozenset({"horizon"}),
            },
            "need base.tokens",
        ),
        ({"base": NEAR, "horizon_exponent": -0.3}, "needs the rule horizon"),
        (
            {"base": NEAR, "rules": frozenset({"horizon"}), "horizon_exponent": 0.3},
            "horizon_exponent is 0.3; allowed: from -1 to 0",
        ),
        (
            {"base": NEAR, "rules": frozenset({"horizon"}), "horizon_exponent": float("nan")},
            "horizon_exponent is nan",
        ),
    ],
)
def test_a_parametrization_that_contradicts_itself_is_refused(fields: dict[str, Any], message: str):
    with pytest.raises(BadRecipe, match=message):
        Parametrization(**fields)


@pytest.mark.parametrize("field", ["width", "depth", "head_width", "expert_width", "batch_tokens", "tokens"])
def test_a_base_without_size_is_refused(field: str):
    with pytest.raises(BadRecipe, match=f"base: {field} is 0; allowed: at least 1"):
        BaseScale(**({"width": 16, "depth": 2} | {field: 0}))


def test_a_mixture_is_not_compared_with_a_dense_base():
    with pytest.raises(BadRecipe, match="the shape is a mixture and its base is dense"):
        rules_of(recipe(mixture(32, 16), base=BaseScale(width=16, depth=2)))


def test_a_dense_proxy_is_not_compared_with_a_base_that_is_a_mixture():
    with pytest.raises(BadRecipe, match="the shape is dense and its base is a mixture"):
        rules_of(recipe(Shape(width=32, depth=2), base=BaseScale(width=16, depth=2, expert_width=32)))


def test_the_rule_horizon_needs_a_horizon():
    with pytest.raises(BadRecipe, match="tokens is missing; the rule horizon needs the horizon"):
        rules_of(recipe(Shape(width=16, depth=2), "horizon", base=NEAR))


def test_a_batch_too_far_from_the_base_leaves_no_first_moment():
    """1 − 0.1·16 is below zero."""
    with pytest.raises(BadRecipe, match="beta1 of 0.9 becomes -0.6 at 16 times the base's batch"):
        rules_of(recipe(Shape(width=16, depth=2), "batch", base=NEAR, batch_tokens=2_048))
