"""Points of the lenses: measurements of a run besides its loss, by curve and step like the losses."""

from __future__ import annotations

from orchestrator.store import schema
from orchestrator.store.curves import Curves
from orchestrator.store.records import LensPoint


class Lenses(Curves[LensPoint]):
    """Points of the lenses."""

    table = schema.lenses
    point = LensPoint
