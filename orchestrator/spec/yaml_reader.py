"""Reads YAML text into plain fields; only the part of YAML that a specification needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import yaml

from orchestrator.errors import BadInput, FieldProblem

MAX_NUMBER: Final = 100
"""Longest number, in characters: very long ones take very long to read."""

MAX_VALUES: Final = 10_000
"""Most values and names of fields in one text. PyYAML reads some 30,000 a second; a large specification has 2,000."""

MAX_DEPTH: Final = 32
"""Most levels of nested lists and mappings; a specification has six."""

_WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
"""Words that are not text, as in YAML 1.2: yes, no, on and off are text."""

_DIGITS: Final = r"[0-9]+(?:_[0-9]+)*"
_INTEGER: Final = re.compile(rf"[-+]?{_DIGITS}")
_FLOAT: Final = re.compile(rf"[-+]?(?:\.[0-9]+|{_DIGITS}(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO: Final = re.compile(r"([-+]?)0[0_]*([0-9].*)")


class YamlText:
    """A text of one document.

    Attributes:
        fields: its value.
        lines: the line of every field and entry by its path, counted from 1.

    Raises:
        BadInput: as ``read_yaml``.
    """

    def __init__(self, text: str) -> None:
        self.lines: dict[str, int] = {}
        self._values = 0
        # The parser in Python: libyaml's is not on every machine.
        self._events = yaml.parse(text, Loader=yaml.SafeLoader)
        try:
            self.fields = self._document()
        except yaml.YAMLError as error:
            raise _not_yaml(error) from error

    def _document(self) -> object:
        next(self._events)
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            return None
        fields = self._value(next(self._events), ())
        next(self._events)
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            raise _refusal("a second document begins, a sweep is one", following)
        return fields

    def _value(self, event: Any, path: tuple[str, ...]) -> object:
        self._check(event, path)
        match event:
            case yaml.ScalarEvent(implicit=(True, _)):
                return _plain(event)
            case yaml.ScalarEvent():
                return event.value
            case yaml.SequenceStartEvent():
                return self._list(path)
        return self._mapping(path)

    def _check(self, event: Any, path: tuple[str, ...]) -> None:
        """Refuse references, with which a few lines expand to gigabytes, tags, and a text that takes long to read."""
        self._values += 1
        if event.anchor is not None:
            raise _refusal("anchors and aliases (& and *) are not supported, write the part out", event)
        if event.tag is not None:
            raise _refusal("tags (!) are not supported", event)
        if self._values > MAX_VALUES:
            raise _refusal(f"more than {MAX_VALUES} values are too many for a sweep", event)
        if len(path) > MAX_DEPTH:
            raise _refusal(f"nested too deep, {MAX_DEPTH} levels are the most", event)

    def _list(self, path: tuple[str, ...]) -> list[object]:
        values: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            at = (*path, str(len(values)))
            self._keep_line(at, event)
            values.append(self._value(event, at))
        return values

    def _mapping(self, path: tuple[str, ...]) -> dict[str, object]:
        fields: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            name = self._name(event, path)
            if name in fields:
                raise _refusal(f"{name[:MAX_NUMBER]!r} is given twice, give it once", event)
            at = (*path, name)
            self._keep_line(at, event)
            fields[name] = self._value(next(self._events), at)
        return fields

    def _keep_line(self, path: tuple[str, ...], event: Any) -> None:
        self.lines[".".join(path)] = event.start_mark.line + 1

    def _name(self, event: Any, path: tuple[str, ...]) -> str:
        name = self._value(event, path) if isinstance(event, yaml.ScalarEvent) else None
        if name == "<<" and event.implicit[0]:
            raise _refusal("merge keys (<<) are not supported, write the fields out", event)
        if not isinstance(name, str):
            raise _refusal("the name of a field must be text; put it in quotes", event)
        return name


def read_yaml(text: str) -> dict[str, Any]:
    """Read a specification's YAML text into plain fields.

    Numbers and words are those of YAML 1.2, and ``400_000``.

    Raises:
        BadInput: the text is not YAML, is too long or nested too deep, uses anchors, aliases, tags or merge keys,
            gives a field twice or a number with a leading zero, or is not a mapping of fields.
    """
    fields = YamlText(text).fields
    if not isinstance(fields, dict):
        raise BadInput(
            "A sweep is a mapping of fields such as name, trainer, grid and target; this is not one."
        )
    return fields


def add_lines(error: BadInput, text: str) -> None:
    """Add the lines of the fields at fault to a refusal of a YAML text; a missing field has the line of its mapping."""
    lines = YamlText(text).lines
    fields = tuple(replace(problem, line=_line(problem.path, lines)) for problem in error.fields)
    for problem in fields:
        if problem.line is not None:
            error.detail = error.detail.replace(
                f"{problem.path}: {problem.message}",
                f"{problem.path} (line {problem.line}): {problem.message}",
            )
    error.fields = fields
    error.args = (error.detail,)


def _line(path: str, lines: Mapping[str, int]) -> int | None:
    while path and path not in lines:
        path = path.rpartition(".")[0]
    return lines.get(path)


def _plain(event: yaml.ScalarEvent) -> object:
    """The value of text without quotes."""
    text = event.value
    if text in _WORDS:
        return _WORDS[text]
    if not _FLOAT.fullmatch(text):
        return text
    if len(text) > MAX_NUMBER:
        raise _refusal(f"a number has {len(text)} characters, {MAX_NUMBER} are the most", event)
    if padded := _LEADING_ZERO.fullmatch(text):
        meant = "".join(padded.groups())
        raise _refusal(
            f"{text} has a leading zero, which YAML 1.1 reads as octal; write {meant}, or quotes around text",
            event,
        )
    return int(text) if _INTEGER.fullmatch(text) else float(text)


def _refusal(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def _not_yaml(error: yaml.YAMLError) -> BadInput:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return BadInput(
        f"This is not valid YAML: {problem} at {where}.", fields=(FieldProblem(path=where, message=problem),)
    )
