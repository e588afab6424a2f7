"""The client of the REST API: each answer is a document."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from typing import Any, Self

import httpx2
from tenacity import Retrying

from etalon import operations
from etalon.arguments import naming_file, read_bytes
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
from etalon.sweep_handle import SweepHandle, SweepLaws, SweepPoints, SweepRuns
from orchestrator.documents.lenses import LensesDocument
from orchestrator.documents.previews import PreviewDocument
from orchestrator.documents.runs import CurveDocument, LogDocument, RunDocument
from orchestrator.documents.sweeps import SweepSummary
from orchestrator.documents.tables import TableDocument
from orchestrator.documents.trainers import TrainerDocument
from orchestrator.errors import EtalonError
from orchestrator.states import SweepState

__all__ = [
    "Client",
    "RunCollection",
    "SweepCollection",
    "SweepHandle",
    "SweepLaws",
    "SweepPoints",
    "SweepRuns",
    "TableCollection",
    "TrainerCollection",
]


class Client:
    """Talks to one Etalon service.

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
        self._http = httpx2.Client(**self._service.options())
        self.url = self._service.url
        self.sweeps = SweepCollection(self)
        self.tables = TableCollection(self)
        self.trainers = TrainerCollection(self)
        self.runs = RunCollection(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def ready(self) -> bool:
        """Whether the database, a leading orchestrator and Ray can be reached."""
        try:
            return self.ask(operations.READY.call(), attempts=1)
        except EtalonError:
            return False

    def ask(self, call: Call[Answer], *, attempts: int = ATTEMPTS, deadline: float = math.inf) -> Answer:
        """Carry out one operation.

        Args:
            call: one request.
            attempts: how often it is sent at most, if it may be sent again.
            deadline: when it is given up, by `time.monotonic`.

        Raises:
            TimeoutError: it has no answer at ``deadline``.
        """
        try:
            retrying = Retrying(**operations.retries(call, attempts, deadline))
            response = retrying(lambda: self._http.request(**call.request(deadline)))
        except httpx2.RequestError as error:
            raise self._service.failure(error) from error
        return self._service.answer(call, response)

    def items(self, call: Call[Listing[Item]]) -> Iterator[Item]:
        """The items of a list, page by page."""
        while True:
            page = self.ask(call)
            yield from page.items
            if page.next_cursor is None:
                return
            call = call.after(page.next_cursor)

    def events(self, sweep_id: str, *, after: int = 0) -> Iterator[StreamedEvent]:
        """The events of a sweep after event ``after``, until its state is final; resumes after a broken connection."""
        stream = EventStream(self._service, sweep_id, after)
        while True:
            broken: httpx2.RequestError | None = None
            try:
                with self._http.sse(**stream.request()) as source:
                    if source.response.is_error:
                        source.response.read()
                    stream.check(source.response)
                    for message in source:
                        event = stream.received(message)
                        if event is not None:
                            yield event
            except httpx2.RequestError as error:
                broken = error
            if stream.ended:
                return
            time.sleep(stream.broken(broken))


class TableCollection:
    """The run tables of a service."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def upload(self, path: str | os.PathLike[str]) -> TableDocument:
        """Upload a run table; the service recognises its format by its content."""
        content = read_bytes(path)
        with naming_file(path):
            return self._client.ask(operations.UPLOAD.call(content=content))


class TrainerCollection:
    """The training programs that the operator of a service has registered."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, name: str) -> TrainerDocument:
        """One registered program: what a sweep may set, and its newest check."""
        return self._client.ask(operations.TRAINER.call(name=name))

    def list(self) -> Iterator[TrainerDocument]:
        """Every registered program by name, faulty registrations too."""
        return self._client.items(operations.TRAINERS.call(query={"limit": PAGE_ITEMS}))


class RunCollection:
    """The runs of a service, by id."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, run_id: str) -> RunDocument:
        """One run."""
        return self._client.ask(operations.RUN.call(run_id=run_id))

    def losses(self, run_id: str, *, max_points: int = MOST_POINTS) -> CurveDocument:
        """The learning curve of a run; the service thins it out to ``max_points``, 10,000 at most."""
        return self._client.ask(operations.losses(run_id, max_points))

    def log(self, run_id: str, *, tail: int = LOG_LINES, after: int = 0) -> LogDocument:
        """The last ``tail`` lines, 10,000 at most, of what a run's program printed; the last 64 KiB are kept.

        ``after``, the ``end_byte`` of an earlier answer, leaves out what was printed before.
        """
        call = operations.LOG.call(run_id=run_id, query={"tail": tail, "after": after})
        return self._client.ask(call)

    def retry(self, run_id: str) -> RunDocument:
        """Run a run again that failed, diverged, was cancelled or is excluded; a sweep that has ended runs on."""
        return self._client.ask(operations.RETRY.call(run_id=run_id))

    def exclude(self, run_id: str, reason: str) -> RunDocument:
        """Leave a run out of every later law; it stays visible, and is not run again unless it is retried."""
        return self._client.ask(operations.EXCLUDE.call(run_id=run_id, json={"reason": reason}))

    def include(self, run_id: str) -> RunDocument:
        """Take an excluded run back into the law."""
        return self._client.ask(operations.INCLUDE.call(run_id=run_id))

    def lenses(self, run_id: str) -> LensesDocument:
        """The stability of a run's training, and its feature learning by part of the model."""
        return self._client.ask(operations.LENSES.call(run_id=run_id))


class SweepCollection:
    """The sweeps of a service."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit(self, source: SpecSource, *, idempotency_key: str | None = None) -> SweepHandle:
        """Submit a sweep once: a request whose answer is lost is repeated under the same key.

        Args:
            source: path of a YAML or JSON file, the fields, or the model; run tables named by path are uploaded.
            idempotency_key: a name for this request; the same name and sweep return the earlier one.
        """
        with naming_faults(source):
            call = operations.submission(self._fields(source), idempotency_key)
            return SweepHandle(self._client, self._client.ask(call))

    def plan(self, source: SpecSource) -> PreviewDocument:
        """The cells and costs of a sweep that is not submitted; run tables named by path are uploaded."""
        query = {"validate_only": "true"}
        with naming_faults(source):
            call = operations.PLAN.call(json=self._fields(source), query=query)
            return self._client.ask(call)

    def get(self, sweep: str | SweepSummary) -> SweepHandle:
        """One sweep.

        Args:
            sweep: its id, a name that only one sweep has, or an item of ``list``.
        """
        id_or_name = sweep.id if isinstance(sweep, SweepSummary) else sweep
        if not operations.path_can_hold(id_or_name):
            named = self._client.ask(operations.sweeps_named(id_or_name))
            id_or_name = operations.only_id(id_or_name, named.items)
        return SweepHandle(self._client, self._client.ask(operations.SWEEP.call(sweep_id=id_or_name)))

    def list(
        self, *, state: SweepState | str | None = None, name: str | None = None, page_items: int = PAGE_ITEMS
    ) -> Iterator[SweepSummary]:
        """Every sweep, newest first, asked for page by page as they are read.

        Args:
            state: only sweeps in this state.
            name: only sweeps of this name.
            page_items: sweeps in one request.
        """
        query = {"state": state, "name": name, "limit": page_items}
        return self._client.items(operations.SWEEPS.call(query=query))

    def _fields(self, source: SpecSource) -> dict[str, Any]:
        fields = read_fields(source)
        tables = local_tables(fields, source)
        return with_tables(
            fields, {part: self._client.tables.upload(path).id for part, path in tables.items()}
        )
