"""Uploaded run tables."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from orchestrator.documents.document import Document

TABLE_ID_PREFIX: Final = "tbl-"
"""Beginning of the id of every uploaded table."""


class TableDocument(Document):
    """An uploaded run table."""

    id: str = Field(
        examples=[f"{TABLE_ID_PREFIX}0123456789abcdef"],
        description="From the content: the same upload is the same table.",
    )
    rows: int
    cells: int
    diverged: int = Field(description="Rows without a usable loss: kept as data, never as a minimum.")
    failed: int = Field(default=0, description="Rows of failed runs: they say nothing of their rate.")
    left_out: dict[str, int] = Field(
        default={}, description="Rows that are in the file besides these but have no result yet, by state."
    )
    recipes: dict[str, list[str]] = Field(
        description="Text columns with several values: a law is of one recipe, so `where` must pick one value of each."
    )
    ignored: list[str] = Field(
        default=[], description="Text columns that are no part of a recipe: they name runs, or hold dates."
    )
