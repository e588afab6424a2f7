"""The tables of the database; the migrations produce exactly this schema.

Every transaction locks in the same order, so that no deadlock is possible:
leases → sweeps → demands → trunks → runs → laws → comparisons → events.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Double,
    Enum,
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

from orchestrator.documents.comparisons import ComparisonPlan
from orchestrator.documents.laws import RuledOut, SizesDocument
from orchestrator.documents.predictions import TargetAnswer
from orchestrator.documents.trainers import CheckDocument
from orchestrator.spec import SweepSpec
from orchestrator.states import RunState, SweepState
from orchestrator.store.invariants import checks

VERSION_TABLE: Final = "etalon_version"
"""Alembic's table of the revision; Optuna's storage uses the usual name, ``alembic_version``."""

ID: Final = String(32)
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


class JsonValue(TypeDecorator[Any]):
    """JSON of a value of the type ``kind``, which pydantic writes and reads."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = TypeAdapter(kind)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - as the base class declares it
        """Write the value as JSON values."""
        return None if value is None else self.kind.dump_python(value, mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        """Read the value from JSON values."""
        return None if value is None else self.kind.validate_python(value)


class MeasuredNumber(TypeDecorator[float]):
    """A measured number; one that is not finite is stored as null and read as NaN."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:  # noqa: ARG002
        """Write null unless the number is finite."""
        return finite_or_none(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:  # noqa: ARG002
        """Read null as NaN."""
        return math.nan if value is None else value


class MeasuredNumbers(TypeDecorator[dict[str, float]]):
    """Measured numbers by name, each as in ``MeasuredNumber``."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        """Write null for the numbers that are not finite."""
        return {name: finite_or_none(number) for name, number in value.items()}

    def process_result_value(self, value: Any, dialect: Dialect) -> dict[str, float]:  # noqa: ARG002
        """Read null as NaN."""
        return {name: math.nan if number is None else number for name, number in value.items()}


def finite_or_none(value: float | None) -> float | None:
    """The number; None if it is missing or not finite."""
    return value if value is not None and math.isfinite(value) else None


def state(kind: type[StrEnum]) -> Enum:
    """The type of a state: text, read as a member of ``kind``."""
    return Enum(kind, native_enum=False, length=16, values_callable=list)


metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

sweeps: Final = Table(
    "sweeps",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("state", state(SweepState), nullable=False),
    Column("spec", JsonValue(SweepSpec), nullable=False),
    Column("trainer", String(220), nullable=True),  # to look up measured speeds (`TrainerKind.measured_as`)
    Column("reason", Text, nullable=True),
    Column("batches", Integer, nullable=False),
    Column("law_number", Integer, nullable=True),
    Column("revision", Integer, nullable=False),
    Column("refits_asked", Integer, nullable=False),  # changes that the law must follow
    Column("refits_done", Integer, nullable=False),  # of them, those that the newest fit has seen
    Column("full_grid_flops", Double, nullable=False),
    Column("submitted_by", String(200), nullable=True),
    Column("idempotency_key", Text, nullable=True, unique=True),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Index(None, "state", "id"),
    Index(None, "trainer", "id"),
    Index(None, "name", "id"),
    *checks("sweeps"),
)

cells: Final = Table(
    "cells",
    metadata,
    Column("sweep_id", ID, ForeignKey("sweeps.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("params", Double, nullable=False),
    Column("tokens", Double, nullable=False),
    Column("batch_tokens", Double, nullable=False),
    Column("rates", JsonValue(tuple[float, ...]), nullable=False),
    Column("trunk", String(200), nullable=True),
    Column("decay_fraction", Double, nullable=False),
    Column("params_total", Double, nullable=True),  # null if every parameter is active
    Column("params_active", Double, nullable=True),
    Column("params_reported", Double, nullable=True),  # by a registered program; null before it has
    Column("with_values", Text, nullable=True),  # of a registered program, as canonical JSON
    Column("arm", String(32), nullable=True, key="role"),  # of the held-out comparison; null in the search
    *checks("cells"),
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
    *checks("trunks"),
)

runs: Final = Table(
    "runs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("sweep_id", ID, nullable=False),
    Column("cell", Integer, nullable=False),
    Column("learning_rate", Double, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("state", state(RunState), nullable=False),
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
    Column("excluded", Text, nullable=True),  # why a user has left it out of the law
    Column("retries", Integer, nullable=False, default=0),  # by users
    ForeignKeyConstraint(["sweep_id", "cell"], ["cells.sweep_id", "cells.number"]),
    UniqueConstraint("sweep_id", "cell", "learning_rate", "seed", "module_rates"),
    Index(None, "sweep_id", "state", "id"),
    Index(None, "sweep_id", "id"),
    *checks("runs"),
)

losses: Final = Table(
    "losses",
    metadata,
    Column("curve", ID, primary_key=True),
    Column("step", BIG, primary_key=True, autoincrement=False),
    Column("tokens", BIG, nullable=False),
    Column("loss", MeasuredNumber, nullable=True),
    *checks("losses"),
    sqlite_with_rowid=False,
)

lenses: Final = Table(
    "lenses",
    metadata,
    Column("curve", ID, primary_key=True),
    Column("step", BIG, primary_key=True, autoincrement=False),
    Column("tokens", BIG, nullable=False),
    Column("values", MeasuredNumbers, nullable=False),
    *checks("lenses"),
    sqlite_with_rowid=False,
)

laws: Final = Table(
    "laws",
    metadata,
    Column("sweep_id", ID, ForeignKey("sweeps.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("document", JSON, nullable=False),
    Column("prediction", JsonValue(TargetAnswer), nullable=False),
    Column("ruled_out", JsonValue(tuple[RuledOut, ...]), nullable=False),
    Column("runs", Integer, nullable=False),
    Column("spent_flops", Double, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("sizes", JsonValue(SizesDocument), nullable=True),  # the law in the other count of parameters
    *checks("laws"),
)

run_logs: Final = Table(
    "run_logs",
    metadata,
    Column("run_id", ID, ForeignKey("runs.id"), primary_key=True),
    Column("text", Text, nullable=False),
    Column("end_byte", BIG, nullable=False),  # bytes of the whole output up to the end of the text
    Column("at", UtcTime, nullable=False),
    *checks("run_logs"),
)

trainer_checks: Final = Table(
    "trainer_checks",
    metadata,
    Column("digest", String(32), primary_key=True),
    Column("document", JsonValue(CheckDocument), nullable=False),
    Column("at", UtcTime, nullable=False),
)

comparisons: Final = Table(
    "comparisons",
    metadata,
    Column("sweep_id", ID, ForeignKey("sweeps.id"), primary_key=True),
    Column("document", JsonValue(ComparisonPlan), nullable=False),
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
    *checks("leases"),
)

demands: Final = Table(
    "demands",
    metadata,
    Column("sweep_id", ID, ForeignKey("sweeps.id"), primary_key=True),
    Column("fence", BIG, nullable=False),  # of the driver that wrote it
    Column("cpus", Double, nullable=False),  # of one worker
    Column("gpus", Double, nullable=False),
    Column("wants", Integer, nullable=False),
    Column("holds", Integer, nullable=False),
    Column("served_seconds", Double, nullable=False),  # up to `at`
    Column("at", UtcTime, nullable=False),
    Column("waits_since", UtcTime, nullable=True),  # null while it holds workers or wants none
)

tables: Final = Table(
    "tables",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("cells", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    *checks("tables"),
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("scopes", JsonValue(frozenset[str]), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime, nullable=True),
    *checks("tokens"),
)
