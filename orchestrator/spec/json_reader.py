"""Reads JSON text into plain fields."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from orchestrator.errors import BadInput, FieldProblem

_NAMES_AND_BRACES: Final = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}]')
"""In JSON text: a string, with the colon that makes it the name of a field, or a brace outside strings."""


def read_json(text: str) -> dict[str, Any]:
    """Read a specification's JSON text into plain fields.

    Raises:
        BadInput: the text is not JSON, is nested too deep, gives a field twice, or is not an object.
    """
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise _not_json(error.msg, error) from error
    except ValueError as error:  # a whole number of thousands of digits
        raise BadInput(f"This is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise BadInput("This JSON is nested too deep to be a sweep.") from error
    if not isinstance(fields, dict):
        raise BadInput("This JSON is not an object with fields such as name, trainer, grid and target.")
    _check_names(text)
    return fields


def _check_names(text: str) -> None:
    """Refuse a field given twice, of which ``json.loads`` keeps the last."""
    names: list[set[str]] = []
    for found in _NAMES_AND_BRACES.finditer(text):
        if found[0] == "{":
            names.append(set())
        elif found[0] == "}":
            names.pop()
        elif found[2]:
            name = json.loads(found[1])
            if name in names[-1]:
                problem = f"{name[:100]!r} is given twice, give it once"
                raise _not_json(problem, json.JSONDecodeError(problem, text, found.start()))
            names[-1].add(name)


def _not_json(problem: str, at: json.JSONDecodeError) -> BadInput:
    where = f"line {at.lineno}, column {at.colno}"
    return BadInput(
        f"This is not valid JSON: {problem} at {where}.", fields=(FieldProblem(path=where, message=problem),)
    )
