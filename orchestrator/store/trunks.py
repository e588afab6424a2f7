"""Trunks: the constant-rate parts that horizons share, and how far each has been trained."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, select, update

from orchestrator.errors import NotFound
from orchestrator.store import schema
from orchestrator.store.database import Database
from orchestrator.store.identity import new_id
from orchestrator.store.leases import check_fence, driver_lease
from orchestrator.store.records import NewRun, Trunk

_T = schema.trunks.c


class Trunks:
    """Trunks by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, trunk_id: str) -> Trunk:
        """The trunk as it was last saved.

        Raises:
            NotFound: there is none of this id.
        """
        with self._database.read() as connection:
            return _trunk(_row(connection, trunk_id))

    def of_sweep(self, sweep_id: str) -> list[Trunk]:
        """Every trunk of a sweep, oldest first."""
        query = select(schema.trunks).where(_T.sweep_id == sweep_id).order_by(_T.id)
        with self._database.read() as connection:
            return [_trunk(row) for row in connection.execute(query).mappings()]

    def save(self, trunk_id: str, *, tokens: float, checkpoint: str, fence: int) -> bool:
        """Record a longer trunk; a shorter or equal one changes nothing.

        Args:
            trunk_id: the trunk.
            tokens: how far it has been trained.
            checkpoint: where its weights lie, under the checkpoint folder; written before this is called.
            fence: of the lease of its sweep's driver.

        Returns:
            Whether it grew.

        Raises:
            NotFound: there is no such trunk.
            Conflict: the lease belongs to another driver.
        """
        with self._database.write() as connection:
            sweep_id = _row(connection, trunk_id)["sweep_id"]
            check_fence(connection, driver_lease(sweep_id), fence)
            grown = update(schema.trunks).where(_T.id == trunk_id, _T.tokens < tokens)
            return connection.execute(grown.values(tokens=tokens, checkpoint=checkpoint)).rowcount == 1


def trunk_key(run: NewRun) -> tuple[str, float, int]:
    """What tells one trunk of a sweep from another: name, η and seed."""
    return (str(run.trunk), run.learning_rate, run.seed)


def make_trunks(
    database: Database, connection: Connection, sweep_id: str, runs: Sequence[NewRun]
) -> dict[tuple[str, float, int], str]:
    """Make the trunks that ``runs`` share, where they are missing.

    Returns:
        The ids of all trunks of the sweep by ``trunk_key``.
    """
    keys = sorted({trunk_key(run) for run in runs if run.trunk is not None})
    if not keys:
        return {}
    rows = [
        {
            "id": new_id(),
            "sweep_id": sweep_id,
            "name": name,
            "learning_rate": rate,
            "seed": seed,
            "tokens": 0.0,
        }
        for name, rate, seed in keys
    ]
    connection.execute(database.insert(schema.trunks).on_conflict_do_nothing(), rows)
    query = select(_T.name, _T.learning_rate, _T.seed, _T.id).where(_T.sweep_id == sweep_id)
    return {(name, rate, seed): trunk_id for name, rate, seed, trunk_id in connection.execute(query)}


def _row(connection: Connection, trunk_id: str) -> RowMapping:
    query = select(schema.trunks).where(_T.id == trunk_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no trunk {trunk_id!r}.")
    return row


def _trunk(row: RowMapping) -> Trunk:
    return Trunk(
        id=row["id"],
        sweep_id=row["sweep_id"],
        name=row["name"],
        learning_rate=row["learning_rate"],
        seed=row["seed"],
        tokens=row["tokens"],
        checkpoint=row["checkpoint"],
    )
