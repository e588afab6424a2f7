"""A specification out of plain fields, or what is wrong with them in the user's words."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.spec.fields import FieldError
from orchestrator.spec.sweep import SweepSpec

MOST_PROBLEMS: Final = 20
"""Fields at fault that one refusal names."""

MOST_SHOWN: Final = 100
"""Characters of a value that a message repeats."""

_TAGS: Final[dict[tuple[int | str, ...], set[str]]] = {
    ("trainer",): {"proxy", "replay", "command", "python"},
    ("trainer", "proxy", "architecture"): {"dense", "moe"},
    ("trainer", "proxy", "optimizer"): {"adamw", "muon"},
    ("trainer", "proxy", "parametrization"): {"standard", "mup"},
    ("grid", "learning_rates"): {"lattice", "list"},
}
"""Names of a union's members, which pydantic puts into the path behind the field; users never wrote them."""

_SENTENCES: Final = {
    "dict_type": "must be a mapping of fields",
    "extra_forbidden": "is no field here and not permitted",
    "model_attributes_type": "must be a mapping of fields",
    "model_type": "must be a mapping of fields",
    "tuple_type": "must be a list",
}
"""Pydantic's kinds of findings that its own words tell in terms of Python."""


def parse_spec(fields: dict[str, Any]) -> SweepSpec:
    """Check the fields of a sweep.

    Raises:
        BadInput: with one entry per field at fault: its path, what is wrong, what is allowed.
    """
    try:
        return SweepSpec.model_validate(fields)
    except ValidationError as error:
        problems = field_problems(error)
        told = "; ".join(f"{problem.path}: {problem.message}" for problem in problems)
        raise BadInput(f"The sweep is not valid: {told}.", fields=problems) from error


def field_problems(error: ValidationError) -> tuple[FieldProblem, ...]:
    """Tell pydantic's findings in the user's words; of very many, the first."""
    items = error.errors(include_url=False)
    told = [FieldProblem(path=_path(item), message=_message(item)) for item in items[:MOST_PROBLEMS]]
    if len(items) > MOST_PROBLEMS:
        told.append(
            FieldProblem(path="the sweep", message=f"has {len(items) - MOST_PROBLEMS} more such problems")
        )
    return tuple(told)


def _path(item: ErrorDetails) -> str:
    loc = [part for place, part in enumerate(item["loc"]) if part not in _TAGS.get(item["loc"][:place], ())]
    if item["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        loc.append("kind")
    finding = item.get("ctx", {}).get("error")
    if isinstance(finding, FieldError):
        loc.append(finding.path)
    return ".".join(str(part)[:MOST_SHOWN] for part in loc) or "the sweep"


def _message(item: ErrorDetails) -> str:
    value = item["input"]
    match item["type"]:
        case "union_tag_not_found":
            return (
                "is missing; a trainer is a mapping of fields with the kind proxy, replay, command or python"
            )
        case "union_tag_invalid":
            *others, last = item["ctx"]["expected_tags"].replace("'", "").split(", ")
            return f"must be {', '.join(others)} or {last}, not {_shown(item['ctx']['tag'])}"
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


def _got(value: object) -> str:
    return f" (got {_shown(value)})" if isinstance(value, int | float | str) else ""


def _shown(value: object) -> str:
    text = repr(value[: MOST_SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
