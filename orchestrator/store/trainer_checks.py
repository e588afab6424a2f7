"""Results of ``etalon trainer check``, kept with the definition that was checked."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from orchestrator.documents.trainers import CheckDocument
from orchestrator.store import schema
from orchestrator.store.database import Database, clock

_K = schema.trainer_checks.c


class TrainerChecks:
    """The newest check of each definition, by its digest."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, digest: str, check: CheckDocument) -> None:
        """Keep a check instead of an earlier one of the same definition."""
        with self._database.write() as connection:
            statement = self._database.insert(schema.trainer_checks)
            row = {"digest": digest, "document": check, "at": clock(connection)}
            newer = {"document": statement.excluded.document, "at": statement.excluded.at}
            connection.execute(
                statement.values(row).on_conflict_do_update(index_elements=["digest"], set_=newer)
            )

    def get(self, digest: str) -> CheckDocument | None:
        """The check of a definition; None if it was never checked."""
        return self.of([digest]).get(digest)

    def of(self, digests: Collection[str]) -> dict[str, CheckDocument]:
        """The checks of these definitions; those that were never checked are absent."""
        query = select(_K.digest, _K.document).where(_K.digest.in_(digests))
        with self._database.read() as connection:
            return {row.digest: row.document for row in connection.execute(query)}
