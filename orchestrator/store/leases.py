"""Leases: the right to be the only one, on the database's clock, with a fence against late writers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, Update, select, update

from orchestrator.errors import Conflict
from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.records import Lease

LEADER = "orchestrator"
"""Name of the lease that the leading orchestrator holds."""

NOBODY = ""


def driver_lease(sweep_id: str) -> str:
    """Name of the lease that a sweep's driver holds."""
    return f"driver:{sweep_id}"


class Leases:
    """Leases by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a lease that nobody holds, or lengthen one's own.

        Args:
            name: what it is the right to.
            holder: who asks; unique among processes.
            seconds: how long it lasts unless renewed.

        Returns:
            The lease, with a new fence unless ``holder`` held it already; None while another holds it.
        """
        with self._database.write() as connection:
            now = clock(connection)
            self._make_row(connection, name, now)
            row = connection.execute(_of(name).with_for_update()).mappings().one()
            if row["holder"] not in {holder, NOBODY} and row["expires_at"] > now:
                return None
            fence = row["fence"] + (row["holder"] != holder)
            expires = now + timedelta(seconds=seconds)
            connection.execute(_update(name).values(holder=holder, fence=fence, expires_at=expires))
        return Lease(name=name, holder=holder, fence=fence, expires_at=expires)

    def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """Lengthen a lease; None if another has taken it since (even when it would be free again)."""
        with self._database.write() as connection:
            expires = clock(connection) + timedelta(seconds=seconds)
            changed = connection.execute(_held(lease).values(expires_at=expires)).rowcount
        if not changed:
            return None
        return Lease(name=lease.name, holder=lease.holder, fence=lease.fence, expires_at=expires)

    def release(self, lease: Lease) -> None:
        """Give a lease back, so that the next holder need not wait; nothing happens if it was lost before."""
        with self._database.write() as connection:
            connection.execute(_held(lease).values(holder=NOBODY, expires_at=clock(connection)))

    def current(self, name: str) -> Lease | None:
        """The lease as it is held now; None if nobody holds it or it has expired."""
        with self._database.read() as connection:
            row = connection.execute(_of(name)).mappings().one_or_none()
            now = clock(connection)
        if row is None or row["holder"] == NOBODY or row["expires_at"] <= now:
            return None
        return _lease(row)

    def _make_row(self, connection: Connection, name: str, now: datetime) -> None:
        row = {"name": name, "holder": NOBODY, "fence": 0, "expires_at": now}
        connection.execute(self._database.insert(schema.leases).values(row).on_conflict_do_nothing())


def check_fence(connection: Connection, name: str, fence: int) -> None:
    """Refuse a writer whose lease another has taken; nobody takes it before this transaction ends.

    An expired lease that nobody took is still good: there is no rival to protect from.

    Raises:
        Conflict: the lease is held with another fence, or was given back.
    """
    row = connection.execute(_of(name).with_for_update(read=True)).mappings().one_or_none()
    if row is None or row["fence"] != fence or row["holder"] == NOBODY:
        found = (
            "nobody holds it" if row is None or row["holder"] == NOBODY else f"fence {row['fence']} holds it"
        )
        raise Conflict(f"The lease {name!r} is no longer yours: you wrote with fence {fence}, but {found}.")


def _of(name: str) -> Select[Any]:
    return select(schema.leases).where(schema.leases.c.name == name)


def _update(name: str) -> Update:
    return update(schema.leases).where(schema.leases.c.name == name)


def _held(lease: Lease) -> Update:
    mine = (schema.leases.c.holder == lease.holder) & (schema.leases.c.fence == lease.fence)
    return _update(lease.name).where(mine)


def _lease(row: RowMapping) -> Lease:
    return Lease(name=row["name"], holder=row["holder"], fence=row["fence"], expires_at=row["expires_at"])
