"""Registered programs and their checks, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from orchestrator.documents.document import Document


class Finding(StrEnum):
    """How one part of a check ended."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    SKIPPED = "skipped"


class CheckStep(Document):
    """One part of a check."""

    name: str = Field(description="What was looked at, such as resume or stop.")
    finding: Finding
    message: str = Field(description="What was found, as a sentence.")


class CheckDocument(Document):
    """The result of ``etalon trainer check``."""

    passed: bool = Field(description="Whether no step is bad.")
    forks: bool | None = Field(
        description="Whether a fork gives the loss of a direct run; null where none is declared."
    )
    tokens_per_second: float | None = Field(description="Measured; null where the program ended too early.")
    params: float | None = Field(description="N as the program reports it; null if it does not.")
    steps: list[CheckStep]
    checked_at: datetime


class ParameterDocument(Document):
    """What a sweep may set of a program."""

    name: str
    type: str = Field(description="int, float, choice or text.")
    allowed: str = Field(description="The allowed values in words.")
    default: Any = Field(description="Null where a sweep must give it.")
    description: str
    min: float | None = None
    max: float | None = None
    multiple_of: int | None = None
    values: list[Any] | None = Field(default=None, description="Of a choice.")


class TrainerDocument(Document):
    """A registered program."""

    name: str
    kind: str = Field(description="command or python.")
    description: str
    digest: str = Field(description="Changes whenever the registration does.")
    parameters: list[ParameterDocument]
    takes_seeds: bool
    resumes: bool = Field(description="Whether an interrupted run goes on from its checkpoint.")
    forks: bool = Field(description="Whether horizons share a trunk.")
    fault: str | None = Field(description="Why it cannot be used; null if it can.")
    check: CheckDocument | None = Field(description="Null if this registration was never checked.")
