"""Notices: the warnings of an answer, with a code each for programs."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from orchestrator.documents.document import Document


class NoticeDocument(Document):
    """A warning with its code."""

    code: str = Field(
        description="The kind of warning; the same whatever its numbers.", examples=["far_outside"]
    )
    message: str = Field(description="The warning in full sentences.")


class NoticedDocument(Document):
    """Base of answers with warnings."""

    warnings: list[str] = Field(description="Full sentences.")
    notices: list[NoticeDocument] = Field(
        default=[],
        description="The same warnings with their codes, in the same order.",
    )

    @classmethod
    def of(cls, *sources: object, **more: Any) -> Self:
        """As ``Document.of``; ``warnings`` are the messages of the ``notices`` in ``more``."""
        if "notices" in more:
            more["warnings"] = [notice.message for notice in more["notices"]]
        return super().of(*sources, **more)
