"""Events of a sweep as a stream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.access import reads
from api.context import Stored
from api.problem_details import responses
from api.shutdown import Shutdown, shutdown_of
from api.v1.queries import ThatSweep
from orchestrator.documents.events import SweepEvent, UnreadableEvent
from orchestrator.states import SWEEP_LIVE, SweepState
from orchestrator.store import Store
from orchestrator.store.records import Event, Sweep

router = APIRouter(prefix="/v1/sweeps/{sweep_id}", tags=["events"], dependencies=[reads])

POLL_SECONDS: Final = 0.4
EVENTS_PER_POLL: Final = 500
LINGER_SECONDS: Final = 1.0
"""Time a stream stays open after its sweep has become final, for the last reports of runs."""

RETRY_MILLISECONDS: Final = 2_000
LAST_EVENT: Final = 2**63 - 1


@router.get(
    "/events",
    response_class=EventSourceResponse,
    summary="Follow a sweep",
    responses=responses(404, 409, 422),
)
async def follow(
    request: Request,
    store: Stored,
    sweep: ThatSweep,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=LAST_EVENT, description="Replay the events after this one.")
    ] = None,
    after: Annotated[
        int, Query(ge=0, le=LAST_EVENT, description="The same for a first request; 0 replays everything.")
    ] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Stream server-sent events, and `end` when the sweep is final.

    `sweep`: its state changed. `batch`: runs were asked for. `wait`: the planner waits for the open runs. `run`: one
    ended, or is pending again. `law`: a fit. `progress`: runs began, or their curves grew. `workers`: the size of the
    Ray cluster. `comparison`: the stage of the comparison at the held-out scale.
    """
    start = after if last_event_id is None else last_event_id
    yield ServerSentEvent(comment=f"sweep {sweep.id}", retry=RETRY_MILLISECONDS)
    async for event in stream(store, sweep, start, shutdown_of(request)):
        yield event


async def stream(store: Store, sweep: Sweep, last: int, shutdown: Shutdown) -> AsyncIterator[ServerSentEvent]:
    """Yield the events of ``sweep`` after event ``last``, until it is final or the server shuts down.

    Args:
        store: where the events are; polled every ``POLL_SECONDS``.
        sweep: the sweep as it was at the request.
        last: id of the last event that the client has.
        shutdown: ends the stream at once.
    """
    state, quiet_since = sweep.state, time.monotonic()
    patience = LINGER_SECONDS if state in SWEEP_LIVE else 0.0
    while not shutdown.begun:
        events = await run_in_threadpool(store.events.after, last, sweep_id=sweep.id, limit=EVENTS_PER_POLL)
        for event in events:
            yield _message(event)
            last = event.id
            state = _state_after(event, state)
        if events or state in SWEEP_LIVE:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since >= patience:
            yield ServerSentEvent(event="end", data={"sweep_id": sweep.id, "state": state})
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


def _message(event: Event) -> ServerSentEvent:
    data = {"sweep_id": event.sweep_id, "kind": event.kind, "at": event.at, **event.data}
    return ServerSentEvent(event=event.kind, id=str(event.id), data=data)
