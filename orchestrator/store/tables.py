"""Uploaded run tables, identified by a hash of their content."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, select

from orchestrator.documents.tables import TABLE_ID_PREFIX
from orchestrator.errors import NotFound
from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.records import Table, read_row

_U = schema.tables.c


class Tables:
    """Run tables by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, data: bytes, *, rows: int, cells: int) -> Table:
        """Add a table; equal bytes are one table.

        Args:
            data: the file as uploaded.
            rows: number of runs.
            cells: number of different (N, D, B).
        """
        table_id = TABLE_ID_PREFIX + hashlib.sha256(data).hexdigest()[:16]
        with self._database.write() as connection:
            row = {
                "id": table_id,
                "rows": rows,
                "cells": cells,
                "data": data,
                "created_at": clock(connection),
            }
            connection.execute(self._database.insert(schema.tables).values(row).on_conflict_do_nothing())
            return _get(connection, table_id)

    def get(self, table_id: str) -> Table:
        """The table with its bytes.

        Raises:
            NotFound: no such table.
        """
        with self._database.read() as connection:
            return _get(connection, table_id)


def _get(connection: Connection, table_id: str) -> Table:
    row = connection.execute(select(schema.tables).where(_U.id == table_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no table {table_id!r}.")
    return read_row(Table, row)
