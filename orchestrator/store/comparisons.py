"""Comparisons: what a sweep runs at its held-out scale, planned once and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from orchestrator.store import schema
from orchestrator.store.database import Database
from orchestrator.store.records import Comparison

_M = schema.comparisons.c


class Comparisons:
    """The comparison of each sweep that has one; ``Runs.add_batch`` keeps it, beside the runs that it asks for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, sweep_id: str) -> Comparison | None:
        """The sweep's comparison; None until its runs have been asked for."""
        query = select(schema.comparisons).where(_M.sweep_id == sweep_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else Comparison(**row)


def keep_comparison(
    database: Database, connection: Connection, sweep_id: str, document: Mapping[str, Any], now: datetime
) -> None:
    """Keep what a sweep compares; one that is kept stays as it is."""
    values = {"sweep_id": sweep_id, "document": dict(document), "created_at": now}
    connection.execute(database.insert(schema.comparisons).values(values).on_conflict_do_nothing())
