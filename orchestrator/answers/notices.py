"""Notices as documents."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.documents.notices import NoticeDocument
from orchestrator.law.notices import Notice


def notice_documents(notices: Iterable[Notice]) -> list[NoticeDocument]:
    """The notices with their codes, in their order."""
    return [NoticeDocument(code=notice.code, message=notice.message) for notice in notices]
