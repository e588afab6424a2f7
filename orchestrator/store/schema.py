"""The tables of the database; the migrations produce exactly this schema.

Every transaction locks in the same order, so that no deadlock is possible:
leases → sweeps → trunks → runs → laws → comparisons → events.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

VERSION_TABLE: Final = "etalon_version"
"""Alembic's table of the revision; Optuna's storage uses the usual name, ``alembic_version``."""

ID: Final = String(32)
STATE: Final = String(16)
BIG: Final = BigInteger().with_variant(Integer, "sqlite")
"""64 bits. In SQLite, INTEGER has 64 bits, and only that type can be an automatic key."""


class UtcTime(TypeDecorator[datetime]):
    """Aware UTC times. SQLite stores them as text of one width, which sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; refuse naive times."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; every time in the store is aware")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

sweeps: Final = Table(
    "sweeps",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("state", STATE, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("trainer", String(16), nullable=True),  # its kind, to look up measured speeds
    Column("reason", Text, nullable=True),
    Column("batches", Integer, nullable=False),
    Column("law_number", Integer, nullable=True),
    Column("full_grid_flops", Double, nullable=False),
    Column("submitted_by", String(200), nullable=True),
    Column("idempotency_key", Text, nullable=True, unique=True),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Index(None, "state", "id"),
    Index(None, "trainer", "id"),
    Index(None, "name", "id"),
)

cells: Final = Table(
    "cells",
    metadata,
    Column("sweep_id", ID, ForeignKey("sweeps.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("params", Double, nullable=False),
    Column("tokens", Double, nullable=False),
    Column("batch_tokens", Double, nullable=False),
    Column("rates", JSON, nullable=False),
    Column("trunk", String(200), nullable=True),
    Column("decay_fraction", Double, nullable=False),
    Column("params_total", Double, nullable=True),  # null if every parameter is active
    Column("params_active", Double, nullable=True),
    Column("arm", String(32), nullable=True),  # of the held-out comparison; null in the search
)

trunks: Final = Table(
    "trunks",
    metadata,
    Column("id", ID, primary_key=True),
    Column("sweep_id", ID, ForeignKey("sweeps.id"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("learning_rate", Double, nullable=False),
    Column("seed", Integer, nullable=False),
    UniqueConstraint("sweep_id", "name", "learning_rate", "seed"),
)

runs: Final = Table(
    "runs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("sweep_id", ID, nullable=False),
    Column("cell", Integer, nullable=False),
    Column("learning_rate", Double, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("state", STATE, nullable=False),
    Column("trunk_id", ID, ForeignKey("trunks.id"), nullable=True),
    Column("batch", Integer, nullable=True),
    Column("attempt", Integer, nullable=False),
    Column("fence", BIG, nullable=True),  # of the driver that runs it
    Column("loss", Double, nullable=True),
    Column("trunk_loss", Double, nullable=True),
    Column("flops", Double, nullable=False),
    Column("seconds", Double, nullable=True),
    Column("reason", Text, nullable=True),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime, nullable=True),
    Column("ended_at", UtcTime, nullable=True),
    Column("module_rates", String(200), nullable=False),  # "attention=0.5,embedding=2"
    Column("diverged_tokens", BIG, nullable=True),
    ForeignKeyConstraint(["sweep_id", "cell"], ["cells.sweep_id", "cells.number"]),
    UniqueConstraint("sweep_id", "cell", "learning_rate", "seed", "module_rates"),
    Index(None, "sweep_id", "state", "id"),
    Index(None, "sweep_id", "id"),
)

losses: Final = Table(
    "losses",
    metadata,
    Column("curve", ID, primary_key=True),
    Column("step", BIG, primary_key=True, autoincrement=False),
    Column("tokens", BIG, nullable=False),
    Column("loss", Double, nullable=True),  # null if it was not finite
    sqlite_with_rowid=False,
)

lenses: Final = Table(
    "lenses",
    metadata,
    Column("curve", ID, primary_key=True),
    Column("step", BIG, primary_key=True, autoincrement=False),
    Column("tokens", BIG, nullable=False),
    Column("values", JSON, nullable=False),  # by name; null if it was not finite
    sqlite_with_rowid=False,
)

laws: Final = Table(
    "laws",
    metadata,
    Column("sweep_id", ID, ForeignKey("sweeps.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("document", JSON, nullable=False),
    Column("prediction", JSON, nullable=False),
    Column("ruled_out", JSON, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("spent_flops", Double, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("sizes", JSON(none_as_null=True), nullable=True),  # the law in the other count of parameters
)

comparisons: Final = Table(
    "comparisons",
    metadata,
    Column("sweep_id", ID, ForeignKey("sweeps.id"), primary_key=True),
    Column("document", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

events: Final = Table(
    "events",
    metadata,
    Column("id", BIG, Identity(), primary_key=True),
    Column("sweep_id", ID, ForeignKey("sweeps.id"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("data", JSON, nullable=False),
    Column("at", UtcTime, nullable=False),
    Index(None, "sweep_id", "id"),
    Index(None, "sweep_id", "kind", "id"),
    sqlite_autoincrement=True,
)

leases: Final = Table(
    "leases",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("fence", BIG, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)

tables: Final = Table(
    "tables",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("cells", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime, nullable=True),
)
