"""Architectures, parametrizations and optimizers: taken as meant, or refused at the field that is at fault."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.errors import BadInput
from orchestrator.spec import (
    AdamW,
    Dense,
    MixtureOfExperts,
    Muon,
    Mup,
    ProxyTrainer,
    SweepSpec,
    parse_spec,
)
from orchestrator.spec.transfer import Base
from trainer import BaseScale, Parametrization, Recipe, Schedule, Shape, rules_of
from trainer.exceptions import BadRecipe

MOE = {"kind": "moe", "experts": 8, "top_k": 2}
SCALES = [{"width": 64, "depth": 2}, {"width": 32, "depth": 4}]


def fields(scales: list[dict[str, int]] | None = None, **trainer: Any) -> dict[str, Any]:
    return {
        "name": "a recipe",
        "trainer": {"kind": "proxy", **trainer},
        "grid": {
            "scales": SCALES if scales is None else scales,
            "tokens": [800_000, 400_000],
            "batch_tokens": [1024, 256],
            "learning_rates": [1e-3],
        },
    }


def trainer_of(spec: SweepSpec) -> ProxyTrainer:
    assert isinstance(spec.trainer, ProxyTrainer)
    return spec.trainer


def parsed(scales: list[dict[str, int]] | None = None, **trainer: Any) -> ProxyTrainer:
    """The trainer of a sweep, which comes back from its stored form as it was."""
    spec = parse_spec(fields(scales, **trainer))
    assert SweepSpec.model_validate(spec.model_dump(mode="json")) == spec
    return trainer_of(spec)


def base(scales: list[dict[str, int]] | None = None, **trainer: Any) -> Base:
    spec = parse_spec(fields(scales, **trainer))
    found = trainer_of(spec).base(spec.grid)
    assert found is not None
    return found


def test_a_trainer_that_says_nothing_is_dense_standard_and_adamw() -> None:
    trainer = parsed()

    assert (trainer.architecture, trainer.parametrization, trainer.optimizer) == (
        Dense(),
        "standard",
        AdamW(),
    )
    assert parsed(architecture={"qk_norm": False}).architecture == Dense(qk_norm=False)


def test_a_mixture_says_what_it_is_made_of() -> None:
    mixture = parsed(architecture=MOE | {"shared_experts": 1, "balance": "loss"}).architecture

    assert isinstance(mixture, MixtureOfExperts)
    assert (mixture.experts, mixture.top_k, mixture.params) == (8, 2, "active")
    assert mixture.load_balance_rate == 1e-2
    assert MixtureOfExperts.model_validate(MOE).load_balance_rate == 1e-3
    assert MixtureOfExperts.model_validate(MOE | {"balance_rate": "2e-3"}).load_balance_rate == 2e-3


def test_mup_can_be_named_or_spelt_out() -> None:
    assert (
        parsed(parametrization="mup").parametrization
        == Mup()
        == parsed(parametrization={"kind": "mup"}).parametrization
    )
    assert parsed(parametrization={"kind": "standard"}).parametrization == "standard"
    twice = {"kind": "mup", "rules": ["horizon", "depth", "horizon"], "horizon_exponent": -0.32}
    assert parsed(parametrization=twice).parametrization == Mup(
        rules=("depth", "horizon"), horizon_exponent=-0.32
    )
    assert Mup().rules == ("weight_decay",)


def test_muon_has_a_momentum_of_its_own() -> None:
    assert parsed(optimizer={"kind": "muon"}).optimizer == Muon(kind="muon", momentum=0.95)


@pytest.mark.parametrize(
    ("trainer", "at", "says"),
    [
        ({"architecture": MOE | {"top_k": 9}}, "architecture.top_k", "9 is more than the 8 experts"),
        ({"architecture": MOE | {"top_k": 0}}, "architecture.top_k", "greater than or equal to 1"),
        (
            {"architecture": MOE | {"experts": 1, "top_k": 1}},
            "architecture.experts",
            "greater than or equal to 2",
        ),
        ({"architecture": MOE | {"experts": 4097}}, "architecture.experts", "less than or equal to 1023"),
        (
            {"architecture": MOE | {"expert_width": 0}},
            "architecture.expert_width",
            "greater than or equal to 8",
        ),
        (
            {"architecture": MOE | {"shared_experts": -1}},
            "architecture.shared_experts",
            "greater than or equal to 0",
        ),
        ({"architecture": MOE | {"balance": "luck"}}, "architecture.balance", "'bias' or 'loss'"),
        ({"architecture": MOE | {"balance_rate": 0}}, "architecture.balance_rate", "greater than 0"),
        ({"architecture": MOE | {"balance_rate": 2}}, "architecture.balance_rate", "less than or equal to 1"),
        ({"architecture": MOE | {"params": "most"}}, "architecture.params", "'active' or 'total'"),
        ({"architecture": {"kind": "moe", "top_k": 1}}, "architecture.experts", "is missing"),
        ({"architecture": {"experts": 4}}, "architecture.experts", "unknown field"),
        ({"architecture": {"kind": "mix"}}, "architecture.kind", "dense or moe, not 'mix'"),
        ({"architecture": "moe"}, "architecture", "mapping of fields"),
        ({"parametrization": "magic"}, "parametrization", "standard, mup, or {kind: mup"),
        ({"parametrization": 3}, "parametrization", "standard, mup, or {kind: mup"),
        ({"parametrization": {"kind": "standard", "rules": []}}, "parametrization.rules", "belongs to mup"),
        ({"parametrization": {"kind": "mup", "rules": ["width"]}}, "parametrization.rules.0", "'depth'"),
        (
            {"parametrization": {"kind": "mup", "base": {"width": 33}}},
            "parametrization.base.width",
            "even width",
        ),
        (
            {"parametrization": {"kind": "mup", "base": {"depth": 0}}},
            "parametrization.base.depth",
            "equal to 1",
        ),
        (
            {"parametrization": {"kind": "mup", "base": {"heads": 2}}},
            "parametrization.base.heads",
            "unknown field",
        ),
        (
            {"parametrization": {"kind": "mup", "base": {"expert_width": 64}}},
            "parametrization.base.expert_width",
            "is dense",
        ),
        (
            {"parametrization": {"kind": "mup", "base": {"tokens": 64}}},
            "parametrization.base.tokens",
            "64 is less than one step of the base's 256 tokens",
        ),
        (
            {"parametrization": {"kind": "mup", "horizon_exponent": -0.3}},
            "parametrization.horizon_exponent",
            "needs the rule horizon",
        ),
        (
            {"parametrization": {"kind": "mup", "rules": ["horizon"], "horizon_exponent": -1.5}},
            "parametrization.horizon_exponent",
            "greater than or equal to -1",
        ),
        ({"optimizer": {"momentum": 0.9}}, "optimizer.momentum", "unknown field"),
        ({"optimizer": {"kind": "muon", "momentum": 1}}, "optimizer.momentum", "less than 1"),
        ({"optimizer": {"kind": "sgd"}}, "optimizer.kind", "adamw or muon, not 'sgd'"),
        ({"optimizer": {"weight_decay": 1.5}}, "optimizer.weight_decay", "less than or equal to 1 (got 1.5)"),
        (
            {"optimizer": {"kind": "muon", "weight_decay": 1.5}},
            "optimizer.weight_decay",
            "less than or equal to 1 (got 1.5)",
        ),
    ],
)
def test_a_bad_recipe_is_refused_where_it_stands(trainer: dict[str, Any], at: str, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_spec(fields(**trainer))

    assert [problem.path for problem in refused.value.fields] == [f"trainer.{at}"]
    assert says in refused.value.fields[0].message


@pytest.mark.parametrize(
    ("scale", "trainer", "at", "says"),
    [
        ({"experts": 8}, {}, "experts", "the trainer.architecture is dense"),
        ({"expert_width": 64}, {}, "expert_width", "the trainer.architecture is dense"),
        (
            {"experts": 2},
            {"architecture": MOE | {"top_k": 3}},
            "experts",
            "less than trainer.architecture.top_k",
        ),
        ({"experts": 1}, {"architecture": MOE}, "experts", "greater than or equal to 2"),
        ({"width": 36}, {"architecture": MOE}, "width", "36 is not a multiple of 8"),
        ({"expert_width": 12}, {"architecture": MOE}, "expert_width", "multiple of 8"),
        ({"heads": 3}, {"architecture": MOE}, "heads", "not divisible by 3 heads"),
        ({"heads": 32}, {"architecture": MOE}, "heads", "odd width 1"),
        (
            {"expert_width": 16},
            {"architecture": MOE, "parametrization": {"kind": "mup", "base": {"width": 64}}},
            "expert_width",
            "take 64 here",
        ),
    ],
)
def test_a_scale_that_does_not_suit_the_recipe_is_refused(
    scale: dict[str, int], trainer: dict[str, Any], at: str, says: str
) -> None:
    with pytest.raises(BadInput) as refused:
        parse_spec(fields([SCALES[0], {"width": 32, "depth": 2, **scale}], **trainer))

    assert [problem.path for problem in refused.value.fields] == [f"grid.scales.1.{at}"]
    assert says in refused.value.fields[0].message


def test_a_base_is_completed_from_the_smallest_of_the_grid() -> None:
    assert base(parametrization="mup") == Base(
        width=32, depth=4, head_width=16, expert_width=None, batch_tokens=256, tokens=399_872
    )
    asked = {"width": 128, "depth": 8, "batch_tokens": 512, "tokens": 10_240, "expert_width": 256}
    assert base(architecture=MOE, parametrization={"kind": "mup", "base": asked}) == Base(
        head_width=16, **asked
    )


def test_a_base_of_a_scale_of_the_grid_is_that_scale() -> None:
    scales = [
        {"width": 32, "depth": 2, "heads": 1, "expert_width": 32},
        {"width": 64, "depth": 2, "expert_width": 64},
    ]
    found = base(scales, architecture=MOE, parametrization="mup")

    assert (found.head_width, found.expert_width) == (32, 32)


def test_no_base_where_nothing_is_carried_over() -> None:
    spec = parse_spec(fields())

    assert trainer_of(spec).base(spec.grid) is None


def test_experts_whose_width_was_rounded_are_as_fine_as_the_base() -> None:
    third = MOE | {"top_k": 3}
    assert base(
        [{"width": 40, "depth": 1}, {"width": 80, "depth": 1}], architecture=third, parametrization="mup"
    )


@pytest.mark.parametrize(
    ("asked", "at", "says"),
    [
        (
            {"rules": ["batch"], "base": {"batch_tokens": 64}},
            "grid.batch_tokens.0",
            "16 times the base's batch",
        ),
        ({"rules": ["horizon"], "base": {"tokens": 8_000_000}}, "grid.tokens.0", "1 − beta1"),
        (
            {"rules": ["batch", "horizon"], "base": {"batch_tokens": 256, "tokens": 4_000_000}},
            "grid.batch_tokens.0",
            "over 799744 tokens",
        ),
    ],
)
def test_a_base_too_far_for_the_memory_of_the_optimizer_is_refused(
    asked: dict[str, Any], at: str, says: str
) -> None:
    with pytest.raises(BadInput) as refused:
        parse_spec(fields(parametrization={"kind": "mup", **asked}))

    assert [problem.path for problem in refused.value.fields] == [at]
    assert says in refused.value.fields[0].message


def test_a_measured_exponent_of_the_horizon_leaves_the_memory_of_the_optimizer_alone() -> None:
    asked = {"kind": "mup", "rules": ["horizon"], "horizon_exponent": -0.3, "base": {"tokens": 8_000_000_000}}

    assert parsed(parametrization=asked).parametrization == Mup.model_validate(asked)


@settings(max_examples=200, deadline=None)
@given(
    rules=st.sets(st.sampled_from(["depth", "weight_decay", "batch", "horizon"])),
    exponent=st.sampled_from([None, -0.3]),
    batch=st.integers(1, 64).map(lambda steps: 64 * steps),
    horizon=st.integers(100, 100_000).map(lambda steps: 64 * steps),
    beta=st.sampled_from([0.0, 0.5, 0.9, 0.99]),
)
def test_bases_are_accepted_exactly_where_the_trainer_takes_them(
    rules: set[str], exponent: float | None, batch: int, horizon: int, beta: float
) -> None:
    assume(horizon >= batch)
    asked = {
        "kind": "mup",
        "rules": sorted(rules),
        "horizon_exponent": exponent if "horizon" in rules else None,
        "base": {"batch_tokens": batch, "tokens": horizon},
    }
    sweep = fields([{"width": 32, "depth": 2}], parametrization=asked, optimizer={"beta1": beta})
    sweep["grid"] |= {"tokens": [819_200], "batch_tokens": [1024]}
    try:
        recipe = Recipe(
            shape=Shape(width=32, depth=2),
            schedule=Schedule(warmup_tokens=1024, decay_fraction=0.2),
            batch_tokens=1024,
            tokens=819_200,
            beta1=beta,
            parametrization=Parametrization(
                base=BaseScale(width=32, depth=2, batch_tokens=batch, tokens=horizon),
                rules=frozenset(rules),  # type: ignore[arg-type]
                horizon_exponent=asked["horizon_exponent"],  # type: ignore[arg-type]
            ),
        )
        rules_of(recipe)
    except BadRecipe:
        with pytest.raises(BadInput, match="must stay at most 1"):
            parse_spec(sweep)
    else:
        assert trainer_of(parse_spec(sweep)).parametrization == Mup.model_validate(asked)
