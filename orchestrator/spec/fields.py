"""The types of fields that a specification is made of."""

from __future__ import annotations

import math
from typing import Annotated, Final
from unicodedata import category

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from orchestrator.amounts import as_amount, number

LEAST_RATE: Final = 1e-12
"""Below this a learning rate changes no weight of a float32 model."""

_DIRECTIONS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of writing."""


def as_number(value: object) -> object:
    """Reads an amount as a number: ``1.07B``, ``400k``; true and false are no numbers, though Python counts with them."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number, not {str(value).lower()}")  # noqa: TRY004 - pydantic reports ValueError
    return as_amount(value)


def _whole(value: object) -> object:
    """Reads ``2e10`` as an integer."""
    number = as_number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _even(width: int) -> int:
    if width % 2:
        raise ValueError(f"{width} is odd; rotary positions turn pairs, so take an even width")
    return width


def _holds(sign: str) -> ValueError:
    return ValueError(f"contains the control character U+{ord(sign):04X}")


def _storable(text: str) -> str:
    """Refuses control characters and lone surrogates, halves of a character that neither files nor databases hold."""
    for sign in text:
        if category(sign) in {"Cc", "Cs"}:
            raise _holds(sign)
    return text


def _without_controls(name: str) -> str:
    """Refuses characters that end a line or turn the direction of writing, and names without a sign."""
    kinds = {sign: category(sign) for sign in name}
    for sign, kind in kinds.items():
        if kind in {"Zl", "Zp"} or sign in _DIRECTIONS:
            raise _holds(sign)
    if all(kind[0] in "CZM" for kind in kinds.values()):
        raise ValueError("is blank")
    return name


def _not_tiny(value: float) -> float:
    if value < LEAST_RATE:
        raise ValueError(f"must be at least {number(LEAST_RATE, 6)} (got {number(value, 6)})")
    return value


def _condition(value: object) -> object:
    """Reads ``seed: 0`` as the text that a table has there."""
    value = str(value) if isinstance(value, int | float) else value
    return _storable(value) if isinstance(value, str) else value


def _parameter(value: object) -> object:
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("must be text, a finite number, true or false")
    return _storable(value) if isinstance(value, str) else value


Number = Annotated[float, BeforeValidator(as_number)]
Positive = Annotated[Number, Field(gt=0, allow_inf_nan=False)]
Integer = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Integer, Field(gt=0, le=10**18)]
Amount = Annotated[Number, Field(ge=1, le=1e18)]
Rate = Annotated[Number, Field(gt=0, le=100), AfterValidator(_not_tiny)]
Fraction = Annotated[Number, Field(gt=0, lt=1)]
Width = Annotated[Integer, Field(ge=8, le=65_536), AfterValidator(_even)]
Depth = Annotated[Integer, Field(ge=1, le=1_024)]
Condition = Annotated[str, BeforeValidator(_condition)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_storable),
    AfterValidator(_without_controls),
]
Key = Annotated[str, AfterValidator(_storable)]
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
