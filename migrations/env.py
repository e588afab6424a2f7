"""Alembic's environment: runs the revisions on the connection it is given, or on the configured database."""

from __future__ import annotations

from typing import Literal

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.schema import SchemaItem

from orchestrator.settings import Settings
from orchestrator.store.database import Database
from orchestrator.store.schema import VERSION_TABLE, UtcTime, metadata


def _is_ours(
    _item: SchemaItem, name: str | None, kind: str, reflected: bool, _other: SchemaItem | None
) -> bool:
    """Leave the tables of others alone, such as those of Optuna's storage."""
    return not (kind == "table" and reflected and name not in metadata.tables)


def _as_plain_type(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write our own types into revisions as what the database sees, so that old revisions never change."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcTime) else False


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_object=_is_ours,
        render_item=_as_plain_type,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with Database(Settings().database_url).write() as opened:
        _run(opened)
