"""Events, in one order for every reader."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from sqlalchemy import func, select

from orchestrator.documents.events import EventPayload
from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.leases import LEADER, check_fence
from orchestrator.store.records import Event, read_row

_E = schema.events.c

Payload = TypeVar("Payload", bound=EventPayload)


class Events:
    """Events by number. Numbers grow over all sweeps and are never reused."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        sweep_id: str,
        payload: EventPayload,
        *,
        fence: int | None = None,
        lease: str = LEADER,
    ) -> None:
        """Write an event without a change of state.

        Raises:
            Conflict: ``lease`` has another fence.
        """
        with self._database.write() as connection:
            if fence is not None:
                check_fence(connection, lease, fence)
            self._database.add_events(connection, sweep_id, [payload], clock(connection))

    def after(self, event_id: int, *, sweep_id: str | None = None, limit: int = 1000) -> list[Event]:
        """At most ``limit`` events after ``event_id``, in order, of one sweep or of all."""
        query = select(schema.events).where(_E.id > event_id).order_by(_E.id).limit(limit)
        if sweep_id is not None:
            query = query.where(_E.sweep_id == sweep_id)
        with self._database.read() as connection:
            return [read_row(Event, row) for row in connection.execute(query).mappings()]

    def latest(self, sweep_id: str, *models: type[Payload]) -> Payload | None:
        """The newest event of some kinds in a sweep; None if there is none.

        Raises:
            UnreadableEvent: its data have another shape. Taken for no event, it would let a step be taken twice.
        """
        return self.newest([sweep_id], *models)

    def newest(self, sweep_ids: Collection[str], *models: type[Payload]) -> Payload | None:
        """The newest event of some kinds in any of these sweeps; None if there is none.

        Raises:
            UnreadableEvent: its data have another shape.
        """
        kinds = [model.KIND for model in models]
        query = select(schema.events).where(_E.sweep_id.in_(sweep_ids), _E.kind.in_(kinds))
        with self._database.read() as connection:
            row = connection.execute(query.order_by(_E.id.desc()).limit(1)).mappings().one_or_none()
        payload = None if row is None else read_row(Event, row).payload
        return payload if isinstance(payload, models) else None

    def every(self, sweep_id: str, model: type[Payload], *, limit: int) -> list[Payload]:
        """The newest ``limit`` events of a kind in a sweep, oldest first.

        Raises:
            UnreadableEvent: the data of one have another shape.
        """
        query = select(schema.events).where(_E.sweep_id == sweep_id, _E.kind == model.KIND)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(_E.id.desc()).limit(limit)).mappings().all()
        found = [read_row(Event, row).payload for row in reversed(rows)]
        return [payload for payload in found if isinstance(payload, model)]

    def last_ids(self, sweep_ids: Collection[str]) -> dict[str, int]:
        """The number of each sweep's newest event; a sweep whose number is the same has not changed."""
        query = select(_E.sweep_id, func.max(_E.id)).where(_E.sweep_id.in_(sweep_ids)).group_by(_E.sweep_id)
        with self._database.read() as connection:
            return {sweep_id: int(last) for sweep_id, last in connection.execute(query)}

    def last_id(self) -> int:
        """The number of the newest event; 0 before the first."""
        with self._database.read() as connection:
            return int(connection.execute(select(func.max(_E.id))).scalar_one() or 0)
