"""Draws a lens: small panels over the steps, both axes logarithmic, each module in its own colour everywhere."""

from __future__ import annotations

import math
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.drawing.style import (
    ACCENT,
    LINE,
    STATE_COLOURS,
    TEXT,
    axis,
    canvas,
    count_axis,
    for_width,
    is_narrow,
    module_colour,
)
from api.figures.numbers.lenses import LensView, Line, Panel
from orchestrator.amounts import count, log_ticks
from orchestrator.states import RunState

PANEL: Final = 190
"""Height of a panel in pixels."""

GAP: Final = {True: 0.19, False: 0.07}
"""Between two panels, as a share of the figure's height on a telephone and of its width elsewhere."""


def draw_lens(view: LensView, columns: int | None = None) -> go.Figure:
    """Draw the panels in a row, or one under the other where there is little room.

    Args:
        view: with one panel or more.
        columns: as many panels fit side by side; None for a wide page.
    """
    narrow = is_narrow(columns)
    rows = len(view.panels) if narrow else 1
    figure = canvas(86 + (PANEL + 40) * rows if narrow else 130 + PANEL)
    for_width(figure, columns)
    figure.update_layout(margin={"t": 86 if narrow else 66, "b": 44, "l": 46})
    steps = [step for panel in view.panels for line in panel.lines for step in line.steps]
    low, high = min(steps), max(*steps, view.diverged or 1)
    named: set[str] = set()
    for index, panel in enumerate(view.panels):
        number = "" if index == 0 else str(index + 1)
        across, up = _place(index, len(view.panels), narrow=narrow)
        figure.update_layout(
            {
                f"xaxis{number}": count_axis(
                    low,
                    high,
                    "step" if not narrow or index == len(view.panels) - 1 else None,
                    most=5,
                    domain=across,
                    anchor=f"y{number}",
                ),
                f"yaxis{number}": {**_value_axis(panel), "domain": up, "anchor": f"x{number}"},
            }
        )
        figure.add_traces([_trace(line, number, named) for line in panel.lines])
        _mark(figure, panel, view, number)
    return figure


def _place(index: int, panels: int, *, narrow: bool) -> tuple[list[float], list[float]]:
    """The x and y domains of a panel."""
    gap = GAP[narrow] if panels > 1 else 0.0
    if narrow:
        gap = min(gap, 0.5 / panels)
    size = (1.0 - gap * (panels - 1)) / panels
    start = index * (size + gap)
    if narrow:
        return [0.0, 1.0], [1.0 - start - size, 1.0 - start]
    return [start, start + size], [0.0, 1.0]


def _value_axis(panel: Panel) -> dict[str, Any]:
    values = [value for line in panel.lines for value in line.values]
    values += [panel.threshold] if panel.threshold is not None else []
    low, high = min(values), max(values)
    pad = max((high / low) ** 0.06, 1.15)
    low, high = low / pad, high * pad
    ticks = log_ticks(low, high, 5)
    return axis(
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=ticks,
        ticktext=[
            f"{tick:g}" if 1e-3 <= tick < 1e5 else f"{tick:.0e}".replace("e-0", "e-").replace("e+0", "e")
            for tick in ticks
        ],
    )


def _trace(line: Line, number: str, named: set[str]) -> dict[str, Any]:
    """A line; the legend has each name once for all panels."""
    first = line.name not in named
    named.add(line.name)
    colour = (
        {"largest": LINE, "mean": ACCENT}.get(line.name)
        if line.module is None
        else module_colour(line.module)
    )
    return {
        "type": "scatter",
        "x": list(line.steps),
        "y": list(line.values),
        "customdata": [count(tokens) for tokens in line.tokens],
        "xaxis": f"x{number}",
        "yaxis": f"y{number}",
        "mode": "lines+markers",
        "line": {"color": colour, "width": 1.8},
        "marker": {"size": 3.5, "color": colour},
        "name": line.name,
        "legendgroup": line.name,
        "showlegend": first,
        "hovertemplate": f"{line.name} %{{y:.3g}}<br>step %{{x}}, %{{customdata}} tokens<extra></extra>",
    }


def _mark(figure: go.Figure, panel: Panel, view: LensView, number: str) -> None:
    """The panel's name, its threshold as a thin line, and the step at which the run was lost."""
    figure.add_annotation(
        text=panel.title,
        x=0,
        xref=f"x{number} domain",
        y=1,
        yref=f"y{number} domain",
        xanchor="left",
        yanchor="bottom",
        yshift=5,
        showarrow=False,
        font={"size": 12, "color": TEXT},
    )
    lost = STATE_COLOURS[RunState.DIVERGED]
    if panel.threshold is not None:
        figure.add_shape(
            type="line",
            x0=0,
            x1=1,
            xref=f"x{number} domain",
            y0=panel.threshold,
            y1=panel.threshold,
            yref=f"y{number}",
            line={"color": lost, "width": 1},
            opacity=0.7,
        )
    if view.diverged is not None:
        figure.add_shape(
            type="line",
            x0=view.diverged,
            x1=view.diverged,
            xref=f"x{number}",
            y0=0,
            y1=1,
            yref=f"y{number} domain",
            line={"color": lost, "width": 1.5, "dash": "dot"},
        )
