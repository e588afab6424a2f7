"""Amounts in options, as people write them."""

from __future__ import annotations

from typing import Final

from orchestrator.amounts import parse_amount
from orchestrator.errors import BadInput

LARGEST: Final = 1e18
"""Most parameters or tokens that a target may have; as the service has it."""

BUDGET_HELP = "What may be spent on confirming the answer, 1e20; where a run at the target costs more, what to run instead."


def amount(option: str, text: str, *, largest: float = LARGEST) -> float:
    """Read parameters or tokens: ``1B``, ``262k``, ``1.5T``, ``1e9``, ``1_000_000``.

    Args:
        option: what is read, for messages.
        text: as it was written; suffixes are decimal.
        largest: value that is allowed.

    Raises:
        BadInput: not a number from 1 to ``largest``.
    """
    try:
        value = parse_amount(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from error
    if not 1 <= value <= largest:
        raise BadInput(f"{option}: {text} is out of range; it must be from 1 to {largest:.3g}.")
    return value


def flops_amount(option: str, text: str | None) -> float | None:
    """Read FLOPs, if any were given: ``1e21``.

    Raises:
        BadInput: not a number from 1 to what a run of the largest size and horizon costs.
    """
    return None if text is None else amount(option, text, largest=6 * LARGEST**2)
