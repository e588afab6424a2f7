"""Connections and transactions: the one place where SQLite and PostgreSQL differ."""

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
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, ProgrammingError
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
"""How long a writer of SQLite waits for its turn; writes are short, so only a dead disk takes this long."""

EVENT_LOCK, MIGRATION_LOCK = 0x45544C01, 0x45544C02
"""Keys of PostgreSQL's advisory locks ("ETL" and a number)."""

UNDEFINED_TABLE: Final = "42P01"
"""PostgreSQL's code for a database that was never migrated."""

Insert = postgresql.Insert | sqlite.Insert


class _Clock(ColumnElement[datetime]):
    """The database's clock at the moment of asking, not at the start of the transaction."""

    type = UtcTime()
    inherit_cache = True


@compiles(_Clock, "postgresql")
def _postgresql_clock(_element: _Clock, _compiler: SQLCompiler, **_options: Any) -> str:
    return "clock_timestamp()"


@compiles(_Clock, "sqlite")
def _sqlite_clock(_element: _Clock, _compiler: SQLCompiler, **_options: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class Database:
    """An engine with short transactions: ``read`` sees one moment, ``write`` is alone or waits its turn."""

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
        """Whether this is the embedded database."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, all as of one moment; it never waits for a writer nor keeps one waiting.

        Raises:
            Unavailable: the database cannot be reached.
        """
        with self._told_plainly(), self._readers.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, undone whole by any exception.

        Raises:
            Unavailable: the database cannot be reached, or SQLite's other writers did not end in time.
        """
        with (
            self._told_plainly(),
            self.engine.connect().execution_options(etalon_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _told_plainly(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, ProgrammingError, PoolTimeout) as error:
            cause = getattr(error, "orig", None) or error
            if isinstance(error, ProgrammingError) and getattr(cause, "sqlstate", None) != UNDEFINED_TABLE:
                raise
            first = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
            raise Unavailable(
                f"The database {self.address} did not answer: {first}. "
                "Check that it runs and that `etalon db upgrade` has been called."
            ) from error

    def insert(self, table: Table) -> Insert:
        """An INSERT that may say what to do on conflict, in this database's dialect."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def lock(self, connection: Connection, key: int) -> None:
        """Hold ``key`` alone until the transaction ends; SQLite's writers are alone anyway."""
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    def tell(
        self,
        connection: Connection,
        sweep_id: str,
        payloads: Sequence[EventPayload],
        at: datetime,
    ) -> None:
        """Write event rows, the last thing a transaction does.

        One transaction at a time numbers its events: otherwise a reader could see a later number before an
        earlier one commits, and pass over the earlier for good.
        """
        if not payloads:
            return
        self.lock(connection, EVENT_LOCK)
        rows = [
            {"sweep_id": sweep_id, "kind": item.KIND, "data": item.to_json(), "at": at} for item in payloads
        ]
        connection.execute(schema.events.insert(), rows)


def clock(connection: Connection) -> datetime:
    """The database's time now: leases and records know no other clock."""
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
    """Leave BEGIN to us; WAL lets readers and one writer work side by side, NORMAL survives a killed process."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the writer's place at once: a reader that turns writer is refused, whatever the timeout."""
    write = connection.get_execution_options().get("etalon_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
