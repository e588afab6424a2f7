"""Arguments as people write them: amounts as numbers or text, and paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orchestrator.amounts import number, parse_amount
from orchestrator.errors import BadInput

LARGEST: Final = 1e18
"""Most parameters or tokens of a target, as in the service."""

Amount = float | str
"""``1e9``, ``1B``, ``262k``, ``1_000_000``."""


def amount(name: str, value: Amount, *, largest: float = LARGEST) -> float:
    """Read parameters or tokens: ``1B``, ``262k``, ``1.5T``, ``1e9``, ``1_000_000``.

    Args:
        name: the argument or option, for error messages.
        value: its value; suffixes are decimal.
        largest: the largest value allowed.

    Raises:
        BadInput: not a number from 1 to ``largest``.
    """
    try:
        found = parse_amount(str(value)) if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"{name}: {error}") from error
    if not 1 <= found <= largest:
        raise BadInput(f"{name}: {value} is out of range; it must be from 1 to {number(largest)}.")
    return found


def flops_amount(name: str, value: Amount | None) -> float | None:
    """Read FLOPs: ``1e21``; None stays None.

    Raises:
        BadInput: not a number from 1 to the cost of one run of the largest size and horizon.
    """
    return None if value is None else amount(name, value, largest=6 * LARGEST**2)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a file.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"{os.fspath(path)} cannot be read: {error.strerror}.") from error


@contextmanager
def naming_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let a refusal of what a file holds begin with the file's path."""
    try:
        yield
    except BadInput as error:
        error.detail = f"{os.fspath(path)}: {error.detail}"
        error.args = (error.detail,)
        raise


def require_ascii(name: str, text: str) -> None:
    """Refuse what no header of a request can hold.

    Raises:
        BadInput: a character is not ASCII, or cannot be printed.
    """
    if not (text.isascii() and text.isprintable()):
        raise BadInput(f"{name} must be printable ASCII characters.")
