"""The last output of runs, where their program prints any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.leases import check_fence

_L = schema.run_logs.c

TAIL_BYTES = 65_536
"""Most bytes of the output of one run that are kept here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTail:
    """The end of a run's output.

    Attributes:
        text: its last lines.
        end_byte: bytes of the whole output up to the end of ``text``: equal texts may be different lines.
    """

    text: str
    end_byte: int


NO_OUTPUT = OutputTail(text="", end_byte=0)


class Outputs:
    """The tail of the output of each run, as text."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, tails: Mapping[str, OutputTail], *, fence: int, lease: str) -> None:
        """Replace the tails of these runs; longer ones lose their beginning.

        Args:
            tails: by the run's id; NUL, which PostgreSQL stores nowhere, is left out.
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
            rows = [
                {"run_id": run_id, "text": _kept(tail.text), "end_byte": tail.end_byte, "at": now}
                for run_id, tail in tails.items()
            ]
            statement = self._database.insert(schema.run_logs)
            newer = {name: statement.excluded[name] for name in ("text", "end_byte", "at")}
            connection.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_=newer), rows)

    def get(self, run_id: str) -> OutputTail:
        """The tail of a run's output; ``NO_OUTPUT`` if there is none."""
        query = select(_L.text, _L.end_byte).where(_L.run_id == run_id)
        with self._database.read() as connection:
            found = connection.execute(query).one_or_none()
        return NO_OUTPUT if found is None else OutputTail(text=found.text, end_byte=found.end_byte)


def _kept(text: str) -> str:
    data = text.replace("\0", "").encode()
    return data[-TAIL_BYTES:].decode(errors="ignore")
