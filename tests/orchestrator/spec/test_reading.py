"""Text as people write it: YAML and JSON into fields, numbers, names, and all mistakes at once."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.spec import add_lines, parse_spec, read_json, read_yaml
from orchestrator.spec.yaml_reader import MAX_DEPTH, MAX_VALUES

PROXY: dict[str, Any] = {
    "name": "ladder",
    "trainer": {"kind": "proxy"},
    "grid": {
        "scales": [{"width": 32, "depth": 2}],
        "tokens": ["400k"],
        "batch_tokens": [2048],
        "learning_rates": {"min": 1e-4, "max": 1e-1},
    },
    "target": {"params": "1B", "tokens": "20B"},
}


def changed(path: str, value: object) -> dict[str, Any]:
    fields = deepcopy(PROXY)
    part: Any = fields
    *above, last = path.split(".")
    for name in above:
        part = part[int(name)] if isinstance(part, list) else part.setdefault(name, {})
    part[int(last) if isinstance(part, list) else last] = value
    return fields


def problems(fields: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(BadInput) as refused:
        parse_spec(fields)
    return {problem.path: problem.message for problem in refused.value.fields}


@pytest.mark.parametrize(
    ("read", "text", "place"),
    [
        (
            read_yaml,
            "search: {}\nname: a\nsearch: {}\n",
            "'search' is given twice, give it once at line 3, column 1",
        ),
        (read_yaml, "grid: {seeds: 1, 'seeds': 2}", "line 1, column 18"),
        (
            read_json,
            '{"search": {},\n "search": {}}',
            "'search' is given twice, give it once at line 2, column 2",
        ),
        (read_json, '{"name": "}{", "grid": [{"a": 1}, {"a": 1, "\\u0061": 2}]}', "line 1, column 44"),
    ],
)
def test_a_field_given_twice_is_refused_with_its_place(
    read: Callable[[str], dict[str, Any]], text: str, place: str
) -> None:
    with pytest.raises(BadInput, match=place):
        read(text)


def test_fields_of_one_name_in_different_parts_are_no_repeats() -> None:
    text = '{"a": {"a": 1}, "b": [{"a": "\\"a\\":"}, {"a": 2}]}'

    assert read_json(text) == read_yaml(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("400_000", 400_000),
        ("-3", -3),
        (".5", 0.5),
        ("0", 0),
        ("0.25", 0.25),
        ("36:24:32", "36:24:32"),
        ("36:24.5", "36:24.5"),
        ("0x10", "0x10"),
        ("1__0", "1__0"),
        ("yes", "yes"),
        ("off", "off"),
        ("2020-01-01", "2020-01-01"),
        ("'0131072'", "0131072"),
        ("true", True),
        ("~", None),
        ("", None),
    ],
)
def test_plain_text_in_yaml_is_read_as_in_yaml_1_2(text: str, value: object) -> None:
    read = read_yaml(f"value: {text}")["value"]

    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(("text", "meant"), [("0131072", "131072"), ("-007.5", "-7.5"), ("0_1", "1")])
def test_a_leading_zero_is_refused(text: str, meant: str) -> None:
    with pytest.raises(BadInput, match=f"{text} has a leading zero.*write {meant},"):
        read_yaml(f"tokens: [{text}]")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [" + "1," * MAX_VALUES + "]", "too many for a sweep"),
        ("- " * 100_000, f"{MAX_DEPTH} levels are the most"),
        ("[" * 100_000, f"{MAX_DEPTH} levels are the most"),
        ("? " * 100_000, "the name of a field must be text"),
        ("{" * 100_000, "the name of a field must be text"),
        ("a: " + "9" * 100_000, "100 are the most"),
        ("a: 1\n---\na: 2", "a second document begins"),
        ("a: !!int '0131072'", "tags"),
    ],
)
def test_yaml_that_no_sweep_needs_is_refused_where_it_begins(text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        read_yaml(text)


@pytest.mark.parametrize(
    "path",
    [
        "grid.seeds",
        "grid.tokens.0",
        "grid.scales.0.width",
        "grid.learning_rates.min",
        "target.params",
        "trainer.context",
        "trainer.optimizer.beta1",
        "search.budget.flops",
        "resources.cpus_per_run",
        "resources.max_parallel",
    ],
)
def test_true_is_no_number(path: str) -> None:
    assert problems(changed(path, value=True)) == {path: "must be a number, not true"}


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("grid.learning_rates.per_octave", 1e-300, "two rates need at least 0.101"),
        ("grid.learning_rates.per_octave", 1e9, "less than or equal to 32"),
        ("target.params", 1e-300, "greater than or equal to 1"),
        ("target.tokens", 1e300, "less than or equal to 1000000000000000000"),
    ],
)
def test_a_number_of_another_order_is_refused_with_the_range(path: str, value: float, sentence: str) -> None:
    assert sentence in problems(changed(path, value))[path]


def test_amounts_are_read_wherever_sizes_are() -> None:
    spec = parse_spec(changed("search.budget.flops", "1.5T"))

    assert spec.grid.tokens == (400_000,)
    assert spec.target is not None
    assert (spec.target.params, spec.target.tokens) == (1e9, 2e10)
    assert spec.search.budget.flops == 1.5e12


@pytest.mark.parametrize("name", ["", "   ", "\u00a0\t", "\u200b", "a\nb", "a\x7fb", "a\u202eb", "x" * 201])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    assert set(problems(changed("name", name))) == {"name"}


@pytest.mark.parametrize(("name", "kept"), [("  ladder ", "ladder"), ("é 😀", "é 😀")])
def test_a_name_is_trimmed(name: str, kept: str) -> None:
    assert parse_spec(changed("name", name)).name == kept


@pytest.mark.parametrize(
    ("path", "value", "kinds"),
    [
        ("trainer.kind", "nonsense", "proxy, replay, command or python"),
        ("trainer.architecture.kind", "nonsense", "dense or moe"),
        ("trainer.optimizer.kind", "nonsense", "adamw or muon"),
        ("trainer.parametrization.kind", "nonsense", "standard, mup"),
        ("trainer.architecture", "moe", "dense or moe"),
        ("trainer.schedule.shape", "nonsense", "'linear', 'sqrt' or 'cosine'"),
        ("search.strategy", "nonsense", "'law', 'grid', 'random', 'tpe' or 'gp'"),
    ],
)
def test_an_unknown_kind_is_refused_with_the_kinds_that_there_are(path: str, value: str, kinds: str) -> None:
    (message,) = problems(changed(path, value)).values()
    assert kinds in message


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("serch", "search"),
        ("grid.scales.0.wdith", "width"),
        ("trainer.optimizer.beta_1", "beta1"),
        ("trainer.schedule.warmup", "warmup_tokens"),
        ("search.buget", "budget"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(path: str, nearest: str) -> None:
    assert problems(changed(path, 1)) == {path: f"unknown field; the nearest is {nearest}"}


def test_an_unknown_field_like_no_other_is_refused_with_the_known_ones() -> None:
    assert problems(changed("target.zzz", 1)) == {
        "target.zzz": "unknown field; known are batch_tokens, params, tokens"
    }


def test_all_mistakes_are_refused_at_once_with_their_lines() -> None:
    text = """\
trainer: {kind: proxy, corpse: stdlib}
grid:
  scales:
    - {width: 32}
  batch_tokens: [-1]
target:
  params: true
  tokens: 2e10
"""
    with pytest.raises(BadInput) as refused:
        parse_spec(read_yaml(text))
    add_lines(refused.value, text)

    assert {problem.path: problem.line for problem in refused.value.fields} == {
        "name": None,
        "trainer.corpse": 1,
        "grid.scales.0.depth": 4,
        "grid.batch_tokens.0": 5,
        "target.params": 7,
        "grid.tokens": 2,
        "grid.learning_rates": 2,
    }
    assert "target.params (line 7): must be a number" in refused.value.detail


def test_lines_are_added_only_to_fields_of_the_text() -> None:
    problem = FieldProblem(path="name", message="is missing")
    error = BadInput("name: is missing.", fields=(problem,))

    add_lines(error, "grid: {}")

    assert error.fields == (problem,)
