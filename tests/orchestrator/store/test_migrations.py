"""The migrations bring both databases to the shape that the code expects, however many call them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from orchestrator.allocation import Demand
from orchestrator.documents.trainers import CheckDocument
from orchestrator.errors import BadInput, Unavailable
from orchestrator.states import RunState
from orchestrator.store import Store, driver_lease
from orchestrator.store.database import Database
from orchestrator.store.outputs import OutputTail
from orchestrator.store.records import LensPoint, LossPoint, RunResult
from orchestrator.store.schema import VERSION_TABLE, metadata
from orchestrator.store.store import migration_config
from tests.orchestrator.store.conftest import SmallSweeps
from tests.orchestrator.store.test_records import LAW, PLAN

SCHEMA = ("2026_12_01_4", "6c6c27107f810bec")
"""The newest revision, and the digest of its tables."""

CHECK = CheckDocument(
    passed=True,
    forks=None,
    tokens_per_second=1e3,
    params=1e6,
    steps=[],
    checked_at=datetime(2026, 12, 1, tzinfo=UTC),
)

MIGRATE = "import sys; from orchestrator.store import Store; Store.open(sys.argv[1]).migrate()"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database whose tables the test may change."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    with request.getfixturevalue("_postgresql_databases")() as url:
        yield url


def fill_every_table(store: Store) -> set[str]:
    """Write a sweep as a service does, with a run in each state, and one row at least of every other kind; its states."""
    bench = SmallSweeps(store)
    sweep = bench.sweep()
    fence, lease = bench.drive(sweep.id), driver_lease(sweep.id)
    bench.ask(
        sweep.id,
        *((0, 1e-3 * 2**n) for n in range(4)),
        pruned=[(1, 1e-3)],
        comparison=PLAN,
    )
    completed, diverged, failed, _running = store.runs.claim(sweep.id, fence=fence)
    store.losses.append([LossPoint(curve=completed.id, step=1, tokens=2048, loss=float("nan"))])
    store.lenses.append([LensPoint(curve=completed.id, step=1, tokens=2048, values={"noise": float("nan")})])
    store.logs.write({completed.id: OutputTail(text="loss 2.0", end_byte=8)}, fence=fence, lease=lease)
    ends = [
        RunResult(run_id=completed.id, state=RunState.COMPLETED, loss=2.0, flops=1e12, seconds=3.0),
        RunResult(run_id=diverged.id, state=RunState.DIVERGED, diverged_tokens=4096),
        RunResult(run_id=failed.id, state=RunState.FAILED, reason="No disk."),
    ]
    store.runs.finish(ends, fence=fence)
    store.laws.add(sweep.id, **LAW, fence=bench.fence)
    bench.ask(sweep.id, (1, 2e-3))
    demand = Demand(sweep_id=sweep.id, cpus=1.0, gpus=0.5, wants=2, holds=0, served_seconds=1.5)
    store.demands.record(demand, fence=fence)
    store.tables.add(b"params,tokens", rows=1, cells=1)
    store.tokens.create("somebody", {"read"})
    store.trainer_checks.write("a digest", CHECK)
    return {run.state for run in store.runs.of_sweep(sweep.id)}


def rows_of_every_table(url: str) -> dict[str, list[str]]:
    """The rows as the database holds them, by table."""
    database = Database(url)
    with database.read() as connection:
        rows = {
            name: sorted(str(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name}"))
            for name in metadata.tables
        }
    database.engine.dispose()
    return rows


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


def test_a_downgrade_with_data_leaves_an_empty_database_that_takes_the_same_data_again(
    database_url: str,
) -> None:
    """Every revision, down to none and up again, each over the tables as the one before left them."""
    config = migration_config()
    revisions = [found.revision for found in ScriptDirectory.from_config(config).walk_revisions()]
    with Store.open(database_url) as store:
        written = fill_every_table(store)
    database = Database(database_url)
    for revision in [*revisions[1:], "base"]:
        with database.write() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, revision)
    assert set(inspect(database.engine).get_table_names()) == {VERSION_TABLE}
    for revision in reversed(revisions):
        with database.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    database.engine.dispose()
    with Store.open(database_url) as store:
        assert store.sweeps.live() == []
        assert fill_every_table(store) == written


def test_migrating_a_database_with_data_leaves_every_row(database_url: str) -> None:
    with Store.open(database_url) as store:
        fill_every_table(store)
        before = rows_of_every_table(database_url)
        assert set(before) == {*metadata.tables}
        assert all(before.values()), [name for name, rows in before.items() if not rows]
        store.migrate()
    assert rows_of_every_table(database_url) == before


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


@pytest.mark.parametrize("revision", ["0001", "0002", "2026_12_01_2", "2999_01_01"])
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
