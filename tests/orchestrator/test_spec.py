"""A specification says what it wants, or is refused with the field's path."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import BadInput
from orchestrator.spec import Lattice, parse_spec, read_yaml

SPEC = """
name: stdlib-dense
trainer:
  kind: proxy
  corpus: stdlib
  architecture: {kind: dense}
  parametrization: standard
  schedule: {warmup_tokens: 16384, decay_fraction: 0.2, shape: linear}
grid:
  scales: [{width: 32, depth: 2}, {width: 64, depth: 2}]
  tokens: [400_000, 800_000]
  batch_tokens: [2048]
  learning_rates: {min: 1e-4, max: 1e-1, per_octave: 2}
  seeds: 1
search:
  strategy: law
  budget: {runs: 200, flops: 1e17, seconds: 3600}
  stop: {interval_factor: 1.2}
target: {params: 1e9, tokens: 2e10, batch_tokens: 1048576}
resources: {cpus_per_run: 1, gpus_per_run: 0, max_parallel: 2}
"""


def with_field(path: str, value: Any) -> dict[str, Any]:
    fields = read_yaml(SPEC)
    part: Any = fields
    *parents, last = path.split(".")
    for name in parents:
        part = part[int(name)] if name.isdigit() else part[name]
    part[last] = value
    return fields


def test_the_contracts_example_is_read_as_it_stands() -> None:
    spec = parse_spec(read_yaml(SPEC))

    assert spec.grid.tokens == (400_000, 800_000)
    assert spec.grid.rates()[0] == 1e-4
    assert spec.search.budget.flops == 1e17
    assert spec.target is not None
    assert spec.target.tokens == 2e10


def test_a_spec_survives_json() -> None:
    spec = parse_spec(read_yaml(SPEC))

    assert parse_spec(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("path", "value", "at", "says"),
    [
        ("gird", {}, "gird", "Extra inputs"),
        ("grid.learning_rates", {"min": -1e-4, "max": 0.1}, "grid.learning_rates", "greater than 0"),
        (
            "grid.learning_rates",
            {"min": 0.1, "max": 0.01},
            "grid.learning_rates",
            "min 0.1 must be below max 0.01",
        ),
        ("grid.learning_rates", [1e-3, -1e-3], "grid.learning_rates", "greater than 0"),
        ("grid.learning_rates", [], "the sweep", "grid.learning_rates is empty"),
        ("grid.scales", [], "the sweep", "grid.scales is empty"),
        ("grid.scales", [{"width": 30, "depth": 2, "heads": 4}], "grid.scales.0", "not divisible by 4 heads"),
        ("grid.scales", [{"width": 30, "depth": 2, "heads": 2}], "grid.scales.0", "odd width 15"),
        ("grid.tokens", [1_000], "the sweep", "less than one step"),
        ("grid.tokens", [16_384], "the sweep", "decays before the warmup"),
        ("grid.batch_tokens", [1000], "the sweep", "not a multiple of the context"),
        ("trainer.schedule.decay_fraction", 1.5, "trainer.proxy.schedule.decay_fraction", "less than 1"),
        ("trainer.kind", "magic", "trainer", "proxy"),
        ("search.strategy", "guess", "search.strategy", "'law'"),
        ("search.budget.runs", 0, "search.budget.runs", "greater than 0"),
        ("search.stop.interval_factor", 1, "search.stop.interval_factor", "greater than 1"),
        ("target.params", 0, "target.params", "greater than 0"),
        ("target.tokens", "many", "target.tokens", "number"),
        ("name", "", "name", "at least 1 character"),
        ("name", "two\nlines", "name", "pattern"),
    ],
)
def test_a_bad_field_is_refused_where_it_stands(path: str, value: Any, at: str, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_spec(with_field(path, value))

    assert any(problem.path.startswith(at) for problem in refused.value.fields), refused.value.fields
    assert says in refused.value.detail


@pytest.mark.parametrize("text", ["name: [unclosed", "a: b: c", "\t- x"])
def test_malformed_yaml_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(BadInput, match=r"not valid YAML.*line \d+"):
        read_yaml(text)


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b"])
def test_yaml_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="mapping of fields"):
        read_yaml(text)


def test_a_sweep_without_trainer_needs_prior_runs() -> None:
    with pytest.raises(BadInput, match="prior_runs"):
        parse_spec({"name": "nothing"})

    assert parse_spec({"name": "a fit", "prior_runs": {"table": "tbl-1"}}).trainer is None


def test_lattices_are_log_spaced_and_keep_their_ends() -> None:
    rates = Lattice(min=1e-3, max=8e-3, per_octave=2).rates()

    assert len(rates) == 7
    assert rates[0] == 1e-3
    assert rates[-1] == 8e-3
    assert rates[2] / rates[0] == pytest.approx(2, rel=1e-5)
