"""Events of a sweep as a stream."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.encoders import jsonable_encoder
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from api.access import Reader, TokenWatch, reads
from api.context import Stored
from api.problem_details import responses
from api.shutdown import Shutdown, shutdown_of
from api.v1.queries import ThatSweep
from orchestrator.documents.events import SweepEvent, UnreadableEvent
from orchestrator.errors import Unavailable
from orchestrator.states import SWEEP_LIVE, SweepState
from orchestrator.store import Store
from orchestrator.store.records import Event, Sweep

router = APIRouter(prefix="/v1/sweeps/{sweep_id}", tags=["events"], dependencies=[reads])

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.4
EVENTS_PER_POLL: Final = 500
LINGER_SECONDS: Final = 1.0
"""Time a stream stays open after its sweep has become final, for the last reports of runs."""

PING_SECONDS: Final = 15.0
"""Longest silence of a stream; proxies close connections that say nothing for long."""

RETRY_MILLISECONDS: Final = 2_000
LAST_EVENT: Final = 2**63 - 1

MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
ITEM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "data": {"type": "string"},
        "event": {"type": "string"},
        "id": {"type": "string"},
        "retry": {"type": "integer", "minimum": 0},
    },
}
"""The schema of one message (OpenAPI 3.2)."""

Holds = Callable[[], Awaitable[bool]]
"""Whether the listener may still read."""


@router.get(
    "/events",
    response_class=StreamingResponse,
    summary="Follow a sweep",
    responses=responses(404, 409, 422, success={"content": {MEDIA_TYPE: {"itemSchema": ITEM}}}),
)
async def follow(
    request: Request,
    store: Stored,
    caller: Reader,
    sweep: ThatSweep,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=LAST_EVENT, description="Replay the events after this one.")
    ] = None,
    after: Annotated[
        int, Query(ge=0, le=LAST_EVENT, description="The same for a first request; 0 replays everything.")
    ] = 0,
) -> StreamingResponse:
    """Stream server-sent events, and `end` when the sweep is final.

    `sweep`: its state changed. `batch`: runs were asked for. `wait`: the planner waits for the open runs. `run`: one
    ended, or is pending again. `law`: a fit. `progress`: runs began, or their curves grew. `workers`: the size of the
    Ray cluster. `comparison`: the stage of the comparison at the held-out scale.

    The stream of a revoked token ends within seconds.
    """
    watch: TokenWatch = request.app.state.token_watch
    start = after if last_event_id is None else last_event_id
    # Not FastAPI's own event streams: their tasks fail, each with a traceback, when a listener leaves while events wait.
    messages = stream(store, sweep, start, shutdown_of(request), partial(watch.holds, caller))
    return StreamingResponse(messages, media_type=MEDIA_TYPE, headers=HEADERS)


async def stream(
    store: Store, sweep: Sweep, last: int, shutdown: Shutdown, holds: Holds
) -> AsyncIterator[bytes]:
    """Yield the events of ``sweep`` after event ``last``, until it is final or the server shuts down.

    Args:
        store: where the events are; polled every ``POLL_SECONDS``.
        sweep: the sweep as it was at the request.
        last: id of the last event that the client has.
        shutdown: ends the stream at once.
        holds: ends the stream when it is false.
    """
    state, quiet_since = sweep.state, time.monotonic()
    patience = LINGER_SECONDS if state in SWEEP_LIVE else 0.0
    yield format_sse_event(comment=f"sweep {sweep.id}", retry=RETRY_MILLISECONDS)
    said = time.monotonic()
    while not shutdown.begun:
        try:
            if not await holds():
                return
            events = await run_in_threadpool(
                store.events.after, last, sweep_id=sweep.id, limit=EVENTS_PER_POLL
            )
        except Unavailable as error:
            logger.warning("an event stream ends", extra={"sweep": sweep.id, "reason": error.detail})
            return  # the client comes again, and reads on where it was
        for event in events:
            yield _message(event)
            last = event.id
            state = _state_after(event, state)
        now = time.monotonic()
        if events:
            said = now
        elif now - said >= PING_SECONDS:
            yield format_sse_event(comment="ping")
            said = now
        if events or state in SWEEP_LIVE:
            quiet_since = now
        elif now - quiet_since >= patience:
            yield _encoded("end", {"sweep_id": sweep.id, "state": state})
            return
        if len(events) < EVENTS_PER_POLL:
            await shutdown.wait(POLL_SECONDS)


def _state_after(event: Event, before: SweepState) -> SweepState:
    """The sweep's state after an event; an event of another shape is passed on as stored and changes nothing."""
    try:
        payload = event.payload
    except UnreadableEvent:
        return before
    return payload.state if isinstance(payload, SweepEvent) else before


def _message(event: Event) -> bytes:
    data = {"sweep_id": event.sweep_id, "kind": event.kind, "at": event.at, **event.data}
    return _encoded(event.kind, data, id=str(event.id))


def _encoded(kind: str, data: Mapping[str, Any], id: str | None = None) -> bytes:  # noqa: A002 - the field's name
    return format_sse_event(event=kind, id=id, data_str=json.dumps(jsonable_encoder(data)))
