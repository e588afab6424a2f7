"""Connections and transactions. Only this module treats SQLite and PostgreSQL differently."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, InterfaceError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnElement

from orchestrator.documents.events import EventPayload
from orchestrator.errors import BadInput, Unavailable
from orchestrator.private import make_database_file, make_folder
from orchestrator.store import schema
from orchestrator.store.schema import UtcTime

BUSY_SECONDS: Final = 60
"""Seconds that a writer of SQLite waits for the others. Writes are short; only a broken disk takes this long."""

IDLE_SECONDS: Final = 5
"""Seconds between two statements of a writing transaction after which PostgreSQL ends it. A process that is stopped, or cut
off, in the middle of one would otherwise keep its locks, and nobody could take over its lease."""

EVENT_LOCK, MIGRATION_LOCK = 0x45544C01, 0x45544C02
"""Keys of PostgreSQL's advisory locks ("ETL" and a number)."""

UNDEFINED_TABLE: Final = "42P01"
"""PostgreSQL's error code for a missing table: the database was never migrated."""

IDLE_TRANSACTION: Final = "25P03"
"""PostgreSQL's error code for a transaction that it ended after ``IDLE_SECONDS``."""

_END_IDLE: Final = f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"

Insert = postgresql.Insert | sqlite.Insert


class _Clock(ColumnElement[datetime]):
    """The database's time now, rather than at the start of the transaction."""

    type = UtcTime()
    inherit_cache = True


@compiles(_Clock, "postgresql")
def _postgresql_clock(_element: _Clock, _compiler: SQLCompiler, **_options: Any) -> str:
    return "clock_timestamp()"


@compiles(_Clock, "sqlite")
def _sqlite_clock(_element: _Clock, _compiler: SQLCompiler, **_options: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class Database:
    """An engine with short transactions: ``read`` sees a snapshot, ``write`` waits for other writers."""

    def __init__(self, url: str) -> None:
        self._url = _parsed(url)
        self.engine = _engine(self._url)
        snapshot = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._readers = self.engine.execution_options(**snapshot)

    @property
    def address(self) -> str:
        """The database's URL without its password."""
        return self._url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that reads one snapshot; readers and writers never wait for each other.

        Raises:
            Unavailable: the database cannot be reached.
        """
        with self._readable_errors(), self._readers.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, rolled back by any exception.

        Raises:
            Unavailable: the database cannot be reached, other writers of SQLite took longer than ``BUSY_SECONDS``, or
                this process was stopped for longer than ``IDLE_SECONDS`` in between.
        """
        with (
            self._readable_errors(),
            self.engine.connect().execution_options(etalon_write=True) as connection,
            connection.begin(),
        ):
            if not self.is_sqlite:
                connection.exec_driver_sql(_END_IDLE)
            yield connection

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, InternalError, ProgrammingError, PoolTimeout) as error:
            cause = getattr(error, "orig", None) or error
            known = getattr(cause, "sqlstate", None) in {UNDEFINED_TABLE, IDLE_TRANSACTION}
            if isinstance(error, (ProgrammingError, InternalError)) and not known:
                raise
            first = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
            raise Unavailable(
                f"The database {self.address} did not answer: {first}. "
                "Check that it runs and that `etalon db upgrade` has been called."
            ) from error

    def insert(self, table: Table) -> Insert:
        """An INSERT in this database's dialect, which supports ON CONFLICT."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def lock(self, connection: Connection, key: int) -> None:
        """Lock ``key`` until the transaction ends; no lock is needed on SQLite, which has one writer at a time."""
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    def add_events(
        self,
        connection: Connection,
        sweep_id: str,
        payloads: Sequence[EventPayload],
        at: datetime,
    ) -> None:
        """Write events; call it last in a transaction.

        Transactions number their events one at a time. Otherwise a reader could see a later number before an earlier
        one is committed, and miss the earlier one for good.
        """
        if not payloads:
            return
        self.lock(connection, EVENT_LOCK)
        rows = [
            {"sweep_id": sweep_id, "kind": item.KIND, "data": item.to_json(), "at": at} for item in payloads
        ]
        connection.execute(schema.events.insert(), rows)


def clock(connection: Connection) -> datetime:
    """The database's time now, the only clock of leases and records."""
    now: datetime = connection.execute(select(_Clock())).scalar_one()
    return now


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url else url)
    except ArgumentError as error:
        raise BadInput(
            "ETALON_DATABASE_URL is not a database URL: give sqlite:///FILE or postgresql://…"
        ) from error
    name = parsed.get_backend_name()
    if name not in {"sqlite", "postgresql"}:
        raise BadInput(f"The database {name!r} is not supported: give sqlite:///FILE or postgresql://…")
    if name == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise BadInput("An SQLite database needs a file, because several processes share it: sqlite:///FILE.")
    return parsed


def _engine(url: URL) -> Engine:
    serializer = partial(json.dumps, allow_nan=False)
    if url.get_backend_name() == "postgresql":
        return create_engine(
            url, json_serializer=serializer, pool_size=5, max_overflow=15, pool_pre_ping=True
        )
    make_folder(Path(str(url.database)).parent)
    make_database_file(Path(str(url.database)))
    engine = create_engine(url, json_serializer=serializer, pool_size=5, max_overflow=15)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Leave BEGIN to ``_begin_sqlite``. WAL lets readers work beside one writer; NORMAL survives a killed process."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Lock for writing from the start: SQLite refuses a reader that becomes a writer, whatever the timeout."""
    write = connection.get_execution_options().get("etalon_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
