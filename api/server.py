"""The server process: uvicorn, which closes the connections of clients that are too slow and believes no proxy unasked."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any, Final

import uvicorn
from h11 import DONE, IDLE
from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.errors import BadInput
from orchestrator.processes import one_algebra_thread
from orchestrator.settings import Settings, check_environment

SHUTDOWN_SECONDS: Final = 2


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with two limits of time; ``api.traffic`` has that of a body.

    The head of a request must be whole within ``client_seconds`` of the connection's start or of the answer before it.
    An answer that a client does not read may wait as long.
    """

    client_seconds: float

    _head: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self._await_head()

    def handle_events(self) -> None:
        """Handle what has come; a request that is whole as far as its head is answered from here on."""
        super().handle_events()
        if self._is_answering():
            self._cancel_head()

    def on_response_complete(self) -> None:
        """Await the next request; the rest of this one's body counts as its beginning."""
        super().on_response_complete()
        if not self._is_answering() and self._head is None:
            self._await_head()

    def pause_writing(self) -> None:
        """The client does not read what waits for it."""
        super().pause_writing()
        self._stall = self.loop.call_later(self.client_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads, or has left."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._cancel_head()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.conn.our_state not in {IDLE, DONE}

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.client_seconds, self.transport.abort)

    def _cancel_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        arguments: of the command line; by default this process's.

    Raises:
        SystemExit: the environment is not valid, or the port cannot be bound.
    """
    parser = argparse.ArgumentParser("python -m api", description="Etalon's API and dashboard.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8765, help="0 takes a free one")
    asked = parser.parse_args(arguments)
    try:
        check_environment()
    except BadInput as error:
        sys.exit(f"{error.title}: {error.detail}")
    from api.app import create_app  # noqa: PLC0415 - it reads the environment, which is valid now

    one_algebra_thread()
    uvicorn.run(create_app, factory=True, host=asked.host, port=asked.port, **_options())


def _options() -> dict[str, Any]:
    """Options of uvicorn. Its log goes where the application's goes, as JSON; the application logs requests."""
    settings = Settings()
    limits = {"client_seconds": settings.client_seconds}
    return {
        "http": type("Protocol", (TimedProtocol,), limits),
        "ws": "none",
        "proxy_headers": settings.trusted_proxies is not None,
        "forwarded_allow_ips": settings.trusted_proxies,
        "server_header": False,
        "access_log": False,
        "log_config": None,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
    }
