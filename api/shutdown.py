"""Notice of a shutdown, so that open event streams end and do not delay it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import cast

from fastapi import Request

Handler = Callable[[int, FrameType | None], object]


class Shutdown:
    """Set once, when the process receives SIGINT or SIGTERM.

    uvicorn notifies the application only after open responses have ended, so the signal itself is handled.
    """

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether the server is shutting down."""
        return self._begun.is_set()

    async def wait(self, seconds: float) -> None:
        """Return after ``seconds``, or when the server shuts down."""
        try:
            await asyncio.wait_for(self._begun.wait(), timeout=seconds)
        except TimeoutError:
            return

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM, then call the handlers installed before; a no-op outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        before = {number: handler for number, handler in found.items() if callable(handler)}
        for number, handler in before.items():
            signal.signal(number, self._then(loop, handler))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _then(self, loop: asyncio.AbstractEventLoop, handler: Handler) -> Handler:
        def hear(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._begun.set)
            handler(number, frame)

        return hear


def shutdown_of(request: Request) -> Shutdown:
    """The application's shutdown notice."""
    return cast("Shutdown", request.app.state.shutdown)
