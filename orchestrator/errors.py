"""The ways in which Etalon says no: one base class, each with a sentence for the person who asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProblem:
    """What is wrong with one field of an input.

    Attributes:
        path: where it is, in the user's own words: ``grid.scales.0.width`` or ``row 7, column loss``.
        message: what is wrong and what is allowed.
    """

    path: str
    message: str


class EtalonError(Exception):
    """Base of every error that is told to a user.

    Attributes:
        title: the kind of error in a few words; the same for every error of one class.
        detail: one or two full sentences: what is wrong, where, the allowed range, what to do.
        fields: the fields at fault, if there are any.
        problem: the problem details as a service sent them, where the error came from one.
    """

    problem: Mapping[str, Any] | None = None
    title = "Etalon could not do this"

    def __init__(self, detail: str, *, fields: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = fields


class BadInput(EtalonError):
    """The input breaks the contract; nothing was changed."""

    title = "The input is not valid"

    @classmethod
    def at(cls, path: str, message: str) -> Self:
        """A refusal of one field; ``message`` is a clause without a full stop."""
        return cls(f"{path}: {message}.", fields=(FieldProblem(path=path, message=message),))


class NotFound(EtalonError):
    """What was asked for does not exist."""

    title = "Not found"


class Conflict(EtalonError):
    """The state of things does not allow what was asked."""

    title = "Not possible in this state"


class Unsupported(EtalonError):
    """The data cannot support the answer: an honest refusal instead of a number."""

    title = "The data cannot support this answer"


class Unavailable(EtalonError):
    """A part that the answer needs (database, leader, Ray) cannot be reached now."""

    title = "Not available now"
