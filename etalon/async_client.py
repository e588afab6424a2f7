"""The client of the REST API for asyncio: the names of ``etalon.client``, awaited or iterated with ``async for``."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator
from typing import Any, Self

import httpx2
from tenacity import AsyncRetrying

from etalon import operations
from etalon.arguments import naming_file, read_bytes
from etalon.async_sweep_handle import AsyncSweepHandle, AsyncSweepLaws, AsyncSweepPoints, AsyncSweepRuns
from etalon.event_stream import EventStream, StreamedEvent
from etalon.operations import (
    ATTEMPTS,
    LOG_LINES,
    MOST_POINTS,
    PAGE_ITEMS,
    Answer,
    Call,
    Item,
    Listing,
)
from etalon.service_address import ServiceAddress
from etalon.sources import SpecSource, local_tables, naming_faults, read_fields, with_tables
from orchestrator.documents.lenses import LensesDocument
from orchestrator.documents.previews import PreviewDocument
from orchestrator.documents.runs import CurveDocument, LogDocument, RunDocument
from orchestrator.documents.sweeps import SweepSummary
from orchestrator.documents.tables import TableDocument
from orchestrator.documents.trainers import TrainerDocument
from orchestrator.errors import EtalonError
from orchestrator.states import SweepState

__all__ = [
    "AsyncClient",
    "AsyncRunCollection",
    "AsyncSweepCollection",
    "AsyncSweepHandle",
    "AsyncSweepLaws",
    "AsyncSweepPoints",
    "AsyncSweepRuns",
    "AsyncTableCollection",
    "AsyncTrainerCollection",
]


class AsyncClient:
    """Talks to one Etalon service without blocking: ``Client`` with awaited answers.

    Every method that asks the service raises an ``EtalonError``: ``BadInput``, ``NotFound``, ``Conflict``, ``Stale``,
    ``Refused`` or another as the service answered, ``Unavailable`` if it cannot be reached.

    Args:
        url: address of the service, ``http://host:port``; None takes ETALON_URL.
        token: a bearer token, empty for none; None takes ETALON_TOKEN.

    Attributes:
        url: address of the service.
        sweeps: submit, plan, find and list sweeps.
        tables: upload run tables.
        trainers: the registered training programs.
        runs: single runs by id.
    """

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self._service = ServiceAddress.of(url, token)
        self._http = httpx2.AsyncClient(**self._service.options())
        self.url = self._service.url
        self.sweeps = AsyncSweepCollection(self)
        self.tables = AsyncTableCollection(self)
        self.trainers = AsyncTrainerCollection(self)
        self.runs = AsyncRunCollection(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def ready(self) -> bool:
        """Whether the database, a leading orchestrator and Ray can be reached."""
        try:
            return await self.ask(operations.READY.call(), attempts=1)
        except EtalonError:
            return False

    async def ask(
        self, call: Call[Answer], *, attempts: int = ATTEMPTS, deadline: float = math.inf
    ) -> Answer:
        """Carry out one operation.

        Args:
            call: one request.
            attempts: how often it is sent at most, if it may be sent again.
            deadline: when it is given up, by `time.monotonic`.

        Raises:
            TimeoutError: it has no answer at ``deadline``.
        """

        async def send() -> httpx2.Response:
            return await self._http.request(**call.request(deadline))

        retrying = AsyncRetrying(**operations.retries(call, attempts, deadline))
        try:
            response: httpx2.Response = await retrying(send)
        except httpx2.RequestError as error:
            raise self._service.failure(error) from error
        return self._service.answer(call, response)

    async def items(self, call: Call[Listing[Item]]) -> AsyncIterator[Item]:
        """The items of a list, page by page."""
        while True:
            page = await self.ask(call)
            for item in page.items:
                yield item
            if page.next_cursor is None:
                return
            call = call.after(page.next_cursor)

    async def events(self, sweep_id: str, *, after: int = 0) -> AsyncIterator[StreamedEvent]:
        """The events of a sweep after event ``after``, until its state is final; resumes after a broken connection."""
        stream = EventStream(self._service, sweep_id, after)
        while True:
            broken: httpx2.RequestError | None = None
            try:
                async with self._http.sse(**stream.request()) as source:
                    if source.response.is_error:
                        await source.response.aread()
                    stream.check(source.response)
                    async for message in source:
                        event = stream.received(message)
                        if event is not None:
                            yield event
            except httpx2.RequestError as error:
                broken = error
            if stream.ended:
                return
            await asyncio.sleep(stream.broken(broken))


class AsyncTableCollection:
    """The run tables of a service."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def upload(self, path: str | os.PathLike[str]) -> TableDocument:
        """Upload a run table; the service recognises its format by its content."""
        content = await asyncio.to_thread(read_bytes, path)
        with naming_file(path):
            return await self._client.ask(operations.UPLOAD.call(content=content))


class AsyncTrainerCollection:
    """The training programs that the operator of a service has registered."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, name: str) -> TrainerDocument:
        """One registered program: what a sweep may set, and its newest check."""
        return await self._client.ask(operations.TRAINER.call(name=name))

    def list(self) -> AsyncIterator[TrainerDocument]:
        """Every registered program by name, faulty registrations too."""
        return self._client.items(operations.TRAINERS.call(query={"limit": PAGE_ITEMS}))


class AsyncRunCollection:
    """The runs of a service, by id."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, run_id: str) -> RunDocument:
        """One run."""
        return await self._client.ask(operations.RUN.call(run_id=run_id))

    async def losses(self, run_id: str, *, max_points: int = MOST_POINTS) -> CurveDocument:
        """The learning curve of a run; the service thins it out to ``max_points``, 10,000 at most."""
        return await self._client.ask(operations.losses(run_id, max_points))

    async def log(self, run_id: str, *, tail: int = LOG_LINES, after: int = 0) -> LogDocument:
        """The last ``tail`` lines, 10,000 at most, of what a run's program printed; the last 64 KiB are kept.

        ``after``, the ``end_byte`` of an earlier answer, leaves out what was printed before.
        """
        call = operations.LOG.call(run_id=run_id, query={"tail": tail, "after": after})
        return await self._client.ask(call)

    async def retry(self, run_id: str) -> RunDocument:
        """Run a run again that failed, diverged, was cancelled or is excluded; a sweep that has ended runs on."""
        return await self._client.ask(operations.RETRY.call(run_id=run_id))

    async def exclude(self, run_id: str, reason: str) -> RunDocument:
        """Leave a run out of every later law; it stays visible, and is not run again unless it is retried."""
        return await self._client.ask(operations.EXCLUDE.call(run_id=run_id, json={"reason": reason}))

    async def include(self, run_id: str) -> RunDocument:
        """Take an excluded run back into the law."""
        return await self._client.ask(operations.INCLUDE.call(run_id=run_id))

    async def lenses(self, run_id: str) -> LensesDocument:
        """The stability of a run's training, and its feature learning by part of the model."""
        return await self._client.ask(operations.LENSES.call(run_id=run_id))


class AsyncSweepCollection:
    """The sweeps of a service."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def submit(self, source: SpecSource, *, idempotency_key: str | None = None) -> AsyncSweepHandle:
        """Submit a sweep once: a request whose answer is lost is repeated under the same key.

        Args:
            source: path of a YAML or JSON file, the fields, or the model; run tables named by path are uploaded.
            idempotency_key: a name for this request; the same name and sweep return the earlier one.
        """
        with naming_faults(source):
            call = operations.submission(await self._fields(source), idempotency_key)
            return AsyncSweepHandle(self._client, await self._client.ask(call))

    async def plan(self, source: SpecSource) -> PreviewDocument:
        """The cells and costs of a sweep that is not submitted; run tables named by path are uploaded."""
        query = {"validate_only": "true"}
        with naming_faults(source):
            call = operations.PLAN.call(json=await self._fields(source), query=query)
            return await self._client.ask(call)

    async def get(self, sweep: str | SweepSummary) -> AsyncSweepHandle:
        """One sweep.

        Args:
            sweep: its id, a name that only one sweep has, or an item of ``list``.
        """
        id_or_name = sweep.id if isinstance(sweep, SweepSummary) else sweep
        if not operations.path_can_hold(id_or_name):
            named = await self._client.ask(operations.sweeps_named(id_or_name))
            id_or_name = operations.only_id(id_or_name, named.items)
        return AsyncSweepHandle(
            self._client, await self._client.ask(operations.SWEEP.call(sweep_id=id_or_name))
        )

    def list(
        self, *, state: SweepState | str | None = None, name: str | None = None, page_items: int = PAGE_ITEMS
    ) -> AsyncIterator[SweepSummary]:
        """Every sweep, newest first, asked for page by page as they are read.

        Args:
            state: only sweeps in this state.
            name: only sweeps of this name.
            page_items: sweeps in one request.
        """
        query = {"state": state, "name": name, "limit": page_items}
        return self._client.items(operations.SWEEPS.call(query=query))

    async def _fields(self, source: SpecSource) -> dict[str, Any]:
        fields = await asyncio.to_thread(read_fields, source)
        tables = local_tables(fields, source)
        ids = {part: (await self._client.tables.upload(path)).id for part, path in tables.items()}
        return with_tables(fields, ids)
