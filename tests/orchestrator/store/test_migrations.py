"""The migrations bring both databases to the shape that the code expects, however many call them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from orchestrator.errors import BadInput, Unavailable
from orchestrator.store import Store
from orchestrator.store.database import Database
from orchestrator.store.schema import VERSION_TABLE, metadata
from orchestrator.store.store import migration_config

SCHEMA = ("2026_12_01_3", "8aed17c70ffe66dd")
"""The newest revision, and the digest of its tables."""

MIGRATE = "import sys; from orchestrator.store import Store; Store.open(sys.argv[1]).migrate()"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database whose tables the test may change."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    with request.getfixturevalue("_postgresql_databases")() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new folder' / 'empty.db'}"
        return
    make: Callable[..., AbstractContextManager[str]] = request.getfixturevalue("_postgresql_databases")
    with make(template="template0") as url:
        yield url


def test_a_new_database_gets_every_table_and_its_own_version_table(empty_url: str) -> None:
    with Store.open(empty_url) as store:
        store.migrate()
    database = Database(empty_url)
    assert set(inspect(database.engine).get_table_names()) == {*metadata.tables, VERSION_TABLE}
    database.engine.dispose()


def test_migrating_again_changes_nothing(store: Store) -> None:
    before = store.tables.add(b"kept", rows=1, cells=1)
    store.migrate()
    assert store.tables.get(before.id) == before


def test_the_migrated_schema_is_the_one_in_code(database_url: str) -> None:
    database = Database(database_url)
    config = migration_config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.check(config)
    database.engine.dispose()


def test_another_schema_has_another_revision() -> None:
    """Otherwise a database of an earlier schema would be taken for one of this version."""
    statements = [
        str(part.compile(dialect=postgresql.dialect()))
        for table in metadata.sorted_tables
        for part in (CreateTable(table), *(CreateIndex(index) for index in sorted(table.indexes, key=str)))
    ]
    digest = hashlib.sha256("".join(statements).encode()).hexdigest()[:16]
    assert (ScriptDirectory.from_config(migration_config()).get_current_head(), digest) == SCHEMA


def test_a_downgrade_leaves_an_empty_database_that_can_be_migrated_again(database_url: str) -> None:
    database = Database(database_url)
    config = migration_config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert set(inspect(database.engine).get_table_names()) == {VERSION_TABLE}
    database.engine.dispose()
    with Store.open(database_url) as store:
        store.migrate()
        assert store.sweeps.live() == []


def test_several_processes_may_migrate_a_new_database_at_once(empty_url: str) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", MIGRATE, empty_url], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    with Store.open(empty_url) as store:
        assert store.sweeps.live() == []


def test_several_threads_may_migrate_a_new_database_at_once(empty_url: str) -> None:
    with Store.open(empty_url) as store, ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(store.migrate) for _ in range(4)]:
            done.result()
        assert store.sweeps.live() == []


def test_the_tables_of_others_are_left_alone(database_url: str) -> None:
    """Optuna's storage may share the database; it claims the name ``alembic_version``."""
    database = Database(database_url)
    config = migration_config()
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('v3.2.0.a')")
        config.attributes["connection"] = connection
        command.check(config)
    database.engine.dispose()


def test_a_database_that_was_never_migrated_says_what_to_call(empty_url: str) -> None:
    with Store.open(empty_url) as store, pytest.raises(Unavailable, match="etalon db upgrade"):
        store.sweeps.live()


@pytest.mark.parametrize("revision", ["0001", "0002", "2026_12_01", "2999_01_01"])
def test_a_database_of_another_version_is_refused_and_nothing_in_it_changes(
    empty_url: str, revision: str
) -> None:
    database = Database(empty_url)
    with database.write() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL)")
        connection.exec_driver_sql(f"INSERT INTO {VERSION_TABLE} VALUES ('{revision}')")
    with Store.open(empty_url) as store:
        for call in (store.migrate, store.check_revision):
            with pytest.raises(BadInput, match=f"revision '{revision}'.*ETALON_DATABASE_URL"):
                call()
    assert inspect(database.engine).get_table_names() == [VERSION_TABLE]
    with database.read() as connection:
        assert connection.exec_driver_sql(f"SELECT * FROM {VERSION_TABLE}").all() == [(revision,)]
    database.engine.dispose()


def test_a_database_without_tables_is_not_refused(empty_url: str) -> None:
    with Store.open(empty_url) as store:
        store.check_revision()
