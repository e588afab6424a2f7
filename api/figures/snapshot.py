"""All that the figures of one sweep are drawn from, read from the store once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from orchestrator.cells import Cell, Cells, Point
from orchestrator.knowledge import recorded_runs
from orchestrator.law import Bowl, Law
from orchestrator.spec import PriorRuns
from orchestrator.states import SWEEP_LIVE
from orchestrator.store import Store
from orchestrator.store.records import LawRecord, Run, Sweep

Content = TypeVar("Content")


class Located(Protocol):
    """Anything with N, D and B: a cell, a bowl, a point."""

    @property
    def params(self) -> float: ...  # noqa: D102
    @property
    def tokens(self) -> float: ...  # noqa: D102
    @property
    def batch_tokens(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRun:
    """A run of the sweep's prior table; the loss is None unless it completed."""

    learning_rate: float
    loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureSnapshot:
    """A sweep at one moment.

    Attributes:
        cells: of its search, by number; a sweep that only fits prior runs has the cells of its law instead.
        runs: all runs of its search, oldest first.
        every_cell: those of its comparison at a held-out scale as well.
        every_run: those of its comparison as well.
        record: its newest law as recorded; None before the first.
        law: that law; None before the first.
        bowls: the law's bowls by `rounded` point.
        earlier: the runs of its prior table by `rounded` point.
        note: a sentence on a stable phase; None for annealed losses.
    """

    sweep: Sweep
    cells: Cells
    runs: tuple[Run, ...] = ()
    every_cell: Cells = field(default_factory=Cells)
    every_run: tuple[Run, ...] = ()
    record: LawRecord | None = None
    law: Law | None = None
    bowls: Mapping[Point, Bowl] = field(default_factory=dict)
    earlier: Mapping[Point, tuple[EarlierRun, ...]] = field(default_factory=dict)
    note: str | None = None

    def runs_by_cell(self) -> dict[int, list[Run]]:
        """The runs of every cell that has any."""
        found: dict[int, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.cell, []).append(run)
        return found

    def earlier_in(self, cell: Cell) -> tuple[EarlierRun, ...]:
        """The prior table's runs in a cell."""
        return self.earlier.get(rounded(cell), ())

    def bowl(self, cell: Cell) -> Bowl | None:
        """The newest law's bowl in a cell; None if it has none."""
        return self.bowls.get(rounded(cell))

    @property
    def several_batches(self) -> bool:
        """Whether the cells differ in B; their names then include it."""
        return len({cell.batch_tokens for cell in self.cells}) > 1

    def when_empty(self, live: str, ended: str) -> str:
        """The sentence of a figure without data: ``live``, or for a sweep that has ended why there is none."""
        return live if self.sweep.state in SWEEP_LIVE else f"This sweep has ended, and {ended}."


def rounded(at: Located) -> Point:
    """N, D and B to six digits, so that points that differ by rounding alone are equal."""
    return Point(
        params=float(f"{at.params:.6g}"),
        tokens=float(f"{at.tokens:.6g}"),
        batch_tokens=float(f"{at.batch_tokens:.6g}"),
    )


def read_snapshot(store: Store, sweep_id: str) -> FigureSnapshot:
    """Read a sweep with its cells, runs and newest law.

    Raises:
        NotFound: there is no such sweep.
    """
    sweep = store.sweeps.get(sweep_id)
    record = store.laws.latest(sweep_id)
    law = None if record is None else law_of(record)
    every_run = tuple(store.runs.of_sweep(sweep_id))
    every_cell = store.sweeps.cells(sweep_id)  # read last: a run is written after its cell
    return FigureSnapshot(
        sweep=sweep,
        cells=every_cell.searched or law_cells(law),
        runs=tuple(run for run in every_run if every_cell[run.cell].role is None),
        every_cell=every_cell,
        every_run=every_run,
        record=record,
        law=law,
        bowls=bowls_by_point(law),
        earlier=earlier_runs(store, sweep),
    )


def bowls_by_point(law: Law | None) -> Mapping[Point, Bowl]:
    """A law's bowls; none without a law."""
    return {} if law is None else {rounded(bowl): bowl for bowl in law.bowls}


@dataclass(frozen=True, slots=True)
class Keyed(Generic[Content]):
    """An argument of a cached function that is compared by ``key`` alone."""

    key: tuple[object, ...]
    content: Content = field(compare=False)


def law_of(record: LawRecord) -> Law:
    """The law of a record; records never change, so laws are cached."""
    return _law(Keyed((record.sweep_id, record.number), record))


@lru_cache(maxsize=64)
def _law(keyed: Keyed[LawRecord]) -> Law:
    return Law.from_document(keyed.content.document)


def earlier_runs(store: Store, sweep: Sweep) -> Mapping[Point, tuple[EarlierRun, ...]]:
    """The runs of the sweep's prior table, by `rounded` point; tables never change, so they are cached."""
    prior = sweep.spec.prior_runs
    if prior is None:
        return {}
    return _earlier(Keyed((prior.table, tuple(sorted(prior.where.items()))), (store, prior)))


@lru_cache(maxsize=8)
def _earlier(keyed: Keyed[tuple[Store, PriorRuns]]) -> Mapping[Point, tuple[EarlierRun, ...]]:
    table = recorded_runs(*keyed.content, "prior_runs")
    found: dict[Point, list[EarlierRun]] = {}
    columns = (table.params, table.tokens, table.batch_tokens, table.learning_rate, table.loss)
    for params, tokens, batch_tokens, rate, loss in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        run = EarlierRun(learning_rate=rate, loss=loss if math.isfinite(loss) else None)
        at = rounded(Point(params=params, tokens=tokens, batch_tokens=batch_tokens))
        found.setdefault(at, []).append(run)
    return {at: tuple(runs) for at, runs in found.items()}


def law_cells(law: Law | None) -> Cells:
    """The cells that a law was fitted to, smallest first, for a sweep without cells of its own."""
    bowls = () if law is None else law.bowls
    ordered = sorted(bowls, key=lambda bowl: (bowl.params, bowl.batch_tokens, bowl.tokens))
    return Cells(
        Cell(number=number, params=b.params, tokens=b.tokens, batch_tokens=b.batch_tokens, rates=())
        for number, b in enumerate(ordered)
    )
