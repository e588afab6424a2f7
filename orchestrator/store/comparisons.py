"""Comparisons at a held-out scale: one document per sweep, written once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from orchestrator.store import schema
from orchestrator.store.database import Database
from orchestrator.store.records import ComparisonRecord

_M = schema.comparisons.c


class Comparisons:
    """Comparisons by sweep. ``Runs.add_batch`` writes them, together with their runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, sweep_id: str) -> ComparisonRecord | None:
        """The sweep's comparison; None before its runs are requested."""
        query = select(schema.comparisons).where(_M.sweep_id == sweep_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else ComparisonRecord(**row)


def insert_comparison(
    database: Database, connection: Connection, sweep_id: str, document: Mapping[str, Any], now: datetime
) -> None:
    """Write a sweep's comparison, unless it has one."""
    values = {"sweep_id": sweep_id, "document": dict(document), "created_at": now}
    connection.execute(database.insert(schema.comparisons).values(values).on_conflict_do_nothing())
