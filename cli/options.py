"""Values of options as people write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def assignments(items: Iterable[str], option: str) -> Mapping[str, str]:
    """Read ``name=value`` items.

    Raises:
        BadInput: another spelling, or one name with two values.
    """
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not name or not value:
            raise BadInput(f"{option} {item!r}: write it as name=value.")
        if found.setdefault(name, value) != value:
            raise BadInput(f"{option} gives {name} two values, {found[name]!r} and {value!r}; give it one.")
    return found
