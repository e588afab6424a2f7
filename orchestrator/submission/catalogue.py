"""The catalogue of this service: the uploaded tables that a specification can name."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.knowledge import recorded_runs
from orchestrator.spec import RecordedRows
from orchestrator.store import Store
from orchestrator.tables.run_table import RunTable


@dataclass(frozen=True, slots=True)
class StoreCatalogue:
    """An ``orchestrator.spec.Catalogue`` of the tables in a store."""

    store: Store

    def rows(self, source: RecordedRows, field: str) -> RunTable:
        """As ``Catalogue.rows``."""
        return recorded_runs(self.store, source, field)
