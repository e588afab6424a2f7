"""What a sweep may set of a program: typed parameters within the operator's bounds."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from orchestrator.amounts import as_amount
from orchestrator.programs.patterns import fault_of
from orchestrator.programs.placeholders import Value, spelt
from orchestrator.spec.fields import BadField, Integer, Number, Parameter, Strict

MOST_TEXT: Final = 1_000
"""Longest text that a sweep may give, in characters."""


class _Parameter(Strict):
    """One parameter. ``default`` is its value where a sweep gives none; without one, the sweep must give it."""

    default: Parameter | None = None
    description: str = ""

    @model_validator(mode="after")
    def _default_is_allowed(self) -> Self:
        if self.default is not None:
            try:
                self.check(self.default)
            except ValueError as error:
                raise BadField("default", str(error)) from error
        return self

    @abstractmethod
    def check(self, value: Any) -> Value:
        """The value in the parameter's type.

        Raises:
            ValueError: it is not allowed; a clause with the allowed values.
        """

    @property
    @abstractmethod
    def allowed(self) -> str:
        """The allowed values in words."""


class _Bounded(_Parameter):
    def _check_bounds(self, value: float) -> None:
        low, high = getattr(self, "min", None), getattr(self, "max", None)
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f"is {spelt(value)}; {self.allowed}")

    def _range(self) -> str:
        low, high = getattr(self, "min", None), getattr(self, "max", None)
        if low is not None and high is not None:
            return f" from {spelt(low)} to {spelt(high)}"
        if low is not None:
            return f" of at least {spelt(low)}"
        return "" if high is None else f" of at most {spelt(high)}"

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        low, high = getattr(self, "min", None), getattr(self, "max", None)
        if low is not None and high is not None and low > high:
            raise BadField("min", f"is above max: {spelt(low)} > {spelt(high)}")
        return self


class IntParameter(_Bounded):
    """A whole number."""

    type: Literal["int"]
    min: Integer | None = None
    max: Integer | None = None
    multiple_of: Annotated[Integer, Field(ge=1)] | None = None

    def check(self, value: Any) -> int:
        """As ``_Parameter.check``; ``64k`` is read too."""
        number = as_amount(value)
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int):
            raise ValueError(f"is {_shown(value)}; {self.allowed}")  # noqa: TRY004 - as pydantic reports
        self._check_bounds(number)
        if self.multiple_of is not None and number % self.multiple_of:
            raise ValueError(f"is {number}; {self.allowed}")
        return number

    @property
    def allowed(self) -> str:
        """As ``_Parameter.allowed``."""
        step = "" if self.multiple_of is None else f", a multiple of {self.multiple_of}"
        return f"must be a whole number{self._range()}{step}"


class FloatParameter(_Bounded):
    """A number."""

    type: Literal["float"]
    min: Number | None = None
    max: Number | None = None

    def check(self, value: Any) -> float:
        """As ``_Parameter.check``."""
        number = as_amount(value)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError(f"is {_shown(value)}; {self.allowed}")  # noqa: TRY004 - as pydantic reports
        self._check_bounds(number)
        return float(number)

    @property
    def allowed(self) -> str:
        """As ``_Parameter.allowed``."""
        return f"must be a number{self._range()}"


class ChoiceParameter(_Parameter):
    """One of several values."""

    type: Literal["choice"]
    values: Annotated[tuple[Parameter, ...], Field(min_length=1, max_length=100)]

    def check(self, value: Any) -> Value:
        """As ``_Parameter.check``: the operator's value, which ``1`` and ``true`` are not alike."""
        for known in self.values:
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                return known
        raise ValueError(f"is {_shown(value)}; {self.allowed}")

    @property
    def allowed(self) -> str:
        """As ``_Parameter.allowed``."""
        return f"must be one of {', '.join(map(spelt, self.values))}"


class TextParameter(_Parameter):
    """Text that a pattern of the operator matches as a whole."""

    type: Literal["text"]
    pattern: Annotated[str, Field(min_length=1, max_length=1_000)]

    @model_validator(mode="before")
    @classmethod
    def _pattern_is_one(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and isinstance(fields.get("pattern"), str):
            fault = fault_of(fields["pattern"])
            if fault is not None:
                raise BadField("pattern", fault)
        return fields

    def check(self, value: Any) -> str:
        """As ``_Parameter.check``."""
        if not isinstance(value, str) or len(value) > MOST_TEXT or "\0" in value:
            raise ValueError(f"is {_shown(value)}; {self.allowed}")
        if re.fullmatch(self.pattern, value) is None:
            raise ValueError(f"is {_shown(value)}; {self.allowed}")
        return value

    @property
    def allowed(self) -> str:
        """As ``_Parameter.allowed``."""
        return f"must be text that '{self.pattern}' matches as a whole"


ProgramParameter = Annotated[
    IntParameter | FloatParameter | ChoiceParameter | TextParameter, Field(discriminator="type")
]


def _shown(value: object) -> str:
    return repr(value)[:100]
