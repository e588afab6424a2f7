"""Comparisons: how the ways to choose a rate did at the held-out scale, one document per sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from orchestrator.errors import NotFound
from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.leases import LEADER, check_fence
from orchestrator.store.records import Comparison

_S, _M = schema.sweeps.c, schema.comparisons.c


class Comparisons:
    """The newest comparison of each sweep."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, sweep_id: str, document: Mapping[str, Any], *, fence: int) -> Comparison:
        """Keep a comparison in place of the sweep's earlier one.

        Args:
            sweep_id: the sweep.
            document: the comparison, as the API gives it.
            fence: of the leader's lease.

        Raises:
            NotFound: no such sweep.
            Conflict: the lease belongs to another.
        """
        with self._database.write() as connection:
            check_fence(connection, LEADER, fence)
            query = select(_S.id).where(_S.id == sweep_id).with_for_update(key_share=True)
            if connection.execute(query).one_or_none() is None:
                raise NotFound(f"There is no sweep {sweep_id!r}.")
            kept = Comparison(sweep_id=sweep_id, document=dict(document), created_at=clock(connection))
            values = {"document": kept.document, "created_at": kept.created_at}
            written = self._database.insert(schema.comparisons).values(sweep_id=sweep_id, **values)
            connection.execute(written.on_conflict_do_update(index_elements=["sweep_id"], set_=values))
            self._database.tell(connection, sweep_id, "comparison", [{}], kept.created_at)
        return kept

    def get(self, sweep_id: str) -> Comparison | None:
        """The sweep's comparison; None until there is one."""
        query = select(schema.comparisons).where(_M.sweep_id == sweep_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else Comparison(**row)
