"""The base of all documents, and pages of them."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

EXAMPLE_ID = "18a3f0c2b5d9e0770123456789abcdef"

Item = TypeVar("Item", bound=BaseModel)


class Document(BaseModel):
    """Base of every document: NaN and infinity become null in JSON."""

    model_config = ConfigDict(ser_json_inf_nan="null", frozen=True)


class Page(Document, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next_cursor: str | None = Field(
        description="Send it as ?cursor= for the next page; null on the last page."
    )
    total: int = Field(description="Items in the whole list.")
