"""Notices: what a user should know of a law, a prediction or a plan, as a code for programs and a sentence for people."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing that the user should know.

    Attributes:
        code: The kind of notice, in lower-case words joined by underscores; it never changes.
        message: The sentence, with its numbers written for people. No program reads it.
    """

    code: str
    message: str


def messages(notices: Iterable[Notice]) -> tuple[str, ...]:
    """The sentences alone: the ``warnings`` of the documents."""
    return tuple(notice.message for notice in notices)
