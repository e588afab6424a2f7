"""A specification says what it wants, or is refused with the field's path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import BadInput
from orchestrator.spec import Lattice, ReplayTrainer, parse_spec, read_yaml
from trainer import Schedule as TrainerSchedule
from trainer.exceptions import BadSchedule

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


COMMAND = {"kind": "command", "name": "c"}
REPLAY = {"kind": "replay", "table": "t"}


def with_field(path: str, value: Any) -> dict[str, Any]:
    return with_fields({path: value})


def with_fields(changes: dict[str, Any]) -> dict[str, Any]:
    fields = read_yaml(SPEC)
    for path, value in changes.items():
        part: Any = fields
        *parents, last = path.split(".")
        for name in parents:
            part = part[int(name)] if name.isdigit() else part[name]
        part[last] = value
    return fields


def test_amounts_are_read_as_people_write_them() -> None:
    spec = parse_spec(
        with_fields(
            {
                "target": {"params": "1.07B", "tokens": "20 B", "batch_tokens": "1M"},
                "grid.tokens": ["400k", "0.8M"],
                "search.budget.flops": "1e17",
            }
        )
    )
    assert spec.target is not None
    assert spec.target.model_dump() == {"params": 1.07e9, "tokens": 2e10, "batch_tokens": 1e6}
    assert spec.grid.tokens == (400_000, 800_000)
    with pytest.raises(BadInput, match=r"grid\.tokens\.0.*integer"):
        parse_spec(with_field("grid.tokens", ["0.4321k"]))


def test_the_contracts_example_is_read_as_it_stands() -> None:
    spec = parse_spec(read_yaml(SPEC))

    assert spec.grid.tokens == (400_000, 800_000)
    assert spec.grid.rates()[0] == 1e-4
    assert spec.search.budget.flops == 1e17
    assert spec.target is not None
    assert spec.target.tokens == 2e10


@pytest.mark.parametrize(
    ("changes", "arrival", "most"),
    [
        ({}, False, 2),
        ({"search.refit": "arrival"}, True, 2),
        ({"trainer": COMMAND, "grid.scales": [{"params": 1e6}]}, True, 2),
        ({"trainer": REPLAY}, True, 2),
        ({"trainer": REPLAY, "search.refit": "batch"}, False, 2),
        ({"trainer": REPLAY, "search.strategy": "grid"}, False, 2),
        ({"trainer": REPLAY, "search.strategy": "grid", "search.refit": "arrival"}, True, 2),
        ({"trainer": REPLAY, "search.runs_per_batch": 1}, True, 1),
        ({"trainer": REPLAY, "search.runs_per_batch": 9}, True, 2),
        ({"trainer": REPLAY, "resources.max_parallel": 8}, True, 8),
    ],
)
def test_refits_come_on_arrival_where_the_law_chooses_and_workers_take_runs_one_by_one(
    changes: dict[str, Any], arrival: bool, most: int
) -> None:
    sizes = {"grid.scales": []} if changes.get("trainer") == REPLAY else {}
    spec = parse_spec(with_fields(sizes | changes))
    assert (spec.refits_on_arrival, spec.most_open) == (arrival, most)


def test_a_spec_survives_json() -> None:
    spec = parse_spec(read_yaml(SPEC))

    assert parse_spec(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("path", "value", "at", "says"),
    [
        ("gird", {}, "gird", "unknown field"),
        ("grid.learning_rates", {"min": -1e-4, "max": 0.1}, "grid.learning_rates.min", "greater than 0"),
        ("grid.learning_rates", {"min": 5e-324, "max": 1}, "grid.learning_rates.min", "at least 1e-12"),
        (
            "grid.learning_rates",
            {"min": 0.1, "max": 0.01},
            "grid.learning_rates",
            "min 0.1 must be below max 0.01",
        ),
        (
            "grid.learning_rates",
            {"min": 1e-9, "max": 1, "per_octave": 9},
            "grid.learning_rates",
            "at most 200",
        ),
        ("grid.learning_rates", [1e-3, -1e-3], "grid.learning_rates.1", "greater than 0 (got -0.001)"),
        ("grid.learning_rates", "1e-3", "grid.learning_rates", "{min, max, per_octave} or a list"),
        ("grid.learning_rates", [], "grid.learning_rates", "is empty"),
        ("grid.scales", [], "grid.scales", "is empty"),
        (
            "grid.scales",
            [{"width": 30, "depth": 2, "heads": 4}],
            "grid.scales.0.heads",
            "not divisible by 4 heads",
        ),
        ("grid.scales", [{"width": 30, "depth": 2, "heads": 2}], "grid.scales.0.heads", "odd width 15"),
        ("grid.scales", [{"width": 33, "depth": 2}], "grid.scales.0.width", "take an even width"),
        ("grid.scales", [{"width": 32, "depth": 1}] * 201, "grid.scales", "has 201 entries; at most 200"),
        ("grid.tokens", [1_000], "grid.tokens.0", "less than one step"),
        ("grid.tokens", [800_000, 16_384], "grid.tokens.1", "decays before the warmup"),
        ("grid.tokens", 5, "grid.tokens", "must be a list (got 5)"),
        ("grid.batch_tokens", [1000], "grid.batch_tokens.0", "not a multiple of the context"),
        ("trainer.schedule.decay_fraction", 1.5, "trainer.schedule.decay_fraction", "less than 1"),
        ("trainer.schedule.shape", "step", "trainer.schedule.shape", "'cosine'"),
        ("trainer.schedule.final_fraction", 1, "trainer.schedule.final_fraction", "less than 1"),
        (
            "trainer.schedule.final_fraction",
            "-0.1",
            "trainer.schedule.final_fraction",
            "greater than or equal to 0",
        ),
        ("trainer.kind", "magic", "trainer.kind", "not 'magic'"),
        ("trainer", {"corpus": "stdlib"}, "trainer.kind", "is missing"),
        ("trainer", "proxy", "trainer", "mapping of fields"),
        (
            "trainer",
            {"kind": "replay", "table": "t", "where": {"a": None}},
            "trainer.where.a",
            "valid string",
        ),
        (
            "trainer",
            {"kind": "python", "name": "p", "parameters": {"list": []}},
            "trainer.parameters.list",
            "text",
        ),
        ("search.strategy", "guess", "search.strategy", "'law'"),
        ("search.budget.runs", 0, "search.budget.runs", "greater than 0"),
        ("search.stop.interval_factor", 1, "search.stop.interval_factor", "greater than 1"),
        ("target.params", 0, "target.params", "greater than or equal to 1"),
        ("target.tokens", "many", "target.tokens", "number"),
        ("name", "", "name", "at least 1 character"),
        ("name", "two\nlines", "name", "control character"),
    ],
)
def test_a_bad_field_is_refused_where_it_stands(path: str, value: Any, at: str, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_spec(with_field(path, value))

    assert [problem.path for problem in refused.value.fields] == [at]
    assert says in refused.value.fields[0].message
    assert f"{at}: {refused.value.fields[0].message}" in refused.value.detail


def test_long_values_and_many_problems_are_shortened() -> None:
    fields = with_field("grid.tokens", ["x" * 10_000, 10**4_000])
    with pytest.raises(BadInput) as refused:
        parse_spec(fields | {f"unknown {number}": 1 for number in range(1_000)})

    assert len(refused.value.fields) == 21
    assert refused.value.fields[-1].message == "has 982 more such problems"
    assert len(refused.value.detail) < 4_000


def test_heads_near_those_asked_for_are_offered() -> None:
    with pytest.raises(BadInput, match=r"suit the width: 819, 840, 910, 936, 1092, 1170"):
        parse_spec(with_field("grid.scales", [{"width": 65_520, "depth": 1, "heads": 1_000}]))


@pytest.mark.parametrize(("seeds", "fits"), [(10, True), (100, False)])
def test_the_runs_of_a_grid_are_bounded(seeds: int, fits: bool) -> None:
    fields = with_field("grid.tokens", list(range(400_000, 800_000, 4_000)))
    fields["grid"]["seeds"] = seeds
    if fits:
        assert parse_spec(fields).grid.seeds == seeds
        return
    with pytest.raises(BadInput, match="grid: makes 400000 runs .* at most 100000 are allowed"):
        parse_spec(fields)


@settings(max_examples=300, deadline=None)
@given(
    batch=st.integers(1, 64).map(lambda steps: steps * 64),
    tokens=st.integers(4096, 300_000),
    warmup=st.integers(1, 60_000),
    shaped=st.one_of(
        st.floats(0.01, 0.95).map(lambda fraction: {"decay_fraction": fraction}),
        st.just({"shape": "cosine"}),
    ),
)
def test_horizons_are_accepted_exactly_where_the_trainer_takes_them(
    batch: int, tokens: int, warmup: int, shaped: dict[str, Any]
) -> None:
    schedule = {"warmup_tokens": warmup, **shaped}
    fields = with_field("trainer.schedule", schedule)
    fields["grid"] |= {"tokens": [tokens], "batch_tokens": [batch]}
    timetable = TrainerSchedule(**schedule).in_steps(batch)
    horizon = tokens // batch * batch
    try:
        timetable.fork(horizon)
    except BadSchedule:
        with pytest.raises(BadInput, match="decays before the warmup") as refused:
            parse_spec(fields)
        enough = int(refused.value.detail.split(" tokens are enough")[0].rsplit(maxsplit=1)[-1])
        assert timetable.fork(enough) * batch >= warmup
    else:
        assert parse_spec(fields).grid.tokens == (tokens,)


@pytest.mark.parametrize("fraction", [0.2, 0.3])
def test_a_cosine_is_given_no_decay_fraction(fraction: float) -> None:
    with pytest.raises(BadInput) as refused:
        parse_spec(with_field("trainer.schedule", {"shape": "cosine", "decay_fraction": fraction}))
    (problem,) = refused.value.fields
    assert problem.path == "trainer.schedule.decay_fraction"
    assert "a cosine decays over everything after the warmup" in problem.message


@pytest.mark.parametrize("schedule", [{"shape": "cosine", "final_fraction": 0.1}, {"decay_fraction": 0.3}])
def test_a_schedule_reads_back_as_it_was_written(schedule: dict[str, Any]) -> None:
    spec = parse_spec(with_field("trainer.schedule", schedule))
    written = spec.model_dump(mode="json")
    assert ("decay_fraction" in written["trainer"]["schedule"]) is ("shape" not in schedule)
    assert parse_spec(written) == spec
    assert parse_spec(spec.model_dump(mode="json", exclude_defaults=True)) == spec


def test_where_takes_numbers_and_booleans() -> None:
    trainer = {"kind": "replay", "table": "t", "where": {"seed": 0, "width": 64.5, "done": True}}
    spec = parse_spec({"name": "again", "trainer": trainer})

    assert isinstance(spec.trainer, ReplayTrainer)
    assert spec.trainer.where == {"seed": "0", "width": "64.5", "done": "True"}


@pytest.mark.parametrize(
    "text",
    [
        "name: [unclosed",
        "a: b: c",
        "\t- x",
        "name: !!timestamp 2020-99-99",
        "name: !!float abc",
        "name: !!bool foo",
        "name: " + "9" * 5_000,
        "a: &a [x]\nb: [*a, *a]",
        "a: &a {b: c}\nd: {<<: *a}",
        "a: {<<: {b: c}}",
        "1: a",
    ],
)
def test_malformed_yaml_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(BadInput, match=r"not valid YAML.*line \d+"):
        read_yaml(text)


def test_a_sweep_may_be_named_after_a_day() -> None:
    assert read_yaml("name: 2026-08-01") == {"name": "2026-08-01"}


def test_yaml_nested_too_deep_is_refused() -> None:
    with pytest.raises(BadInput, match="nested too deep"):
        read_yaml("[" * 1_000)


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
