"""Leases: exclusive rights that expire on the database's clock, with fences against late writers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, Update, select, update

from orchestrator.errors import Conflict
from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.records import Lease, read_row

LEADER = "orchestrator"
"""Name of the lease that the leading orchestrator holds."""

UNHELD = ""


def driver_lease(sweep_id: str) -> str:
    """Name of the lease that a sweep's driver holds."""
    return f"driver:{sweep_id}"


class Leases:
    """Leases by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a free lease, or extend one's own.

        Args:
            name: of the lease.
            holder: unique name of the process.
            seconds: how long it lasts unless renewed.

        Returns:
            The lease, with a new fence unless ``holder`` held it already; None while another process holds it.
        """
        with self._database.write() as connection:
            now = clock(connection)
            self._make_row(connection, name, now)
            row = connection.execute(_of(name).with_for_update()).mappings().one()
            if row["holder"] not in {holder, UNHELD} and row["expires_at"] > now:
                return None
            fence = row["fence"] + (row["holder"] != holder)
            expires = now + timedelta(seconds=seconds)
            connection.execute(_update(name).values(holder=holder, fence=fence, expires_at=expires))
        return Lease(name=name, holder=holder, fence=fence, expires_at=expires)

    def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """Extend a lease; None if another process has taken it since, even if it is free again."""
        with self._database.write() as connection:
            expires = clock(connection) + timedelta(seconds=seconds)
            changed = connection.execute(_held(lease).values(expires_at=expires)).rowcount
        if not changed:
            return None
        return replace(lease, expires_at=expires)

    def release(self, lease: Lease) -> None:
        """Give a lease back, so that the next holder need not wait; a lost lease is ignored."""
        with self._database.write() as connection:
            connection.execute(_held(lease).values(holder=UNHELD, expires_at=clock(connection)))

    def current(self, name: str) -> Lease | None:
        """The lease as it is held now; None if it is free or has expired."""
        with self._database.read() as connection:
            row = connection.execute(_of(name)).mappings().one_or_none()
            now = clock(connection)
        if row is None or row["holder"] == UNHELD or row["expires_at"] <= now:
            return None
        return read_row(Lease, row)

    def _make_row(self, connection: Connection, name: str, now: datetime) -> None:
        row = {"name": name, "holder": UNHELD, "fence": 0, "expires_at": now}
        connection.execute(self._database.insert(schema.leases).values(row).on_conflict_do_nothing())


def check_fence(connection: Connection, name: str, fence: int) -> None:
    """Refuse a writer whose lease another process has taken, and lock the lease until the transaction ends.

    An expired lease that was not taken is accepted: there is no rival.

    Raises:
        Conflict: the lease is held with another fence, or was given back.
    """
    row = connection.execute(_of(name).with_for_update(read=True)).mappings().one_or_none()
    if row is None or row["fence"] != fence or row["holder"] == UNHELD:
        found = "it is free" if row is None or row["holder"] == UNHELD else f"fence {row['fence']} holds it"
        raise Conflict(f"The lease {name!r} is no longer yours: you wrote with fence {fence}, but {found}.")


def _of(name: str) -> Select[Any]:
    return select(schema.leases).where(schema.leases.c.name == name)


def _update(name: str) -> Update:
    return update(schema.leases).where(schema.leases.c.name == name)


def _held(lease: Lease) -> Update:
    mine = (schema.leases.c.holder == lease.holder) & (schema.leases.c.fence == lease.fence)
    return _update(lease.name).where(mine)
