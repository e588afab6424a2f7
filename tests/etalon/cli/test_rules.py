"""``etalon rules`` from a file, without a server: the table, JSON, refusals and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.etalon.cli.running import answer_of, etalon, plain, refusal_of

SPEC: dict[str, Any] = {
    "name": "carried",
    "trainer": {
        "kind": "proxy",
        "parametrization": {"kind": "mup", "base": {"width": 16, "depth": 2}, "rules": ["weight_decay"]},
    },
    "grid": {
        "scales": [{"width": 16, "depth": 2}, {"width": 32, "depth": 2}, {"width": 64, "depth": 6}],
        "tokens": [131_072, 262_144],
        "batch_tokens": [256],
        "learning_rates": [1e-3, 1e-2],
    },
}
MOE = {"kind": "moe", "experts": 4, "top_k": 2}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return written(tmp_path, SPEC)


def written(folder: Path, fields: dict[str, Any]) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def with_trainer(**fields: Any) -> dict[str, Any]:
    return SPEC | {"trainer": SPEC["trainer"] | fields}


def at_target(found: dict[str, Any], name: str) -> dict[str, float]:
    return {row["kind"]: row["target"][name] for row in found["parameters"]}


def test_the_base_and_the_largest_scale_are_shown_side_by_side(spec: Path) -> None:
    code, shown = etalon("rules", spec)
    shown = plain(shown)

    assert code == 0
    assert "parametrization mup, rules for width, weight decay" in shown
    assert "base width 16, depth 2, heads 1, batch of 256 tokens, 131 k tokens" in shown
    assert "target width 64, depth 6, heads 4, batch of 256 tokens, 262 k tokens" in shown
    assert "m_w 4, m_L 3 (not scaled), m_B 1, m_D 2 (not scaled)" in shown
    assert "attention in 0.25 → 0.125 ×0.25 ×4 ×1 ×1 [1]" in shown
    assert "head 0.25 → 0.25 ×1 ×1 ×1 ×0.25 [1]" in shown
    assert "[1] Tensor Programs V (arXiv 2203.03466)" in shown
    assert "weight decay: microsoft/mup, MuAdamW" in shown


def test_a_rate_at_the_base_is_shown_as_the_rates_of_every_kind(spec: Path) -> None:
    found = answer_of("rules", spec, "--learning-rate", "0.008")

    assert at_target(found, "learning_rate") == {
        "embedding": 0.008,
        "attention_in": 0.002,
        "attention_out": 0.002,
        "feedforward_in": 0.002,
        "feedforward_out": 0.002,
        "head": 0.008,
    }
    assert {row["base"]["learning_rate"] for row in found["parameters"]} == {0.008}
    assert "2e-3" in plain(etalon("rules", spec, "--learning-rate", "0.008")[1])


def test_another_scale_of_the_grid_is_selected_by_its_index(spec: Path) -> None:
    found = answer_of("rules", spec, "--scale", "1")
    assert (found["target"]["width"], found["ratios"]["width"]) == (32, 2)
    assert at_target(found, "learning_rate_factor")["attention_in"] == 0.5


def test_a_model_outside_the_grid_defaults_to_the_sweeps_target(tmp_path: Path) -> None:
    fields = with_trainer(parametrization={"kind": "mup", "rules": ["depth", "batch", "horizon"]})
    path = written(
        tmp_path, fields | {"target": {"params": 1e9, "tokens": 131_072 * 16, "batch_tokens": 1_024}}
    )
    found = answer_of("rules", path, "--target", "width=2_048,depth=24,heads=16")

    assert (found["target"]["width"], found["target"]["heads"]) == (2_048, 16)
    assert found["ratios"] == {"width": 128, "depth": 12, "batch_tokens": 4, "tokens": 16}
    assert at_target(found, "learning_rate_factor")["embedding"] == 0.5  # √(4/16)
    assert at_target(found, "forward_multiplier")["attention_out"] == pytest.approx(1 / 12)
    assert found["target"]["beta1"] == pytest.approx(1 - 0.1 / 4)
    assert found["target"]["attention_scale"] == 2 * 4 / 128
    assert "attention logits × 0.0625, 0.5 at the base" in plain(
        etalon("rules", path, "--target", "width=2048,heads=16")[1]
    )
    assert "β 0.975, 0.9875; 0.9, 0.95 at the base" in plain(
        etalon("rules", path, "--target", "width=2048")[1]
    )


def test_mixtures_have_their_own_rows(tmp_path: Path) -> None:
    found = answer_of("rules", written(tmp_path, with_trainer(architecture=MOE)))
    kinds = [row["kind"] for row in found["parameters"]]
    assert kinds == [
        "embedding",
        "router",
        "attention_in",
        "attention_out",
        "expert_in",
        "expert_out",
        "head",
    ]
    assert found["ratios"]["expert_width"] == 4
    assert at_target(found, "learning_rate_factor")["expert_out"] == 0.25


def test_muon_has_its_own_rates_and_source(tmp_path: Path) -> None:
    found = answer_of("rules", written(tmp_path, with_trainer(optimizer={"kind": "muon"})))
    rates = at_target(found, "learning_rate_factor")
    assert (rates["attention_in"], rates["head"]) == (0.5, 1.0)
    assert {row["module"] for row in found["parameters"] if "2512.05620" in row["source"]} == {
        "attention",
        "feedforward",
    }


def test_standard_has_factors_of_one(tmp_path: Path) -> None:
    path = written(tmp_path, with_trainer(parametrization="standard"))
    found = answer_of("rules", path)
    for name in ("learning_rate_factor", "weight_decay_factor", "epsilon_factor", "forward_multiplier"):
        assert set(at_target(found, name).values()) == {1.0}
    shown = plain(etalon("rules", path)[1])
    assert "standard: one rate, decay and ε for all parameters, so every factor is 1" in shown
    assert "m_w 4 (not scaled)" in shown


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        (
            with_trainer(parametrization={"kind": "mup", "rules": ["heads"]}),
            "trainer.parametrization.rules.0",
        ),
        (
            with_trainer(parametrization={"kind": "mup", "base": {"width": 17}}),
            "trainer.parametrization.base.width",
        ),
        (with_trainer(architecture=MOE | {"top_k": 5}), "trainer.architecture.top_k"),
        (SPEC | {"trainer": {"kind": "replay", "table": "runs"}, "grid": {}}, "trainer.kind"),
        ({"name": "fit", "prior_runs": {"table": "runs"}}, "trainer.kind"),
    ],
)
def test_a_bad_specification_is_refused_with_the_fields_path(
    tmp_path: Path, fields: dict[str, Any], path: str
) -> None:
    code, shown = etalon("rules", written(tmp_path, fields), "--json")
    assert code == 2
    assert path in [error["path"] for error in json.loads(shown)["errors"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "3"], "--scale 3: the grid has grid.scales.0 to grid.scales.2"),
        (["--scale", "-1"], "--scale -1: the grid has"),
        (["--scale", "1", "--target", "width=64"], "give one of them"),
        (["--learning-rate", "0"], "--learning-rate 0: give a rate above 0"),
        (["--learning-rate", "nan"], "--learning-rate nan: give a rate above 0"),
        (["--target", "params=1B"], "--target has no field 'params'; it takes width, depth"),
        (["--target", "width=many"], "--target, width"),
        (["--target", "width=65"], "--target, width: 65 is odd"),
        (["--target", "width=64,expert_width=64"], "the trainer.architecture is dense"),
    ],
)
def test_a_bad_option_is_refused(spec: Path, options: list[str], message: str) -> None:
    assert message in refusal_of("rules", spec, *options)


def test_a_target_that_the_rules_cannot_reach_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, with_trainer(parametrization={"kind": "mup", "rules": ["batch"]}))
    assert "beta1 of 0.9 becomes -24.6 at 256 times the base's batch" in refusal_of(
        "rules", path, "--target", "width=64,batch_tokens=65_536"
    )


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal_of("rules", tmp_path / "nowhere.yaml")
