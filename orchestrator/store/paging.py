"""Pages of long lists, by the last row seen, so that new rows shift nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, func, select

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.store.identity import ID_PATTERN
from orchestrator.store.records import Record, read_row

MOST_ROWS = 10_000


def page(
    connection: Connection,
    query: Select[Any],
    record: type[Record],
    *,
    limit: int,
    cursor: str | None,
    newest_first: bool,
) -> tuple[list[Record], str | None, int]:
    """Read one page of ``query`` in the order of creation.

    Args:
        connection: the transaction to read in.
        query: all rows of the list, unordered.
        record: of its rows, by ``id``.
        limit: most rows of a page, 1 … 10,000.
        cursor: ``next_cursor`` of the previous page; None for the first.
        newest_first: the opposite order.

    Returns:
        The records, the cursor of the next page (None at the end), and the length of the whole list.

    Raises:
        BadInput: the cursor is malformed or the limit out of range.
    """
    if not 1 <= limit <= MOST_ROWS:
        raise _refused("limit", f"must be 1 to {MOST_ROWS}, not {limit}")
    if cursor is not None and not ID_PATTERN.fullmatch(cursor):
        raise _refused("cursor", f"{cursor!r} is not a next_cursor of an earlier page; leave it out to start")
    total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    key = query.selected_columns.id
    if cursor is not None:
        query = query.where(key < cursor if newest_first else key > cursor)
    ordered = query.order_by(key.desc() if newest_first else key).limit(limit + 1)
    rows = connection.execute(ordered).mappings().all()
    following = rows[limit - 1]["id"] if len(rows) > limit else None
    return [read_row(record, row) for row in rows[:limit]], following, total


def _refused(name: str, message: str) -> BadInput:
    return BadInput(f"{name} {message}.", fields=(FieldProblem(path=name, message=message),))
