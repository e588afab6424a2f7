"""The base of all documents, and pages of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

EXAMPLE_ID = "18a3f0c2b5d9e0770123456789abcdef"


MOST_SHOWN: Final = 9
LONGEST_SHOWN: Final = 80


class Compact(BaseModel):
    """Base of models whose ``repr`` is a line with their telling fields; ``model_dump`` and ``to_json`` have all.

    Attributes:
        TELLING: the fields that are shown; by default the first ones.
    """

    TELLING: ClassVar[tuple[str, ...]] = ()

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """The telling fields that have a value; an ellipsis stands for the others."""
        fields = type(self).model_fields
        filled = [name for name in self.TELLING or fields if getattr(self, name) not in (None, "", [], {})]
        shown = [name for name in filled if _is_short(getattr(self, name))][:MOST_SHOWN]
        yield from ((name, _Shown(getattr(self, name))) for name in shown)
        if len(shown) < len(fields):
            yield None, _Shown("…", plain=True)


class _Shown:
    """A value as a ``repr`` shows it."""

    def __init__(self, value: object, *, plain: bool = False) -> None:
        self._value, self._plain = value, plain

    def __repr__(self) -> str:
        value = self._value
        if isinstance(value, float):
            return f"{value:.4g}"
        if self._plain or isinstance(value, Enum | datetime):
            return str(value)
        text = repr(value)
        return (
            text if len(text) <= LONGEST_SHOWN or isinstance(value, Compact) else f"{text[:LONGEST_SHOWN]}…"
        )


def _is_short(value: object) -> bool:
    if isinstance(value, Compact):
        return (
            all(not isinstance(part, Compact | list | dict) for _, part in value)
            and len(type(value).model_fields) <= 3
        )
    return not isinstance(value, BaseModel | list | tuple | dict)


class Document(Compact):
    """Base of every document: NaN and infinity become null in JSON."""

    model_config = ConfigDict(ser_json_inf_nan="null", frozen=True)

    _sent: Any = PrivateAttr(default=None)

    @classmethod
    def of(cls, *sources: object, **more: Any) -> Self:
        """The document whose fields are attributes of values, or keys of mappings, of the same names.

        Args:
            sources: the values and mappings; the first that has a field gives it.
            more: fields under their names, before those of ``sources``.

        Raises:
            TypeError: ``more`` has a name that is no field.
            pydantic.ValidationError: a field without a default is in none of them, or has another type.
        """
        if unknown := more.keys() - cls.model_fields.keys():
            raise TypeError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}.")
        found = {
            name: source[name] if isinstance(source, Mapping) else getattr(source, name)
            for source in reversed(sources)
            for name in cls.model_fields
            if (name in source if isinstance(source, Mapping) else hasattr(source, name))
        }
        return cls.model_validate(found | more, from_attributes=True)

    @classmethod
    def read(cls, sent: Any) -> Self:
        """Read the JSON of a service; fields that this version does not know are ignored.

        Raises:
            pydantic.ValidationError: a known field is missing or has another type.
        """
        document = cls.model_validate(sent, extra="ignore", context={"unknown_fields": "ignore"})
        document._sent = sent
        return document

    def to_json(self) -> Any:
        """The document as JSON values: as the service sent it, or as it was built here."""
        return json.loads(self.model_dump_json()) if self._sent is None else self._sent


def first_fault(error: ValidationError) -> str:
    """The first field at fault, and what is wrong with it."""
    (first, *_) = error.errors(include_url=False)
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


Item = TypeVar("Item", bound=Document)


class Page(Document, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next_cursor: str | None = Field(
        description="Send it as ?cursor= for the next page; null on the last page."
    )
    total: int = Field(description="Items in the whole list.")
