"""Everything that is recorded: all SQL of Etalon, on SQLite and PostgreSQL alike."""

from orchestrator.store.leases import LEADER, driver_lease
from orchestrator.store.store import Store

__all__ = ["LEADER", "Store", "driver_lease"]
