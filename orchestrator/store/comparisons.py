"""Comparisons: the plan of what a sweep runs at its held-out scale, written once and never changed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from orchestrator.documents.comparisons import ComparisonPlan
from orchestrator.store import schema
from orchestrator.store.database import Database

_M = schema.comparisons.c


class Comparisons:
    """Comparisons by sweep. ``Runs.add_batch`` writes them, together with their runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, sweep_id: str) -> ComparisonPlan | None:
        """The plan of the sweep's comparison; None until its runs have been asked for."""
        query = select(_M.document).where(_M.sweep_id == sweep_id)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()


def insert_comparison(
    database: Database, connection: Connection, sweep_id: str, plan: ComparisonPlan, now: datetime
) -> None:
    """Write the plan of a comparison, unless its sweep has one."""
    values = {"sweep_id": sweep_id, "document": plan, "created_at": now}
    connection.execute(database.insert(schema.comparisons).values(values).on_conflict_do_nothing())
