"""What all documents have in common, and pages of them."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

EXAMPLE_ID = "18a3f0c2b5d9e0770123456789abcdef"

Item = TypeVar("Item", bound=BaseModel)


class Document(BaseModel):
    """Base of every document: what is not a finite number becomes null."""

    model_config = ConfigDict(ser_json_inf_nan="null", frozen=True)


class Page(Document, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next_cursor: str | None = Field(description="Send it as ?cursor= for the next page; null on the last.")
    total: int = Field(description="How many the whole list has.")
