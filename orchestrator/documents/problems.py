"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import Field

from orchestrator.documents.document import Document
from orchestrator.errors import BadInput, Conflict, EtalonError, NotFound, Refused, Stale, Unavailable

TYPE_PREFIX: Final = "urn:etalon:problem:"

PROBLEM_KINDS: Final[Mapping[type[EtalonError], str]] = {
    BadInput: "bad-input",
    NotFound: "not-found",
    Conflict: "conflict",
    Stale: "stale",
    Refused: "unsupported",
    Unavailable: "unavailable",
}
"""The last part of ``type``: distinguishes refusals of one status for programs."""


class FieldError(Document):
    """One field at fault."""

    path: str = Field(examples=["grid.scales.0.width"])
    message: str = Field(examples=["Input should be greater than or equal to 8 (got 4)"])
    line: int | None = Field(default=None, description="Line of the field in a YAML text, counted from 1.")


class ProblemDocument(Document):
    """An error that was raised without a service."""

    type: str = Field(default="about:blank", examples=[f"{TYPE_PREFIX}bad-input"])
    title: str = Field(examples=["The input is not valid"])
    detail: str = Field(description="What is wrong, where, and what to do.")
    errors: list[FieldError] = Field(default=[], description="The fields at fault, if there are any.")

    @classmethod
    def of_error(cls, error: EtalonError, **more: Any) -> Self:
        """The problem of an error; ``more`` are further fields."""
        kinds = [name for kind, name in PROBLEM_KINDS.items() if isinstance(error, kind)]
        type_ = f"{TYPE_PREFIX}{kinds[0]}" if kinds else "about:blank"
        return cls.of(error, type=type_, errors=error.fields, **more)


class ServedProblem(ProblemDocument):
    """An error (RFC 9457)."""

    type: str = Field(examples=[f"{TYPE_PREFIX}bad-input"])
    status: int = Field(examples=[422])
    instance: str = Field(examples=["/v1/sweeps"])
    request_id: str | None = Field(default=None, description="Find this request in the server's log by it.")


def error_class(problem_type: str, otherwise: type[EtalonError]) -> type[EtalonError]:
    """The kind of error that a problem's ``type`` names, or ``otherwise`` if it names none of ``PROBLEM_KINDS``."""
    return next(
        (kind for kind, name in PROBLEM_KINDS.items() if problem_type == TYPE_PREFIX + name), otherwise
    )
