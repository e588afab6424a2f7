"""Pages of long lists, by the last row seen, so that new rows shift nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, RowMapping, Select, func, select

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.store.identity import ID_PATTERN

MOST_ROWS = 10_000


def page(
    connection: Connection,
    query: Select[Any],
    key: Column[str],
    *,
    limit: int,
    cursor: str | None,
    newest_first: bool,
) -> tuple[Sequence[RowMapping], str | None, int]:
    """Read one page of ``query`` in the order of ``key``.

    Args:
        connection: the transaction to read in.
        query: all rows of the list, unordered.
        key: the sortable, unique column.
        limit: most rows of a page, 1 … 10,000.
        cursor: ``next_cursor`` of the previous page; None for the first.
        newest_first: descending.

    Returns:
        The rows, the cursor of the next page (None at the end), and the number of rows in the whole list.

    Raises:
        BadInput: the cursor is malformed or the limit out of range.
    """
    if not 1 <= limit <= MOST_ROWS:
        raise _refused("limit", f"must be 1 to {MOST_ROWS}, not {limit}")
    if cursor is not None and not ID_PATTERN.fullmatch(cursor):
        raise _refused("cursor", f"{cursor!r} is not a next_cursor of an earlier page; leave it out to start")
    total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    if cursor is not None:
        query = query.where(key < cursor if newest_first else key > cursor)
    ordered = query.order_by(key.desc() if newest_first else key).limit(limit + 1)
    rows = connection.execute(ordered).mappings().all()
    following = rows[limit - 1][key.name] if len(rows) > limit else None
    return rows[:limit], following, total


def _refused(name: str, message: str) -> BadInput:
    return BadInput(f"{name} {message}.", fields=(FieldProblem(path=name, message=message),))
