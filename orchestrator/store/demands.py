"""What live sweeps ask for of the cluster's workers, as their drivers record it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, String, cast, func, literal, select

from orchestrator.allocation import Demand
from orchestrator.states import SWEEP_LIVE
from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.leases import UNHELD, check_fence, driver_lease

_D, _L, _S = schema.demands.c, schema.leases.c, schema.sweeps.c


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDemand:
    """A demand, and the seconds since which the sweep wants workers and holds none; None if it does not wait."""

    demand: Demand
    waits_seconds: float | None


class Demands:
    """One demand per sweep, of its newest driver."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, demand: Demand, *, fence: int) -> None:
        """Record what a sweep asks for now, in place of what its driver recorded before.

        Raises:
            Conflict: another driver has the sweep's lease.
        """
        with self._database.write() as connection:
            check_fence(connection, driver_lease(demand.sweep_id), fence)
            now = clock(connection)
            waits = demand.wants > 0 and demand.holds == 0
            values: dict[str, Any] = {
                "fence": fence,
                "cpus": demand.cpus,
                "gpus": demand.gpus,
                "wants": demand.wants,
                "holds": demand.holds,
                "served_seconds": demand.served_seconds,
                "at": now,
            }
            first = values | {"sweep_id": demand.sweep_id, "waits_since": now if waits else None}
            since = func.coalesce(_D.waits_since, now) if waits else None
            written = self._database.insert(schema.demands).values(first)
            written = written.on_conflict_do_update(
                index_elements=["sweep_id"], set_=values | {"waits_since": since}
            )
            connection.execute(written)

    def live(self) -> list[RecordedDemand]:
        """The demands of live sweeps whose driver lives, oldest sweep first, with the service up to now."""
        lease = literal(driver_lease("")) + cast(_D.sweep_id, String)
        query = (
            select(schema.demands)
            .join(schema.sweeps, _S.id == _D.sweep_id)
            .join(schema.leases, (_L.name == lease) & (_L.fence == _D.fence))
            .where(_S.state.in_(SWEEP_LIVE), _L.holder != UNHELD)
            .order_by(_D.sweep_id)
        )
        with self._database.read() as connection:
            now = clock(connection)
            rows = connection.execute(query.where(_L.expires_at > now)).mappings().all()
        return [_read(row, now) for row in rows]


def _read(row: RowMapping, now: datetime) -> RecordedDemand:
    passed = max(0.0, (now - row["at"]).total_seconds())
    since = row["waits_since"]
    return RecordedDemand(
        demand=Demand(
            sweep_id=row["sweep_id"],
            cpus=row["cpus"],
            gpus=row["gpus"],
            wants=row["wants"],
            holds=row["holds"],
            served_seconds=row["served_seconds"] + row["holds"] * passed,
        ),
        waits_seconds=None if since is None else max(0.0, (now - since).total_seconds()),
    )
