"""Middleware of every request: its id, log line, latency, security headers, and the response to a crash."""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from prometheus_client import Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problem_details import crashed

logger = logging.getLogger("api.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""The methods that metrics distinguish; all others count as "other", so that clients cannot add labels."""

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


@dataclass(slots=True)
class _Exchange:
    """State of one request."""

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    waited: float | None = None


class Traffic:
    """The middleware.

    Args:
        app: the application.
        latency: histogram of seconds until the response starts, by method, route and status.
    """

    def __init__(self, app: ASGIApp, *, latency: Histogram) -> None:
        self._app = app
        self._latency = latency

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

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if exchange.waited is not None:  # the response has started; the server closes the connection
                raise
            await crashed(Request(scope), error)(scope, receive, sending)
        finally:
            self._record(scope, exchange)

    def _record(self, scope: Scope, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        route = route_of(scope)
        waited = seconds if exchange.waited is None else exchange.waited
        method = scope["method"] if scope["method"] in METHODS else "other"
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
