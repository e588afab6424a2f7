"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from orchestrator.documents.document import Document
from orchestrator.errors import EtalonError


class FieldAtFault(Document):
    """One field of an input that is wrong."""

    path: str = Field(examples=["grid.scales.0.width"])
    message: str = Field(examples=["Input should be greater than or equal to 8 (got 4)"])


class ProblemDocument(Document):
    """An error that was raised without a service."""

    type: str = "about:blank"
    title: str = Field(examples=["The input is not valid"])
    detail: str = Field(description="What is wrong, where, and what to do.")
    errors: list[FieldAtFault] = Field(description="The fields at fault, if there are any.")

    @classmethod
    def of(cls, error: EtalonError, **more: object) -> Self:
        """The document of an error; ``more`` are the fields that a derived document adds."""
        errors = [FieldAtFault(path=field.path, message=field.message) for field in error.fields]
        return cls.model_validate({"title": error.title, "detail": error.detail, "errors": errors, **more})
