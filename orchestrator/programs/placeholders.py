"""Placeholders such as ``{learning_rate}`` in arguments, paths and config files, and arithmetic on whole numbers."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from typing import Final

from orchestrator.errors import BadInput

Value = str | int | float | bool
"""A value of a run or of a parameter."""

_OPERATORS: Final[Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_PARTS: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
MOST_CHARACTERS: Final = 4096
"""Longest text with placeholders."""


def spelt(value: Value) -> str:
    """A value as text that every parser reads as the same type.

    A float has a point and, if it has an exponent, a sign and two digits of it: PyYAML reads ``1e-05`` and ``3e-4`` as
    text, nanoGPT refuses ``1`` where it wants a float, and ``1.0e-05`` is a float to YAML 1.1, TOML, JSON and argparse.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, float):
        return str(value)
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if mark and "." not in mantissa else text


@dataclass(frozen=True, slots=True)
class Expression:
    """The inside of one pair of braces: a name, or arithmetic on whole numbers.

    Attributes:
        text: as it is written.
        names: the names in it.
    """

    text: str
    names: frozenset[str]
    _tree: ast.expr

    @classmethod
    def parse(cls, text: str, known: Set[str]) -> Expression:
        """Read an expression.

        Args:
            text: between the braces.
            known: the names that it may use.

        Raises:
            ValueError: it is no expression, or uses an unknown name; a clause for people.
        """
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ValueError(
                f"{{{text}}} is no name and no arithmetic; a brace itself is written {{{{ or }}}}"
            ) from None
        names = frozenset(_names(tree, text))
        for name in sorted(names - known):
            near = get_close_matches(name, known, n=1)
            hint = f"the nearest is {{{near[0]}}}" if near else f"known are {', '.join(sorted(known))}"
            raise ValueError(f"{{{name}}} is not known here; {hint}")
        return cls(text.strip(), names, tree)

    def evaluate(self, values: Mapping[str, Value]) -> Value:
        """The value: of a name as it is, of arithmetic a whole number.

        Raises:
            BadInput: a name has no whole number or no value, or the result is not whole.
        """
        if isinstance(self._tree, ast.Name):
            return _value(self._tree.id, values)
        try:
            result = _exact(self._tree, values)
        except ZeroDivisionError:
            raise BadInput(f"{{{self.text}}} divides by zero.") from None
        if result.denominator != 1:
            used = ", ".join(f"{name} = {values[name]}" for name in sorted(self.names))
            raise BadInput(f"{{{self.text}}} is {float(result):g} with {used}, and must be a whole number.")
        return int(result)


@dataclass(frozen=True, slots=True)
class Template:
    """Text with placeholders.

    Attributes:
        text: as it is written.
        parts: texts as they are, and expressions.
    """

    text: str
    parts: tuple[str | Expression, ...]

    @classmethod
    def parse(cls, text: str, known: Set[str]) -> Template:
        """Read a text.

        Raises:
            ValueError: a brace without its partner, or as ``Expression.parse``; a clause for people.
        """
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"has {len(text)} characters; at most {MOST_CHARACTERS} are allowed")
        if "\0" in text:
            raise ValueError("contains a NUL, which no argument can hold")
        return cls(text, tuple(_parts(text, known)))

    @property
    def names(self) -> frozenset[str]:
        """The names of all placeholders."""
        return frozenset[str]().union(*(part.names for part in self.parts if isinstance(part, Expression)))

    @property
    def stands_alone(self) -> Expression | None:
        """The placeholder, if the text is nothing else."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Expression):
            return self.parts[0]
        return None

    def argument(self, values: Mapping[str, Value]) -> str:
        """The text as an argument of a command.

        Raises:
            BadInput: as ``render``, or a value at its beginning starts with a minus, so that it would be read as an option.
        """
        text = self.render(values)
        if text.startswith("-") and isinstance(self.parts[0], Expression):
            raise BadInput(
                f"{self.text} comes out as {text[:100]!r}, which reads like an option; the registration can take the value in "
                f"one argument with its option, as --name={self.text}."
            )
        return text

    def value(self, values: Mapping[str, Value]) -> Value:
        """The value of a placeholder that stands alone, in its own type; otherwise the text."""
        alone = self.stands_alone
        return self.render(values) if alone is None else alone.evaluate(values)

    def render(self, values: Mapping[str, Value]) -> str:
        """The text with the values in it, spelt as ``spelt``.

        Raises:
            BadInput: as ``Expression.evaluate``.
        """
        return "".join(part if isinstance(part, str) else spelt(part.evaluate(values)) for part in self.parts)


def _parts(text: str, known: Set[str]) -> Iterator[str | Expression]:
    at = 0
    plain = ""
    for found in _PARTS.finditer(text):
        plain += text[at : found.start()]
        at = found.end()
        if found[0] in {"{{", "}}"}:
            plain += found[0][0]
        elif found[1] is None:
            raise ValueError(
                f"the brace at character {found.start() + 1} has no partner; write {found[0] * 2}"
            )
        else:
            if plain:
                yield plain
            plain = ""
            yield Expression.parse(found[1], known)
    if plain := plain + text[at:]:
        yield plain


def _names(tree: ast.expr, text: str) -> Iterator[str]:
    match tree:
        case ast.Name(id=name):
            yield name
        case ast.Constant(value=bool()):
            raise ValueError(f"{{{text}}} is no whole number")
        case ast.Constant(value=int()):
            return
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            yield from _names(left, text)
            yield from _names(right, text)
        case _:
            raise ValueError(f"{{{text}}} may hold names, whole numbers, + - * / and parentheses only")


def _exact(tree: ast.expr, values: Mapping[str, Value]) -> Fraction:
    match tree:
        case ast.Name(id=name):
            value = _value(name, values)
            if isinstance(value, bool) or not isinstance(value, int):
                raise BadInput(f"{{{name}}} is {spelt(value)}; arithmetic needs a whole number.")
            return Fraction(value)
        case ast.BinOp(left=left, op=sign, right=right):
            return _OPERATORS[type(sign)](_exact(left, values), _exact(right, values))
        case ast.Constant(value=int() as number):
            return Fraction(number)
    raise AssertionError(tree)


def _value(name: str, values: Mapping[str, Value]) -> Value:
    if name not in values:
        raise BadInput(f"{{{name}}} has no value here.")
    return values[name]
