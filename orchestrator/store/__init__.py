"""All SQL of Etalon, the same on SQLite and PostgreSQL."""

from orchestrator.store.leases import LEADER, driver_lease
from orchestrator.store.store import Store

__all__ = ["LEADER", "Store", "driver_lease"]
