"""Reads a specification from plain fields, and explains every field at fault in the user's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.spec.fields import BadField
from orchestrator.spec.kinds import KINDS
from orchestrator.spec.lattice import AXES
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a text is read as, for messages about it.

    Attributes:
        name: in a message, such as ``the sweep``.
        model: of the whole text.
        tags: names of the members of the union at a place; pydantic adds them to the path behind it.
    """

    name: str
    model: type[BaseModel]
    tags: Callable[[tuple[int | str, ...]], frozenset[str]]


SWEEP: Final = Form(name="the sweep", model=SweepSpec, tags=lambda loc: _TAGS.get(loc, frozenset()))

_SENTENCES: Final = {
    "dict_type": "must be a mapping of fields",
    "missing": "is missing",
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
        found = field_problems(error)
        problems = (*found, *_missing_axes(fields, {problem.path for problem in found}))
        listed = "; ".join(f"{problem.path}: {problem.message}" for problem in problems)
        raise BadInput(f"The sweep is not valid: {listed}.", fields=problems) from error


def field_problems(error: ValidationError, form: Form = SWEEP) -> tuple[FieldProblem, ...]:
    """Pydantic's errors in the user's words: the first ``MOST_PROBLEMS``, and how many more there are."""
    items = error.errors(include_url=False)
    problems = [
        FieldProblem(path=_path(item, form), message=_message(item, form)) for item in items[:MOST_PROBLEMS]
    ]
    if len(items) > MOST_PROBLEMS:
        problems.append(
            FieldProblem(path=form.name, message=f"has {len(items) - MOST_PROBLEMS} more such problems")
        )
    return tuple(problems)


def _missing_axes(fields: Mapping[str, Any], named: Set[str]) -> Iterator[FieldProblem]:
    """Further parts of the grid that are missing, which ``check_grid`` finds one by one and only in a valid sweep."""
    trainer, grid = fields.get("trainer"), fields.get("grid", {})
    kind = trainer.get("kind") if isinstance(trainer, dict) else None
    if (
        not isinstance(kind, str)
        or kind not in KINDS
        or KINDS[kind].finds_cells
        or not isinstance(grid, dict)
    ):
        return
    for name in (*AXES, "learning_rates"):
        if name not in grid and not named & {"grid", f"grid.{name}"}:
            yield FieldProblem(path=f"grid.{name}", message=f"is missing; a {kind} sweep needs at least one")


def _path(item: ErrorDetails, form: Form) -> str:
    loc = [part for at, part in enumerate(item["loc"]) if part not in form.tags(item["loc"][:at])]
    if item["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        loc.append(_discriminator(item))
    finding = item.get("ctx", {}).get("error")
    if isinstance(finding, BadField):
        loc.append(finding.path)
    return ".".join(str(part)[:MOST_SHOWN] for part in loc) or form.name


def _message(item: ErrorDetails, form: Form) -> str:
    value = item["input"]
    match item["type"]:
        case "union_tag_not_found":
            return _missing_tag(item, form)
        case "extra_forbidden":
            return f"unknown field; {_nearest(item['loc'], form)}"
        case "union_tag_invalid":
            expected = item["ctx"]["expected_tags"].replace("'", "").split(", ")
            return f"must be {_either(expected)}, not {_shown(item['ctx']['tag'])}"
        case "tuple_type" if item["loc"][-1] == "list":
            return "must be {min, max, per_octave} or a list of rates" + _got(value)
        case kind if kind in _SENTENCES:
            return _SENTENCES[kind] + _kinds_at(item["loc"], form) + _got(value)
        case "value_error":
            return item["msg"].removeprefix("Value error, ")
        case "too_long":
            return f"has {len(value)} entries; at most {item['ctx']['max_length']} are allowed"
        case _:
            message = item["msg"].replace("Input should", "must").replace("String should", "must")
            return message if repr(value) in message else message + _got(value)


def _missing_tag(item: ErrorDetails, form: Form) -> str:
    if _discriminator(item) == "kind":
        return f"is missing; a trainer is a mapping of fields with the kind {_either(list(KINDS))}"
    return f"is missing; must be {_either(sorted(form.tags(item['loc'])))}"


def _discriminator(item: ErrorDetails) -> str:
    """The field that tells a union's members apart; a function that does so looks at ``kind``."""
    name = str(item["ctx"]["discriminator"])
    return name.strip("'") if name.startswith("'") else "kind"


def _kinds_at(loc: tuple[int | str, ...], form: Form) -> str:
    """The kinds to choose from where the mapping of a union is given as something else."""
    kinds = form.tags(loc) or form.tags(loc[:-1])
    return f" with the kind {_either(sorted(kinds))}" if kinds else ""


def _nearest(loc: tuple[int | str, ...], form: Form) -> str:
    """The known field whose name is nearest to that of an unknown one; all known fields if none is near."""
    known = sorted({name for model in _models_at(loc[:-1], form) for name in model.model_fields})
    near = get_close_matches(str(loc[-1])[:MOST_SHOWN], known, n=1)
    return f"the nearest is {near[0]}" if near else f"known are {', '.join(known)}"


def _models_at(loc: tuple[int | str, ...], form: Form) -> list[type[BaseModel]]:
    """The models that the text may have at a place; ``loc`` is pydantic's, with the names of unions' members."""
    models: list[type[BaseModel]] = [form.model]
    for part in loc:
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        inner = [model for field in fields for model in _models_in(field.annotation)]
        of_kind = [model for model in models if "kind" in model.model_fields and part in _kinds_of(model)]
        models = inner or of_kind or models
    return models


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _kinds_of(model: type[BaseModel]) -> tuple[str, ...]:
    return get_args(model.model_fields["kind"].annotation)


def _either(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _got(value: object) -> str:
    return f" (got {_shown(value)})" if isinstance(value, int | float | str) else ""


def _shown(value: object) -> str:
    text = repr(value[: MOST_SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
