"""The text of a specification, from bytes."""

from __future__ import annotations

from typing import Final

from orchestrator.errors import BadInput

MAX_SWEEP_BYTES: Final = 256 * 2**10
"""Largest specification of a sweep; a real one has a few kilobytes, and YAML is slow to read."""


def spec_text(data: bytes) -> str:
    """The text of a specification.

    Raises:
        BadInput: it is too large, or not UTF-8.
    """
    if len(data) > MAX_SWEEP_BYTES:
        raise BadInput(f"The sweep has more than {MAX_SWEEP_BYTES // 2**10} KiB; a real one has a few.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"The sweep is not UTF-8 text: byte {error.start} cannot be read. Save it as UTF-8."
        ) from error
