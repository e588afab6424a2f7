"""All that the figures of one sweep are drawn from, read from the store once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

from orchestrator.cells import Cell, Cells
from orchestrator.knowledge import recorded_runs
from orchestrator.law import Bowl, Law
from orchestrator.spec import PriorRuns
from orchestrator.states import SWEEP_LIVE
from orchestrator.store import Store
from orchestrator.store.records import LawRecord, Run, Sweep

Place = tuple[str, str, str]
"""A cell's N, D and B, written so that numbers equal but for rounding are the same place."""


Source = TypeVar("Source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A run of the sweep's prior table; the loss is None where it did not complete."""

    learning_rate: float
    loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A sweep as it stands at one moment.

    Attributes:
        cells: the cells of its search, by number; a sweep that only fits prior runs has the cells of its law instead.
        runs: all runs of its search, oldest first.
        every_cell: those of its comparison at a held-out scale as well.
        every_run: those of its comparison as well.
        record: its newest law as it was recorded; None before the first.
        law: that law; None before the first.
        bowls: the law's bowls by place.
        earlier: the runs of its prior table by place.
    """

    sweep: Sweep
    cells: Cells
    runs: tuple[Run, ...] = ()
    every_cell: Cells = field(default_factory=Cells)
    every_run: tuple[Run, ...] = ()
    record: LawRecord | None = None
    law: Law | None = None
    bowls: Mapping[Place, Bowl] = field(default_factory=dict)
    earlier: Mapping[Place, tuple[Earlier, ...]] = field(default_factory=dict)

    def runs_by_cell(self) -> dict[int, list[Run]]:
        """The runs of every cell that has any."""
        found: dict[int, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.cell, []).append(run)
        return found

    def earlier_in(self, cell: Cell) -> tuple[Earlier, ...]:
        """The prior table's runs in a cell."""
        return self.earlier.get(place(cell.params, cell.tokens, cell.batch_tokens), ())

    def bowl(self, cell: Cell) -> Bowl | None:
        """The newest law's bowl in a cell; None where it has none."""
        return self.bowls.get(place(cell.params, cell.tokens, cell.batch_tokens))

    @property
    def several_batches(self) -> bool:
        """Whether the cells differ in B, so that a cell's name must say it."""
        return len({cell.batch_tokens for cell in self.cells}) > 1


def place(params: float, tokens: float, batch_tokens: float) -> Place:
    """The place of a cell."""
    return f"{params:.6g}", f"{tokens:.6g}", f"{batch_tokens:.6g}"


def read_snapshot(store: Store, sweep_id: str) -> Snapshot:
    """Read a sweep with its cells, runs and newest law.

    Raises:
        NotFound: there is no such sweep.
    """
    sweep = store.sweeps.get(sweep_id)
    record = store.laws.latest(sweep_id)
    law = None if record is None else law_of(record)
    cells = store.sweeps.cells(sweep_id) or law_cells(law)
    runs = tuple(store.runs.of_sweep(sweep_id))
    return Snapshot(
        sweep=sweep,
        cells=cells.searched,
        runs=tuple(run for run in runs if cells[run.cell].arm is None),
        every_cell=cells,
        every_run=runs,
        record=record,
        law=law,
        bowls=bowls_by_place(law),
        earlier=earlier_runs(store, sweep),
    )


def bowls_by_place(law: Law | None) -> Mapping[Place, Bowl]:
    """A law's bowls; none without a law."""
    return {} if law is None else {place(b.params, b.tokens, b.batch_tokens): b for b in law.bowls}


@dataclass(frozen=True, slots=True)
class Kept(Generic[Source]):
    """Something to read once, equal to another by its key alone: what caches go by."""

    key: tuple[object, ...]
    source: Source = field(compare=False)


def law_of(record: LawRecord) -> Law:
    """The law of a record: immutable, so read from its document once."""
    return _law(Kept((record.sweep_id, record.number), record))


@lru_cache(maxsize=64)
def _law(kept: Kept[LawRecord]) -> Law:
    return Law.from_document(dict(kept.source.document))


def earlier_runs(store: Store, sweep: Sweep) -> Mapping[Place, tuple[Earlier, ...]]:
    """The runs of the sweep's prior table, by place; an uploaded table never changes, so it is read once."""
    source = sweep.spec.prior_runs
    if source is None:
        return {}
    return _earlier(Kept((source.table, tuple(sorted(source.where.items()))), (store, source)))


@lru_cache(maxsize=8)
def _earlier(kept: Kept[tuple[Store, PriorRuns]]) -> Mapping[Place, tuple[Earlier, ...]]:
    table = recorded_runs(*kept.source, "prior_runs")
    found: dict[Place, list[Earlier]] = {}
    columns = (table.params, table.tokens, table.batch_tokens, table.learning_rate, table.loss)
    for params, tokens, batch_tokens, rate, loss in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        run = Earlier(learning_rate=rate, loss=loss if math.isfinite(loss) else None)
        found.setdefault(place(params, tokens, batch_tokens), []).append(run)
    return {at: tuple(runs) for at, runs in found.items()}


def law_cells(law: Law | None) -> Cells:
    """The cells that a law was fitted to, smallest first, for a sweep that has none of its own."""
    bowls = () if law is None else law.bowls
    ordered = sorted(bowls, key=lambda bowl: (bowl.params, bowl.batch_tokens, bowl.tokens))
    return Cells(
        Cell(number=number, params=b.params, tokens=b.tokens, batch_tokens=b.batch_tokens, rates=())
        for number, b in enumerate(ordered)
    )


def what_comes(snapshot: Snapshot, live: str, ended: str) -> str:
    """What stands in the place of a figure with nothing to show: of a ``live`` sweep, or of one that has ended."""
    return live if snapshot.sweep.state in SWEEP_LIVE else f"This sweep has ended, and {ended}."
