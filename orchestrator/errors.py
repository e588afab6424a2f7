"""Errors with a sentence for the user: one base class, one subclass per kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProblem:
    """A problem with one field of an input.

    Attributes:
        path: the field as the user wrote it: ``grid.scales.0.width`` or ``row 7, column loss``.
        message: what is wrong and which values are allowed.
        line: where the field is in the user's text, counted from 1; None if unknown.
    """

    path: str
    message: str
    line: int | None = None


class EtalonError(Exception):
    """Base of every error that a user sees.

    Attributes:
        title: the kind of error in a few words; one per class.
        detail: one or two full sentences: what is wrong, where, the allowed range, what to do.
        fields: the invalid fields, if any.
        problem: the problem details of the service that sent the error; None if it arose here.
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
    """The requested object does not exist."""

    title = "Not found"


class Conflict(EtalonError):
    """The current state does not allow the request."""

    title = "Not possible in this state"


class Stale(EtalonError):
    """The request is about an earlier revision than the present one."""

    title = "The sweep has changed meanwhile"


class Refused(EtalonError):
    """The data cannot support an answer: a refusal instead of a number.

    Attributes:
        code: the rule that refused, for programs, such as `no_interior_minimum`; None where it has no name.
    """

    title = "The data cannot support this answer"

    def __init__(
        self, detail: str, *, fields: tuple[FieldProblem, ...] = (), code: str | None = None
    ) -> None:
        super().__init__(detail, fields=fields)
        self.code = code


class Unavailable(EtalonError):
    """The database, the leader or Ray cannot be reached now."""

    title = "Not available now"
