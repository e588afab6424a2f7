"""Reads YAML text into plain fields; only the part of YAML that a specification needs."""

from __future__ import annotations

from typing import Any, Final

import yaml

from orchestrator.errors import BadInput, FieldProblem

MAX_NUMBER: Final = 100
"""Longest number, in characters: very long ones take very long to read."""

_NUMBERS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MERGE: Final = "tag:yaml.org,2002:merge"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"


class SpecLoader(yaml.SafeLoader):
    """YAML without references, with which a few lines expand to gigabytes.

    Based on the loader in Python: libyaml's crashes the process on very deeply nested text.
    """

    # A sweep may be named after a day. No field is a date.
    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse anchors and aliases."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise _refusal("anchors and aliases (& and *) are not supported, write the part out", event)
        return super().compose_node(parent, index)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse merge keys."""
        for key, _ in node.value:
            if key.tag == _MERGE:
                raise _refusal("merge keys (<<) are not supported, write the fields out", key)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse names of fields that are not text."""
        mapping = super().construct_mapping(node, deep=deep)
        for key in mapping:
            if not isinstance(key, str):
                raise _refusal(f"the name of a field must be text, not {key!r}; put it in quotes", node)
        return mapping

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Reports a value that its tag does not allow with its line, whatever the constructor raised."""
        if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER:
            raise _refusal(f"a number has {len(node.value)} characters, {MAX_NUMBER} are the most", node)
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            raise _refusal(
                f"{str(node.value)[:MAX_NUMBER]!r} is not a value of the kind {kind}", node
            ) from error


def read_yaml(text: str) -> dict[str, Any]:
    """Read a specification's YAML (or JSON) text into plain fields.

    Raises:
        BadInput: the text is not YAML, is nested too deep, uses anchors, aliases or merge keys, or is not a
            mapping of fields.
    """
    try:
        fields = yaml.load(text, Loader=SpecLoader)  # noqa: S506 - stricter than SafeLoader
    except yaml.YAMLError as error:
        raise _not_yaml(error) from error
    except RecursionError as error:
        raise BadInput("This YAML is nested too deep to be a sweep.") from error
    if not isinstance(fields, dict):
        raise BadInput(
            "A sweep is a mapping of fields such as name, trainer, grid and target; this is not one."
        )
    return fields


def _refusal(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def _not_yaml(error: yaml.YAMLError) -> BadInput:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return BadInput(
        f"This is not valid YAML: {problem} at {where}.", fields=(FieldProblem(path=where, message=problem),)
    )
