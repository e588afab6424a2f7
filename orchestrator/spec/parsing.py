"""Reads a specification from plain fields, and explains every field at fault in the user's words."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.spec.fields import BadField
from orchestrator.spec.kinds import KINDS
from orchestrator.spec.sweep import SweepSpec

MOST_PROBLEMS: Final = 20
"""Fields at fault that one refusal names."""

MOST_SHOWN: Final = 100
"""Characters of a value that a message repeats."""

_TAGS: Final[dict[tuple[int | str, ...], frozenset[str]]] = {
    ("trainer",): frozenset(KINDS),
    ("grid", "learning_rates"): frozenset({"lattice", "list"}),
    **{
        ("trainer", kind, field): tags
        for kind, trainer in KINDS.items()
        for field, tags in trainer.tags.items()
    },
}
"""Names of a union's members. Pydantic adds them to the path behind the field, but they are not in the user's text."""

_SENTENCES: Final = {
    "dict_type": "must be a mapping of fields",
    "extra_forbidden": "unknown field",
    "model_attributes_type": "must be a mapping of fields",
    "model_type": "must be a mapping of fields",
    "tuple_type": "must be a list",
}
"""Messages for those errors that pydantic words in terms of Python."""


def parse_spec(fields: dict[str, Any]) -> SweepSpec:
    """Check the fields of a sweep.

    Raises:
        BadInput: with one entry per field at fault: its path, what is wrong, what is allowed.
    """
    try:
        return SweepSpec.model_validate(fields)
    except ValidationError as error:
        problems = field_problems(error)
        listed = "; ".join(f"{problem.path}: {problem.message}" for problem in problems)
        raise BadInput(f"The sweep is not valid: {listed}.", fields=problems) from error


def field_problems(error: ValidationError) -> tuple[FieldProblem, ...]:
    """Pydantic's errors in the user's words: the first ``MOST_PROBLEMS``, and how many more there are."""
    items = error.errors(include_url=False)
    problems = [FieldProblem(path=_path(item), message=_message(item)) for item in items[:MOST_PROBLEMS]]
    if len(items) > MOST_PROBLEMS:
        problems.append(
            FieldProblem(path="the sweep", message=f"has {len(items) - MOST_PROBLEMS} more such problems")
        )
    return tuple(problems)


def _path(item: ErrorDetails) -> str:
    loc = [part for at, part in enumerate(item["loc"]) if part not in _TAGS.get(item["loc"][:at], ())]
    if item["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        loc.append("kind")
    finding = item.get("ctx", {}).get("error")
    if isinstance(finding, BadField):
        loc.append(finding.path)
    return ".".join(str(part)[:MOST_SHOWN] for part in loc) or "the sweep"


def _message(item: ErrorDetails) -> str:
    value = item["input"]
    match item["type"]:
        case "union_tag_not_found":
            return f"is missing; a trainer is a mapping of fields with the kind {_either(list(KINDS))}"
        case "union_tag_invalid":
            expected = item["ctx"]["expected_tags"].replace("'", "").split(", ")
            return f"must be {_either(expected)}, not {_shown(item['ctx']['tag'])}"
        case "tuple_type" if item["loc"][-1] == "list":
            return "must be {min, max, per_octave} or a list of rates" + _got(value)
        case kind if kind in _SENTENCES:
            return _SENTENCES[kind] + _got(value)
        case "value_error":
            return item["msg"].removeprefix("Value error, ")
        case "too_long":
            return f"has {len(value)} entries; at most {item['ctx']['max_length']} are allowed"
        case _:
            message = item["msg"].replace("Input should", "must").replace("String should", "must")
            return message if repr(value) in message else message + _got(value)


def _either(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _got(value: object) -> str:
    return f" (got {_shown(value)})" if isinstance(value, int | float | str) else ""


def _shown(value: object) -> str:
    text = repr(value[: MOST_SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
