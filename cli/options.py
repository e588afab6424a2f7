"""Amounts in options, as people write them."""

from __future__ import annotations

from typing import Final

from orchestrator.amounts import parse_amount
from orchestrator.errors import BadInput

LARGEST: Final = 1e18
"""Most parameters or tokens that a target may have; as the service has it."""


def amount(option: str, text: str) -> float:
    """Read parameters or tokens: ``1B``, ``262k``, ``1.5T``, ``1e9``, ``1_000_000``.

    Args:
        option: what is read, for messages.
        text: as it was written; suffixes are decimal.

    Raises:
        BadInput: not a number from 1 to 1e18.
    """
    try:
        value = parse_amount(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from error
    if not 1 <= value <= LARGEST:
        raise BadInput(f"{option}: {text} is out of range; it must be from 1 to 1e18.")
    return value
