"""Fits a drawn figure to the screen: figures are drawn without knowing how wide it is."""

from __future__ import annotations

import math
from typing import Final

import plotly.graph_objects as go

from api.figures.labels import wrapped
from api.figures.style import CELL_COUNTS, FOOTNOTE, MARGIN, PANEL_TITLE

NARROW: Final = 2
"""Panels side by side up to which a screen is a telephone's."""

NARROW_LEGEND: Final = {"entrywidth": 0.5, "entrywidthmode": "fraction", "font": {"size": 10}}
"""Two columns."""

FOOTNOTE_ROOM: Final = 28
"""Pixels that a footnote of one line adds to the height of a figure."""

TIGHT_DECADES: Final = (1.2, 2.2)
"""Decades of an axis on which Plotly would label so many numbers that they touch."""

WIDE_DECADES: Final = (2.9, 4.0)
"""Decades of an axis on which Plotly would label every other one."""

TITLE_LENGTH: Final = 20
"""Characters of a title that fit above one of two panels; the last part of a longer one goes on a second line."""


def fit_to_screen(figure: go.Figure, columns: int | None) -> go.Figure:
    """Wrap the footnote; on a telephone also stack a row of panels and take fewer ticks and smaller text.

    Args:
        figure: changed in place.
        columns: panels that fit side by side; None for a wide screen.
    """
    narrow = columns is not None and columns <= NARROW
    if narrow:
        figure.update_layout(legend=NARROW_LEGEND)
        figure.for_each_xaxis(_take_fewer_ticks)
        figure.update_traces(xgap=0.5, selector={"type": "heatmap"})
        figure.update_traces(texttemplate="%{customdata}", selector={"name": CELL_COUNTS})
        _fit_panels(figure)
    for note in figure.select_annotations({"name": FOOTNOTE}):
        _wrap(figure, note, 44 if narrow else 140)
    return figure


def _take_fewer_ticks(axis: go.layout.XAxis) -> None:
    """At most three ticks or so; on a logarithmic axis of one to two decades 1 and 3 of each, where Plotly labels 2 and 5.

    Of three to four decades each is labelled: with three ticks it would be every other.
    """
    axis.update(nticks=min(axis.nticks or 3, 3))
    if axis.type != "log" or axis.tickvals is not None:
        return
    low, high = axis.range
    if WIDE_DECADES[0] < high - low < WIDE_DECADES[1]:
        axis.update(nticks=4)
    if TIGHT_DECADES[0] < high - low < TIGHT_DECADES[1]:
        decades = range(math.floor(low), math.ceil(high))
        axis.update(tickvals=[float(f"{m}e{e}") for e in decades for m in (1, 3)])


def _fit_panels(figure: go.Figure) -> None:
    """One row of panels becomes a stack; where several stay side by side, their titles get shorter lines."""
    layout, grid = figure.layout, figure.layout.grid
    if grid.rows == 1:
        panels, top = grid.columns, grid.domain.y[1]
        grid.update(rows=panels, columns=1, domain={"y": [0.0, 1 - (1 - top) / panels]})
        layout.height += (panels - 1) * (layout.height - MARGIN["t"] - MARGIN["b"])
    elif grid.columns == NARROW:
        for title in figure.select_annotations({"name": PANEL_TITLE}):
            lines = title.text.rsplit(" · ", 1) if len(title.text) > TITLE_LENGTH else [title.text]
            title.update(text="<br>".join(lines), font={"size": 9.5})


def _wrap(figure: go.Figure, note: go.layout.Annotation, width: int) -> None:
    note.text = wrapped(note.text, width)
    under = figure.layout.margin.b
    room = FOOTNOTE_ROOM + 15 * note.text.count("<br>")
    figure.update_layout(height=figure.layout.height + room, margin={"b": under + room})
    note.yshift = -under - 4
