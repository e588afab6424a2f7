"""The store: all records behind one object."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Self

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from orchestrator.errors import BadInput
from orchestrator.processes import service_folder
from orchestrator.store.comparisons import Comparisons
from orchestrator.store.database import MIGRATION_LOCK, Database, clock
from orchestrator.store.demands import Demands
from orchestrator.store.events import Events
from orchestrator.store.laws import Laws
from orchestrator.store.leases import Leases
from orchestrator.store.lenses import Lenses
from orchestrator.store.losses import Losses
from orchestrator.store.outputs import Outputs
from orchestrator.store.revisions import Revisions
from orchestrator.store.runs import Runs
from orchestrator.store.schema import VERSION_TABLE
from orchestrator.store.sweeps import Sweeps
from orchestrator.store.tables import Tables
from orchestrator.store.tokens import Tokens
from orchestrator.store.trainer_checks import TrainerChecks

_one_migration = threading.Lock()
"""Alembic keeps the current migration in a global of the process."""


class Store:
    """All records. Every method of its parts is one short transaction; threads may share it.

    Attributes:
        sweeps, revisions, runs, losses, lenses, logs, laws, comparisons, events, leases, demands, tables, tokens,
            trainer_checks: the parts, by noun.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.sweeps = Sweeps(database)
        self.revisions = Revisions(database, self.sweeps)
        self.runs = Runs(database)
        self.losses = Losses(database)
        self.lenses = Lenses(database)
        self.logs = Outputs(database)
        self.laws = Laws(database)
        self.comparisons = Comparisons(database)
        self.events = Events(database)
        self.leases = Leases(database)
        self.demands = Demands(database)
        self.tables = Tables(database)
        self.tokens = Tokens(database)
        self.trainer_checks = TrainerChecks(database)

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a database without changing it; a missing SQLite file is created.

        Args:
            url: ``sqlite:///FILE`` or ``postgresql://user@host/name``.

        Raises:
            BadInput: the URL is not of SQLite or PostgreSQL, or the folder of an SQLite file cannot be written.
        """
        return cls(Database(url))

    def close(self) -> None:
        """Close its connections."""
        self._database.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def migrate(self) -> None:
        """Bring the database to this version's schema; several processes may call it at once.

        Raises:
            BadInput: the database has a revision that this version does not know; nothing in it was changed.
            Unavailable: the database cannot be reached.
        """
        with _one_migration, self._database.write() as connection:
            self._database.lock(connection, MIGRATION_LOCK)
            self._check_revision(connection)
            config = migration_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def check_revision(self) -> None:
        """Refuse a database that another version of Etalon made; one without tables passes.

        Raises:
            BadInput: the database has a revision that this version does not know.
            Unavailable: the database cannot be reached.
        """
        with self._database.read() as connection:
            self._check_revision(connection)

    def _check_revision(self, connection: Connection) -> None:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        scripts = ScriptDirectory.from_config(migration_config())
        known = {script.revision for script in scripts.walk_revisions()}
        for revision in set(context.get_current_heads()) - known:
            raise BadInput(
                f"The database {self._database.address} has the revision {revision!r}, which this version of Etalon does "
                "not know. Nothing in it was changed. Open it with the version of Etalon that made it, or start with an "
                "empty one: set ETALON_HOME (or ETALON_DATABASE_URL) to another place."
            )

    def now(self) -> datetime:
        """The database's time, aware UTC."""
        with self._database.read() as connection:
            return clock(connection)


def migration_config() -> Config:
    """Alembic's configuration; ``migrations/env.py`` takes the connection from ``attributes["connection"]``."""
    folder = service_folder() / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
