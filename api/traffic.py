"""Middleware of every request: its id, log line, latency, security headers; what ends it early, and how it is answered."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from prometheus_client import Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problem_details import METHODS, crashed, problem_response

logger = logging.getLogger("api.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
}
"""Security headers of every response: browsers run only scripts of this service, and show it in no frame."""


LEFT: Final = 499
"""Status, in log and metrics, of a request whose client left before it was answered (as nginx counts it)."""

BODY_BYTES_PER_SECOND: Final = 16 * 2**10
"""Rate below which a body is refused, once the time that every client has is over."""


@dataclass(slots=True)
class _Exchange:
    """State of one request."""

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    waited: float | None = None
    received: int = 0
    whole: bool = False
    slow: bool = False


class Traffic:
    """The middleware.

    Args:
        app: the application.
        latency: histogram of seconds until the response starts, by method, route and status.
        client_seconds: a body may take this long, and a second more for each ``BODY_BYTES_PER_SECOND``.
    """

    def __init__(self, app: ASGIApp, *, latency: Histogram, client_seconds: float) -> None:
        self._app = app
        self._latency = latency
        self._client_seconds = client_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, log it and observe its latency."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(request_id=_request_id(Headers(scope=scope)))
        scope.setdefault("state", {})["request_id"] = exchange.request_id

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                _start(exchange, message)
            await send(message)

        async def receiving() -> Message:
            return await self._received(exchange, receive)

        try:
            await self._app(scope, receiving, sending)
        except ClientDisconnect:
            await self._answer_none(scope, exchange, receive, sending)
        except Exception as error:
            if exchange.waited is not None:  # the response has started; the server closes the connection
                raise
            await crashed(Request(scope), error)(scope, receive, sending)
        finally:
            self._record(scope, exchange)

    async def _received(self, exchange: _Exchange, receive: Receive) -> Message:
        """The next message; to the application, a client whose body is too slow is one that has left."""
        if exchange.whole:
            return await receive()
        passed = time.perf_counter() - exchange.started
        allowed = self._client_seconds + exchange.received / BODY_BYTES_PER_SECOND
        try:
            async with asyncio.timeout(allowed - passed):
                message = await receive()
        except TimeoutError:
            exchange.slow = exchange.whole = True
            return {"type": "http.disconnect"}
        exchange.received += len(message.get("body", b""))
        exchange.whole = not message.get("more_body", False)
        return message

    async def _answer_none(self, scope: Scope, exchange: _Exchange, receive: Receive, send: Send) -> None:
        """End a request whose body will not come: nobody is at fault here, and nobody listens unless it was slow."""
        if exchange.waited is not None:
            return
        if not exchange.slow:
            exchange.status = LEFT
            return
        answer = problem_response(
            Request(scope),
            HTTPStatus.REQUEST_TIMEOUT,
            f"The body came too slowly: {exchange.received:,} bytes in {self._client_seconds:g} seconds or more. "
            "Nothing was stored; send it again over a faster connection.",
            kind="too-slow",
            headers={"Connection": "close"},
        )
        await answer(scope, receive, send)

    def _record(self, scope: Scope, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        route = route_of(scope)
        waited = seconds if exchange.waited is None else exchange.waited
        method = scope["method"] if scope["method"] in METHODS else "other"  # clients cannot add labels
        self._latency.labels(method, route, exchange.status).observe(waited)
        client = scope.get("client")
        logger.info(
            "request",
            extra={
                "request_id": exchange.request_id,
                "method": scope["method"],
                "path": scope["path"],
                "route": route,
                "status": exchange.status,
                "seconds": round(seconds, 6),
                "client": client[0] if client else None,
            },
        )


def _start(exchange: _Exchange, message: Message) -> None:
    exchange.status = message["status"]
    exchange.waited = time.perf_counter() - exchange.started
    headers = MutableHeaders(scope=message)
    headers["X-Request-ID"] = exchange.request_id
    for name, value in HEADERS.items():
        headers.setdefault(name, value)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def route_of(scope: Scope) -> str:
    """The path with its parameters' names in place of their values, so that labels stay few."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "unmatched"
