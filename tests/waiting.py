"""Waiting for what other threads and processes bring about."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    condition: Callable[[], object],
    *,
    seconds: float = 90.0,
    otherwise: Callable[[], str] = lambda: "waited in vain",
) -> None:
    """Wait until something is so; ``otherwise`` is the message if it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.01)
