"""Registered programs and their checks, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from orchestrator.documents.document import Document

Value = str | bool | int | float
"""A value of a parameter."""


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
    message: str = Field(description="What was found, as a sentence; for others than admins without `paths`.")
    paths: list[str] = Field(
        default=[],
        description="Parts of `message` that are for the scope admin alone, such as paths; empty for others.",
    )


class CheckDocument(Document):
    """The result of ``etalon trainer check``."""

    passed: bool = Field(description="Whether no step is bad.")
    forks: bool | None = Field(
        description="Whether a fork was found to give the loss of a direct run: false too where none was compared, null where "
        "none is declared."
    )
    tokens_per_second: float | None = Field(description="Measured; null where the program ended too early.")
    params: float | None = Field(description="N as the program reports it; null if it does not.")
    declared_params: float | None = Field(default=None, description="N that the check was given, if any.")
    values: dict[str, Value] = Field(default={}, description="Of the parameters in the check's runs.")
    steps: list[CheckStep]
    checked_at: datetime

    @property
    def known_params(self) -> float | None:
        """N of its runs, reported or else declared."""
        return self.params if self.params is not None else self.declared_params


class ParameterDocument(Document):
    """What a sweep may set of a program."""

    name: str
    type: str = Field(description="int, float, choice or text.")
    allowed: str = Field(description="The allowed values in words, such as: a whole number from 8 to 64.")
    default: Value | None = Field(description="Null where a sweep must give it.")
    description: str
    min: float | None = None
    max: float | None = None
    multiple_of: int | None = None
    values: list[Value] | None = Field(default=None, description="Of a choice.")


class TrainerDocument(Document):
    """A registered program, without its environment and paths. A faulty one has its name and ``fault`` alone."""

    name: str
    kind: str | None = Field(description="command or python; null where it is faulty.")
    description: str
    command: list[str] | None = Field(
        default=None,
        description="The argument list as it is registered, for the scope admin alone; null for others.",
    )
    digest: str | None = Field(description="Changes whenever the registration does; null where it is faulty.")
    parameters: list[ParameterDocument]
    takes_seeds: bool = Field(description="Whether a sweep may ask for several seeds.")
    resumes: bool = Field(description="Whether an interrupted run goes on from its checkpoint.")
    forks: bool = Field(
        description="Whether horizons share a trunk: forks are declared, and the check, if there is one, found them equal to "
        "direct runs."
    )
    fault: str | None = Field(
        description="Why it cannot be used; null if it can. The whole fault is for the scope admin."
    )
    check: CheckDocument | None = Field(description="Null if this registration was never checked.")


class RegistrationDocument(Document):
    """The registration that carries out the runs of a sweep."""

    name: str
    digest: str
    checked: bool = Field(description="Whether `etalon trainer check` had passed it when it was taken.")
