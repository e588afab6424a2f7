"""Calls for a training program: standard library alone, Python 3.8 and later.

They are for a program that Etalon starts for a run. This version starts none, so each call does nothing and returns
False, and a program with these calls runs unchanged by hand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

run: Mapping[str, Any] = MappingProxyType({})
"""The values of the run: learning rate, tokens, batch and seed. Empty where there is no run of Etalon."""


def report(
    *,
    tokens: float | None = None,
    step: int | None = None,
    loss: float | None = None,
    validation_loss: float | None = None,
) -> bool:
    """Report a point of the learning curve.

    Args:
        tokens: tokens trained so far; or ``step``.
        step: optimizer steps so far.
        loss: training loss.
        validation_loss: held-out loss.

    Returns:
        Whether Etalon has it: False where there is no run of Etalon.
    """
    return False


def saved(path: str | os.PathLike[str], tokens: float) -> bool:
    """Report a checkpoint that is whole on disk.

    Args:
        path: the checkpoint, a file or folder.
        tokens: tokens trained when it was taken.

    Returns:
        Whether Etalon has it: False where there is no run of Etalon.
    """
    return False


def should_stop() -> bool:
    """Whether the program must save and end: False where there is no run of Etalon."""
    return False


def diverged(reason: str) -> bool:
    """Report that the learning rate was too high.

    Args:
        reason: what was seen, for people.

    Returns:
        Whether Etalon has it: False where there is no run of Etalon.
    """
    return False
