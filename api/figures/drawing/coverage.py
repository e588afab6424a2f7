"""Draws coverage: one strip per cell, one tile per rate from low to high, coloured by what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.drawing.style import (
    STATE_COLOURS,
    UNTOUCHED,
    axis,
    canvas,
    empty,
    footnote,
    for_width,
    is_narrow,
)
from api.figures.numbers.coverage import CellCoverage, Coverage
from orchestrator.states import RunState

ORDER: Final[tuple[RunState | None, ...]] = (None, *RunState)
"""The states by their code in the map; 0 is a rate that was not asked for."""

GAP: Final = 0.12
"""Of a column's width, between two cells."""

STRIP: Final = 0.5
"""Of a row's height, the strip; the rest is the count above it."""


def draw_coverage(view: Coverage, columns: int | None = None) -> go.Figure:
    """Draw the map; counts are shortened where ``columns`` says that there is little room."""
    if not view.cells:
        return empty("This sweep has no grid of its own: it only fits runs that were made before.")
    narrow = is_narrow(columns)
    row = 44 if len(view.rows) <= 12 else 26
    figure = canvas(100 + row * len(view.rows))
    for_width(figure, columns)
    figure.update_layout(
        margin={"t": 48, "l": 70},
        xaxis=axis(
            "tokens D; rates from low to high"
            if narrow
            else "tokens D; in each cell the learning rates from low to high",
            tickvals=[index + (1 - GAP) / 2 for index in range(len(view.columns))],
            ticktext=list(view.columns),
            range=[-0.02, len(view.columns) - GAP + 0.02],
            showgrid=False,
            showline=False,
            ticks="",
        ),
        yaxis=axis(
            "parameters N",
            tickvals=[index + STRIP / 2 for index in range(len(view.rows))],
            ticktext=list(view.rows),
            range=[-0.1, len(view.rows)],
            showgrid=False,
            showline=False,
            ticks="",
        ),
    )
    figure.add_traces([*_strips(view), _counts(view, narrow=narrow), *_legend(view)])
    if view.left_out:
        footnote(figure, f"{view.left_out} further cells have no room here", columns)
    return figure


def _strips(view: Coverage) -> list[dict[str, Any]]:
    """One heatmap per column: its edges are the tiles', its rows are strips with blanks between them."""
    return [
        _column(index, [cell for cell in view.cells if cell.column == index], len(view.rows))
        for index in range(len(view.columns))
    ]


def _column(index: int, cells: Sequence[CellCoverage], rows: int) -> dict[str, Any]:
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


def _counts(view: Coverage, *, narrow: bool) -> dict[str, Any]:
    """Above every strip: how many of its rates were run, pruned and are open."""
    shown = [] if len(view.rows) > 12 else list(view.cells)
    short = narrow or len(view.columns) > 5
    return {
        "type": "scatter",
        "x": [float(cell.column) for cell in shown],
        "y": [cell.row + STRIP + 0.17 for cell in shown],
        "text": [count_text(cell, short=short) for cell in shown],
        "mode": "text",
        "textposition": "middle right",
        "textfont": {"size": 10},
        "cliponaxis": False,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def count_text(cell: CellCoverage, *, short: bool) -> str:
    """A cell's counts: ``5 of 9 run · 2 pruned · 1 open``, or ``5/9`` where there is little room."""
    if short:
        return f"{cell.run}/{len(cell.tiles)}"
    open_ = cell.counts.get(RunState.PENDING, 0) + cell.counts.get(RunState.RUNNING, 0)
    parts = [f"{cell.run - open_} of {len(cell.tiles)} run"]
    for count, word in ((cell.counts.get(RunState.PRUNED, 0), "pruned"), (open_, "open")):
        if count:
            parts.append(f"{count} {word}")
    return " · ".join(parts)


def _legend(view: Coverage) -> list[dict[str, Any]]:
    present = {state for cell in view.cells for state in cell.counts}
    return [
        {
            "type": "scatter",
            "x": [None],
            "y": [None],
            "mode": "markers",
            "marker": {"symbol": "square", "size": 10, "color": _colour(state)},
            "name": "not asked for" if state is None else str(state),
            "hoverinfo": "skip",
        }
        for state in (*RunState, None)
        if state in present
    ]
