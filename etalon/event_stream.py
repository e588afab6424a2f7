"""The events of a sweep as a client receives them, across broken connections."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx2

from etalon.operations import EVENTS, GATEWAY_STATUSES
from etalon.service_address import ServiceAddress, refusal
from orchestrator.documents.events import EventPayload, UnreadableEvent, payload_of
from orchestrator.errors import Unavailable

PATIENCE_SECONDS: Final = 60.0
"""How long a service that sends nothing is waited for."""
PAUSE_SECONDS: Final = 0.5
READ_SECONDS: Final = 60.0
"""Longer than the service is silent: it sends a comment every 15 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedEvent:
    """An event of a sweep.

    Attributes:
        id: its number; later events have greater ones.
        kind: ``sweep``, ``batch``, ``run``, ``law`` …
        at: when it was written.
        payload: its fields; None if this version of Etalon does not know its kind or shape.
        data: what the service sent.
    """

    id: int
    kind: str
    at: datetime
    payload: EventPayload | None
    data: Mapping[str, Any] = field(repr=False)


class EventStream:
    """The state of a stream: the last event, and since when no connection has brought a byte.

    Attributes:
        ended: whether the sweep's state is final and every event was received.
    """

    def __init__(self, service: ServiceAddress, sweep_id: str, after: int) -> None:
        self.ended = False
        self._service = service
        self._sweep_id = sweep_id
        self._last = after
        self._response: httpx2.Response | None = None
        self._silent_since: float | None = None

    def request(self) -> dict[str, Any]:
        """The arguments of `httpx2.Client.sse` for the next connection."""
        call = EVENTS.call(sweep_id=self._sweep_id, headers={"Last-Event-ID": str(self._last)})
        timeout = httpx2.Timeout(READ_SECONDS, connect=PATIENCE_SECONDS / 4)
        return {"url": call.path, "headers": dict(call.headers), "timeout": timeout}

    def check(self, response: httpx2.Response) -> None:
        """Check the head of a response; the body of an error must have been read.

        Raises:
            EtalonError: the service refused.
            httpx2.TransportError: what stands before the service cannot reach it now.
        """
        if response.status_code in GATEWAY_STATUSES:
            raise httpx2.RemoteProtocolError(f"it answered {response.status_code}", request=response.request)
        if not response.is_success:
            raise refusal(response)
        self._response = response

    def received(self, message: httpx2.ServerSentEvent) -> StreamedEvent | None:
        """The event of a message; None for one that is not an event.

        Raises:
            UnreadableAnswer: it is no event of Etalon's.
        """
        if message.event == "end":
            self.ended = True
        if message.event == "end" or not message.data or not message.id:
            return None
        try:
            data: dict[str, Any] = json.loads(message.data)
            number, at = int(message.id), datetime.fromisoformat(data["at"])
        except (ValueError, LookupError, TypeError) as fault:
            raise self._service.unreadable() from fault
        self._last = number
        return StreamedEvent(
            id=number, kind=message.event, at=at, payload=_payload(message.event, data), data=data
        )

    def broken(self, error: httpx2.RequestError | None) -> float:
        """Seconds until the next attempt after a connection that ended.

        Args:
            error: what broke it; None if the service ended it.

        Raises:
            Unavailable: the service has sent nothing for too long.
            UnreadableAnswer: what it sent cannot be decoded.
        """
        now = time.monotonic()
        response, self._response = self._response, None
        if self._silent_since is None or (response is not None and response.num_bytes_downloaded > 0):
            self._silent_since = now
        if error is not None and not isinstance(error, httpx2.TransportError):
            raise self._service.failure(error) from error
        if now - self._silent_since < PATIENCE_SECONDS:
            return PAUSE_SECONDS
        if error is None:
            raise Unavailable(
                f"The service at {self._service.url} ends every stream of events without a byte."
            )
        raise self._service.failure(error) from error


def _payload(kind: str, data: Mapping[str, Any]) -> EventPayload | None:
    try:
        return payload_of(kind, data)
    except UnreadableEvent:
        return None
