"""The last output of runs, where their program prints any."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.leases import check_fence

_L = schema.run_logs.c

TAIL_BYTES = 65_536
"""Most bytes of the output of one run that are kept here."""


class Outputs:
    """The tail of the output of each run, as text."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, tails: Mapping[str, str], *, fence: int, lease: str) -> None:
        """Replace the tails of these runs; longer ones lose their beginning.

        Args:
            tails: text by the run's id; NUL, which PostgreSQL stores nowhere, is left out.
            fence: of ``lease``.
            lease: the driver's.

        Raises:
            Conflict: another driver has the lease.
        """
        if not tails:
            return
        with self._database.write() as connection:
            check_fence(connection, lease, fence)
            now = clock(connection)
            rows = [{"run_id": run_id, "text": _kept(text), "at": now} for run_id, text in tails.items()]
            statement = self._database.insert(schema.run_logs)
            newer = {"text": statement.excluded.text, "at": statement.excluded.at}
            connection.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_=newer), rows)

    def get(self, run_id: str) -> str:
        """The tail of a run's output; empty if there is none."""
        with self._database.read() as connection:
            found = connection.execute(select(_L.text).where(_L.run_id == run_id)).scalar_one_or_none()
        return found or ""


def _kept(text: str) -> str:
    data = text.replace("\0", "").encode()
    return data[-TAIL_BYTES:].decode(errors="ignore")
