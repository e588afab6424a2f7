"""Comparisons at a held-out scale: those permitted and those refused."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import BadInput
from orchestrator.spec import Mup, ProxyTrainer, SweepSpec, parse_spec

COMPARED: dict[str, Any] = {
    "name": "compared",
    "trainer": {"kind": "proxy"},
    "grid": {
        "scales": [{"width": 16, "depth": 2}, {"width": 32, "depth": 2}],
        "tokens": [131_072, 262_144],
        "batch_tokens": [256, 512],
        "learning_rates": [1e-3, 2e-3],
    },
    "comparison": {"scale": {"width": 64, "depth": 3}},
}


def compared(**changes: Any) -> SweepSpec:
    return parse_spec({**COMPARED, "comparison": {**COMPARED["comparison"], **changes}})


def test_a_comparison_is_at_the_longest_horizon_and_the_smallest_batch_unless_it_says() -> None:
    spec = compared()
    assert spec.comparison is not None
    assert spec.comparison.horizon(spec.grid) == (262_144, 256)
    assert spec.comparison.base_horizon(spec.grid) == (262_144, 256)
    other = compared(tokens=100_000, batch_tokens=512, base={"tokens": 131_072})
    assert other.comparison is not None
    assert other.comparison.horizon(other.grid) == (99_840, 512)
    assert other.comparison.base_horizon(other.grid) == (131_072, 512)


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"scale": {"width": 32, "depth": 2}}, "comparison.scale", "are one of grid.scales"),
        ({"scale": {"width": 33, "depth": 2}}, "comparison.scale.width", "33 is odd"),
        ({"tokens": 300}, "comparison.tokens", "decays before the warmup"),
        ({"batch_tokens": 100}, "comparison.batch_tokens", "not a multiple of the context"),
        (
            {"batch_tokens": 1024},
            "comparison.base.batch_tokens",
            "the comparison's own, 1024 is none of grid.batch_tokens: 256, 512",
        ),
        ({"base": {"batch_tokens": 64}}, "comparison.base.batch_tokens", "64 is none of grid.batch_tokens"),
        ({"base": {"tokens": 7}}, "comparison.base.tokens", "7 is none of grid.tokens: 131072, 262144"),
        ({"base": {"scale": {"width": 24, "depth": 2}}}, "comparison.base.scale", "are none of grid.scales"),
        ({"seeds": 21}, "comparison.seeds", "less than or equal to 20"),
        ({"rules": ["width"]}, "comparison.rules.0", "must be 'depth', 'weight_decay', 'batch' or 'horizon'"),
        (
            {"rules": ["depth"], "horizon_exponent": -0.3},
            "comparison.horizon_exponent",
            "needs the rule horizon",
        ),
        ({"batch_tokens": 1_048_576}, "comparison.batch_tokens", "is less than one step of 1048576 tokens"),
        ({"module_rates": {"span": 1}}, "comparison.module_rates.span", "greater than 1"),
        ({"module_rates": {"runs": 1}}, "comparison.module_rates.runs", "greater than or equal to 2"),
        ({"module_rates": {"sampler": "law"}}, "comparison.module_rates.sampler", "'tpe' or 'gp'"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused_at_its_field(
    changes: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(BadInput) as refusal:
        compared(**changes)
    (problem,) = refusal.value.fields
    assert problem.path == path
    assert message in problem.message


def test_a_comparison_needs_proxies() -> None:
    with pytest.raises(BadInput, match="comparison: needs the trainer of kind proxy"):
        parse_spec({**COMPARED, "trainer": {"kind": "replay", "table": "t"}, "grid": {}})


MIXTURE: dict[str, Any] = {
    "trainer": {"kind": "proxy", "architecture": {"kind": "moe", "experts": 4, "top_k": 2}},
}


@pytest.mark.parametrize(
    ("fields", "changes", "path", "message"),
    [
        (
            {"trainer": {"kind": "proxy", "optimizer": {"beta2": 0.1}}},
            {"tokens": 131_072},
            "comparison.batch_tokens",
            "Take a nearer comparison.base, or leave out the rule batch and horizon",
        ),
        ({}, {"scale": {"width": 64, "depth": 2, "experts": 4}}, "comparison.scale.experts", "is dense"),
        (
            MIXTURE,
            {"scale": {"width": 64, "depth": 2, "expert_width": 32}},
            "comparison.scale.expert_width",
            "cannot be compared with the base's 32 in 16",
        ),
    ],
)
def test_a_scale_that_the_rules_cannot_carry_a_rate_to_is_refused_at_its_field(
    fields: dict[str, Any], changes: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(BadInput) as refusal:
        parse_spec({**COMPARED, **fields, "comparison": {**COMPARED["comparison"], **changes}})
    (problem,) = refusal.value.fields
    assert problem.path == path
    assert message in problem.message


def test_a_sweep_in_mup_has_no_fitting_to_compare_with() -> None:
    with pytest.raises(BadInput, match="comparison: needs trainer.parametrization: standard"):
        parse_spec({**COMPARED, "trainer": {"kind": "proxy", "parametrization": "mup"}})


def test_transfer_has_the_base_of_the_grid_and_the_rules_of_the_comparison() -> None:
    spec = compared(rules=["horizon", "depth"], horizon_exponent=-0.3, base={"tokens": 131_072})
    assert spec.comparison is not None
    assert isinstance(spec.trainer, ProxyTrainer)
    grid, trainer = spec.comparison.transferred(spec.grid, spec.trainer)
    base = trainer.base(grid)
    assert base is not None
    assert (base.width, base.depth, base.head_width) == (16, 2, 16)
    assert (base.tokens, base.batch_tokens) == (131_072, 256)
    assert isinstance(trainer.parametrization, Mup)
    assert (trainer.parametrization.rules, trainer.parametrization.horizon_exponent) == (
        ("depth", "horizon"),
        -0.3,
    )
