"""Coverage in numbers: every rate of every cell with what became of it, as a map over N (and B) and D."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from api.figures.labels import cell_name, escaped, wrapped
from api.figures.numbers.snapshot import Snapshot
from api.figures.numbers.thinning import evenly
from orchestrator import amounts
from orchestrator.cells import Cell
from orchestrator.states import RunState
from orchestrator.store.records import Run

MOST_ROWS: Final = 48
MOST_COLUMNS: Final = 16
NARROW_TILES: Final = 36
"""Tiles side by side on a telephone, at most: some five pixels each, for a finger and for eyes."""

PRECEDENCE: Final = (
    RunState.RUNNING,
    RunState.PENDING,
    RunState.COMPLETED,
    RunState.DIVERGED,
    RunState.FAILED,
    RunState.CANCELLED,
    RunState.PRUNED,
)
"""Which state stands for a rate whose seeds differ: the first of these that occurs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One rate of one cell: its state, None where it was not asked for, and what the pointer tells."""

    learning_rate: float
    state: RunState | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellCoverage:
    """One cell of the map: its place, its rates ascending, and how many of them are in each state."""

    row: int
    column: int
    name: str
    tiles: tuple[Tile, ...]
    counts: dict[RunState | None, int]

    @property
    def run(self) -> int:
        """Rates that were asked for and not given up: done, failed or open."""
        left_out = (None, RunState.PRUNED, RunState.CANCELLED)
        return sum(count for state, count in self.counts.items() if state not in left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The map.

    Attributes:
        rows: what each row holds, smallest model first: ``49 k`` and, where it varies, the batch.
        columns: what each column holds: ``400 k``.
        cells: the cells, those left out excepted.
        left_out: how many cells the map has no room for.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[CellCoverage, ...]
    left_out: int


def coverage(snapshot: Snapshot, *, narrow: bool = False) -> Coverage:
    """Lay the cells out as a map; no rows where the sweep has nothing to run.

    Args:
        snapshot: the sweep.
        narrow: whether it is for a telephone, which has room for fewer horizons.
    """
    several = snapshot.several_batches
    cells = [cell for cell in snapshot.cells if cell.rates]
    rows = evenly(sorted({(cell.params, cell.batch_tokens) for cell in cells}), MOST_ROWS)
    widest = max((len(cell.rates) for cell in cells), default=1)
    most = max(2, NARROW_TILES // widest) if narrow else MOST_COLUMNS
    columns = evenly(sorted({cell.tokens for cell in cells}), most)
    runs = snapshot.runs_by_cell()
    shown = tuple(
        _cell(
            cell,
            runs.get(cell.number, []),
            rows.index((cell.params, cell.batch_tokens)),
            columns.index(cell.tokens),
            several,
        )
        for cell in cells
        if (cell.params, cell.batch_tokens) in rows and cell.tokens in columns
    )
    return Coverage(
        rows=tuple(_row_name(params, batch, several) for params, batch in rows),
        columns=tuple(amounts.count(tokens) for tokens in columns),
        cells=shown,
        left_out=len(cells) - len(shown),
    )


def _row_name(params: float, batch_tokens: float, several: bool) -> str:
    return f"{amounts.count(params)} · B {amounts.count(batch_tokens)}" if several else amounts.count(params)


def _cell(cell: Cell, runs: Sequence[Run], row: int, column: int, with_batch: bool) -> CellCoverage:
    by_rate: dict[float, list[Run]] = {rate: [] for rate in cell.rates}
    for run in runs:
        by_rate.setdefault(run.learning_rate, []).append(run)
    name = cell_name(cell, with_batch=with_batch)
    tiles = tuple(_tile(name, rate, by_rate[rate]) for rate in sorted(by_rate))
    return CellCoverage(
        row=row, column=column, name=name, tiles=tiles, counts=dict(Counter(tile.state for tile in tiles))
    )


def _tile(name: str, learning_rate: float, runs: Sequence[Run]) -> Tile:
    head = f"{name}<br>η {amounts.rate(learning_rate, 3)}"
    if not runs:
        return Tile(learning_rate=learning_rate, state=None, text=f"{head} · not asked for")
    ordered = sorted(runs, key=lambda run: PRECEDENCE.index(run.state))
    lines = [_line(run) for run in ordered[:4]]
    return Tile(learning_rate=learning_rate, state=ordered[0].state, text="<br>".join([head, *lines]))


def _line(run: Run) -> str:
    text = str(run.state) if run.loss is None else f"{run.state}, loss {amounts.loss(run.loss)}"
    return text if not run.reason else f"{text}<br>{wrapped(escaped(run.reason), 60)}"
