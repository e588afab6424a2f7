"""Alembic's environment: migrates over a given connection, or the configured database."""

from __future__ import annotations

from typing import Literal

from alembic import context
from sqlalchemy import Connection, Enum, TypeDecorator
from sqlalchemy.schema import SchemaItem

from orchestrator.settings import Settings
from orchestrator.store.database import Database
from orchestrator.store.schema import VERSION_TABLE, metadata


def _is_ours(
    _item: SchemaItem, name: str | None, kind: str, reflected: bool, _other: SchemaItem | None
) -> bool:
    """Whether a table is Etalon's; other programs, such as Optuna's storage, may share the database."""
    return not (kind == "table" and reflected and name not in metadata.tables)


def _as_plain_type(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write the store's own types into revisions as plain ones, so that revisions do not depend on the code."""
    if kind == "type" and isinstance(item, Enum):
        return f"sa.String(length={item.length})"
    return f"sa.{item.impl!r}" if kind == "type" and isinstance(item, TypeDecorator) else False


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
