"""The migrations bring both databases to the shape that the code expects, however many call them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect

from orchestrator.errors import Unavailable
from orchestrator.store import Store
from orchestrator.store.database import Database
from orchestrator.store.schema import VERSION_TABLE, metadata
from orchestrator.store.store import migration_config

MIGRATE = "import sys; from orchestrator.store import Store; Store.open(sys.argv[1]).migrate()"


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


OLD_ROWS = (
    "INSERT INTO sweeps (id, name, state, spec, batches, full_grid_flops, created_at, updated_at) VALUES "
    "('s', 'old', 'running', '{}', 1, 6e9, '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000')",
    "INSERT INTO cells (sweep_id, number, params, tokens, batch_tokens, rates, decay_fraction) VALUES "
    "('s', 0, 1000, 1000000, 256, '[0.001]', 0.2)",
    "INSERT INTO trunks (id, sweep_id, name, learning_rate, seed) VALUES ('t', 's', 'w32', 0.001, 0)",
    "INSERT INTO runs (id, sweep_id, cell, learning_rate, seed, state, trunk_id, attempt, loss, flops, created_at) "
    "VALUES ('r', 's', 0, 0.001, 0, 'completed', 't', 1, 2.5, 6e9, '2026-01-01 00:00:00.000000')",
    "INSERT INTO laws (sweep_id, number, document, prediction, ruled_out, runs, spent_flops, batch, created_at) "
    "VALUES ('s', 1, '{}', '{}', '[]', 1, 6e9, 1, '2026-01-01 00:00:00.000000')",
)
"""A sweep as revision 0001 kept it."""


def test_rows_of_the_first_shape_are_kept_forth_and_back(empty_url: str) -> None:
    with Store.open(empty_url) as store:
        database, config = Database(empty_url), migration_config()
        with database.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            for row in OLD_ROWS:
                connection.exec_driver_sql(row)
        store.migrate()
        (cell,), (run,), (law,) = store.sweeps.cells("s"), store.runs.of_sweep("s"), store.laws.of_sweep("s")
        assert (cell.params, cell.flops) == (1e3, 6e9)
        assert (cell.params_total, cell.params_active, cell.arm) == (None, None, None)
        assert (run.id, run.trunk_id, run.loss, run.module_rates) == ("r", "t", 2.5, "")
        assert (law.runs, law.sizes) == (1, None)
        with database.write() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "0001")
            assert connection.exec_driver_sql("SELECT id, trunk_id, loss FROM runs").all() == [
                ("r", "t", 2.5)
            ]
        database.engine.dispose()


def test_going_back_leaves_out_what_the_first_shape_would_take_for_something_else(database_url: str) -> None:
    database, config = Database(database_url), migration_config()
    with database.write() as connection:
        for row in OLD_ROWS:
            connection.exec_driver_sql(row)
        connection.exec_driver_sql(
            "INSERT INTO cells (sweep_id, number, params, tokens, batch_tokens, rates, decay_fraction, arm) "
            "VALUES ('s', 1, 1000, 1000000, 256, '[0.001]', 0.2, 'transfer')"
        )
        for name, cell, rates in (("module", 0, "embedding=2"), ("arm", 1, "")):
            connection.exec_driver_sql(
                "INSERT INTO runs (id, sweep_id, cell, learning_rate, seed, state, attempt, flops, created_at, "
                f"module_rates) VALUES ('{name}', 's', {cell}, 0.001, 0, 'pending', 0, 0, "
                f"'2026-01-01 00:00:00.000000', '{rates}')"
            )
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        assert connection.exec_driver_sql("SELECT id FROM runs").all() == [("r",)]
        assert connection.exec_driver_sql("SELECT number FROM cells").all() == [(0,)]
    database.engine.dispose()
