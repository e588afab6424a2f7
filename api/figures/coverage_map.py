"""Coverage: one strip per cell, one tile per rate from low to high, coloured by its state, over N (and B) and D."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.entry import FigureRequest, SweepFigure
from api.figures.labels import cell_name, reason_text
from api.figures.selection import evenly
from api.figures.snapshot import FigureSnapshot
from api.figures.style import CELL_COUNTS, STATE_COLOURS, UNTOUCHED, axis, canvas, empty, footnote
from orchestrator import amounts
from orchestrator.cells import Cell
from orchestrator.states import RunState
from orchestrator.store.records import Run

MOST_ROWS: Final = 48
MOST_COLUMNS: Final = 16

PANEL_TILES: Final = 30
"""Tiles side by side in the width of one panel: 4 pixels each on a telephone."""

CELL_TILES: Final = 6
"""Tiles whose width the count above a cell needs."""

PRECEDENCE: Final = (
    RunState.RUNNING,
    RunState.PENDING,
    RunState.COMPLETED,
    RunState.DIVERGED,
    RunState.FAILED,
    RunState.CANCELLED,
    RunState.PRUNED,
)
"""The state of a rate whose seeds differ: the first of these that occurs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One rate of one cell: its state (None if it was not requested) and its hover text."""

    state: RunState | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellCoverage:
    """One cell of the map: its row and column, its rates ascending, and how many of them are in each state."""

    row: int
    column: int
    tiles: tuple[Tile, ...]
    counts: dict[RunState | None, int]

    @property
    def run(self) -> int:
        """Rates that were requested and not given up: done, failed or open."""
        left_out = (None, RunState.PRUNED, RunState.CANCELLED)
        return sum(count for state, count in self.counts.items() if state not in left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageMap:
    """The map.

    Attributes:
        rows: their labels, smallest model first: ``49 k`` and, if it varies, the batch.
        columns: their labels: ``400 k``.
        cells: those that the map has room for.
        left_out: the number of others.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[CellCoverage, ...]
    left_out: int


def coverage_map(snapshot: FigureSnapshot, panels: int | None = None) -> CoverageMap:
    """Lay the cells out as a map; no rows if the sweep has nothing to run.

    Args:
        snapshot: the sweep.
        panels: panels that fit side by side; None for a wide screen.
    """
    several = snapshot.several_batches
    cells = [cell for cell in snapshot.cells if cell.rates]
    rows = evenly(sorted({(cell.params, cell.batch_tokens) for cell in cells}), MOST_ROWS)
    columns = evenly(sorted({cell.tokens for cell in cells}), _most_columns(cells, panels))
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
    return CoverageMap(
        rows=tuple(_row_name(params, batch, several) for params, batch in rows),
        columns=tuple(amounts.count(tokens) for tokens in columns),
        cells=shown,
        left_out=len(cells) - len(shown),
    )


def _most_columns(cells: Sequence[Cell], panels: int | None) -> int:
    """The columns that fit with tiles wide enough to see and to touch."""
    if panels is None:
        return MOST_COLUMNS
    widest = max((len(cell.rates) for cell in cells), default=1)
    return min(MOST_COLUMNS, max(2, PANEL_TILES * panels // max(widest, CELL_TILES)))


def _row_name(params: float, batch_tokens: float, several: bool) -> str:
    return f"{amounts.count(params)} · B {amounts.count(batch_tokens)}" if several else amounts.count(params)


def _cell(cell: Cell, runs: Sequence[Run], row: int, column: int, with_batch: bool) -> CellCoverage:
    by_rate: dict[float, list[Run]] = {rate: [] for rate in cell.rates}
    for run in runs:
        by_rate.setdefault(run.learning_rate, []).append(run)
    name = cell_name(cell, with_batch=with_batch)
    tiles = tuple(_tile(name, rate, by_rate[rate]) for rate in sorted(by_rate))
    return CellCoverage(
        row=row, column=column, tiles=tiles, counts=dict(Counter(tile.state for tile in tiles))
    )


def _tile(name: str, learning_rate: float, runs: Sequence[Run]) -> Tile:
    head = f"{name}<br>η {amounts.rate(learning_rate, 3)}"
    if not runs:
        return Tile(state=None, text=f"{head} · not requested")
    ordered = sorted(runs, key=lambda run: PRECEDENCE.index(run.state))
    lines = [_run_line(run) for run in ordered[:4]]
    return Tile(state=ordered[0].state, text="<br>".join([head, *lines]))


def _run_line(run: Run) -> str:
    text = str(run.state) if run.loss is None else f"{run.state}, loss {amounts.loss(run.loss)}"
    return text if not run.reason else f"{text}<br>{reason_text(run.reason)}"


ORDER: Final[tuple[RunState | None, ...]] = (None, *RunState)
"""The states by their code in the map; 0 is a rate that was not requested."""

GAP: Final = 0.12
"""Share of a column's width between two cells."""

STRIP: Final = 0.5
"""Share of a row's height that the strip takes; the count above it takes the rest."""

MOST_COUNTED: Final = 12
"""Rows up to which there is room for the counts."""


def draw_coverage(view: CoverageMap) -> go.Figure:
    """Draw the map; counts are short if there is little room."""
    figure = canvas(100 + (44 if len(view.rows) <= MOST_COUNTED else 26) * len(view.rows))
    figure.layout.xaxis = axis(
        "tokens D; rates from low to high",
        tickvals=[index + (1 - GAP) / 2 for index in range(len(view.columns))],
        ticktext=list(view.columns),
        range=[-0.02, len(view.columns) - GAP + 0.02],
        showgrid=False,
        showline=False,
        ticks="",
    )
    figure.layout.yaxis = axis(
        "parameters N",
        tickvals=[index + STRIP / 2 for index in range(len(view.rows))],
        ticktext=list(view.rows),
        range=[-0.1, len(view.rows)],
        showgrid=False,
        showline=False,
        ticks="",
    )
    columns = [
        _column(index, [cell for cell in view.cells if cell.column == index], len(view.rows))
        for index in range(len(view.columns))
    ]
    figure.add_traces([*columns, _counts(view), *_legend(view)])
    if view.left_out:
        footnote(figure, f"{view.left_out} more cells do not fit")
    return figure


def _column(index: int, cells: Sequence[CellCoverage], rows: int) -> dict[str, Any]:
    """A heatmap whose columns are tiles and whose rows are strips with blanks between them."""
    widest = max((len(cell.tiles) for cell in cells), default=1)
    codes: list[list[int | None]] = [[None] * widest for _ in range(2 * rows - 1)]
    texts: list[list[str]] = [[""] * widest for _ in range(2 * rows - 1)]
    for cell in cells:
        for place, tile in enumerate(cell.tiles):
            codes[2 * cell.row][place] = ORDER.index(tile.state)
            texts[2 * cell.row][place] = tile.text
    edges = [edge for row in range(rows) for edge in (float(row), row + STRIP)]
    return {
        "type": "heatmap",
        "x": [index + (1 - GAP) * place / widest for place in range(widest + 1)],
        "y": edges,
        "z": codes,
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "colorscale": _steps(),
        "zmin": -0.5,
        "zmax": len(ORDER) - 0.5,
        "showscale": False,
        "xgap": 1.5 if widest <= 40 else 0,
        "ygap": 0,
    }


def _colour(state: RunState | None) -> str:
    return UNTOUCHED if state is None else STATE_COLOURS[state]


def _steps() -> list[list[float | str]]:
    """A colour scale with one step per state."""
    steps: list[list[float | str]] = []
    for code, state in enumerate(ORDER):
        steps += [[code / len(ORDER), _colour(state)], [(code + 1) / len(ORDER), _colour(state)]]
    return steps


def _counts(view: CoverageMap) -> dict[str, Any]:
    """The counts above the strips, in words where there is room."""
    shown = [] if len(view.rows) > MOST_COUNTED else list(view.cells)
    return {
        "type": "scatter",
        "x": [float(cell.column) for cell in shown],
        "y": [cell.row + STRIP + 0.17 for cell in shown],
        "text": [count_text(cell, short=len(view.columns) > 5) for cell in shown],
        "customdata": [count_text(cell, short=True) for cell in shown],
        "name": CELL_COUNTS,
        "mode": "text",
        "textposition": "middle right",
        "textfont": {"size": 10},
        "cliponaxis": False,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def count_text(cell: CellCoverage, *, short: bool) -> str:
    """A cell's counts: ``5 of 9 run · 2 pruned · 1 open``, or ``5/9`` if ``short``."""
    if short:
        return f"{cell.run}/{len(cell.tiles)}"
    open_ = cell.counts.get(RunState.PENDING, 0) + cell.counts.get(RunState.RUNNING, 0)
    parts = [f"{cell.run - open_} of {len(cell.tiles)} run"]
    for count, word in ((cell.counts.get(RunState.PRUNED, 0), "pruned"), (open_, "open")):
        if count:
            parts.append(f"{count} {word}")
    return " · ".join(parts)


def _legend(view: CoverageMap) -> list[dict[str, Any]]:
    present = {state for cell in view.cells for state in cell.counts}
    return [
        {
            "type": "scatter",
            "x": [None],
            "y": [None],
            "mode": "markers",
            "marker": {"symbol": "square", "size": 10, "color": _colour(state)},
            "name": "not requested" if state is None else str(state),
            "hoverinfo": "skip",
        }
        for state in (*RunState, None)
        if state in present
    ]


def _figure(request: FigureRequest) -> go.Figure:
    view = coverage_map(request.snapshot, request.columns)
    if not view.cells:
        return empty("This sweep has no grid: it only fits runs of a table.")
    return draw_coverage(view)


FIGURE: Final = SweepFigure(
    name="coverage",
    title="Coverage",
    link="Coverage",
    caption="The state of every rate in every cell. Point at a tile for its reason.",
    draw=_figure,
    needs="grid",
)
