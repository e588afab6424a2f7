"""The types of fields that a specification is made of."""

from __future__ import annotations

import math
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from orchestrator.amounts import as_amount, number

LEAST_RATE: Final = 1e-12
"""Below this a learning rate changes no weight of a float32 model."""


def as_number(value: object) -> object:
    """Reads text as a number: ``1e-4`` and ``400_000``, which YAML 1.1 reads as text, and ``1.07B``."""
    if isinstance(value, str):
        try:
            return float(value.replace("_", ""))
        except ValueError:
            return as_amount(value)
    return value


def _count(value: object) -> object:
    """Reads ``2e10`` as an integer."""
    number = as_number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _even(width: int) -> int:
    if width % 2:
        raise ValueError(f"{width} is odd; rotary positions turn pairs, so take an even width")
    return width


def _not_tiny(value: float) -> float:
    if value < LEAST_RATE:
        raise ValueError(f"must be at least {number(LEAST_RATE, 6)} (got {number(value, 6)})")
    return value


def _condition(value: object) -> object:
    """Reads ``seed: 0`` as the text that a table has there."""
    return str(value) if isinstance(value, int | float) else value


def _parameter(value: object) -> object:
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("must be text, a finite number, true or false")
    return value


Number = Annotated[float, BeforeValidator(as_number)]
Positive = Annotated[Number, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_count), Field(gt=0, le=10**18)]
Rate = Annotated[Number, Field(gt=0, le=100), AfterValidator(_not_tiny)]
Fraction = Annotated[Number, Field(gt=0, lt=1)]
Width = Annotated[int, Field(ge=8, le=65_536), AfterValidator(_even)]
Depth = Annotated[int, Field(ge=1, le=1_024)]
Condition = Annotated[str, BeforeValidator(_condition)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Parameter = Annotated[str | float | int | bool, BeforeValidator(_parameter)]


class Strict(BaseModel):
    """A part of a specification: immutable, and without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BadField(ValueError):
    """A field below the checked part is not valid.

    Attributes:
        path: of the field, relative to the checked part.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path
