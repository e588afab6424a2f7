"""Signals that end a driver in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from workers.dispatcher import Dispatcher


@contextmanager
def signals_to(dispatcher: Dispatcher) -> Iterator[None]:
    """Let the driver leave in order on SIGTERM and Ctrl-C."""
    before = {
        number: signal.signal(number, lambda *_: dispatcher.interrupt())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
