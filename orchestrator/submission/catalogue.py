"""The catalogue of this service: the uploaded tables that a specification can name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.cells import Point
from orchestrator.knowledge import recorded_runs
from orchestrator.spec import RecordedRows
from orchestrator.store import Store
from orchestrator.tables.recorded_rates import recorded_rates


@dataclass(frozen=True, slots=True)
class StoreCatalogue:
    """An ``orchestrator.spec.Catalogue`` of the tables in a store."""

    store: Store

    def recorded_rates(self, source: RecordedRows, field: str) -> Mapping[Point, Mapping[float, int]]:
        """As ``Catalogue.recorded_rates``."""
        return recorded_rates(recorded_runs(self.store, source, field))
