"""How figures look: one colour scale for N, one for D, one colour per state, fonts, axes; safe for colour-blind eyes.

Backgrounds are transparent and greys half transparent, so that one figure serves light and dark pages alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.labels import wrapped
from orchestrator.amounts import count_ticks, percent, percent_ticks, power_ticks, rate_ticks
from orchestrator.states import RunState

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
TEXT: Final = "#5c6675"
GRID: Final = "rgba(128,138,150,0.18)"
LINE: Final = "rgba(128,138,150,0.55)"
BAND: Final = "rgba(47,111,208,0.20)"
OUTER_BAND: Final = "rgba(47,111,208,0.09)"
UNTOUCHED: Final = "rgba(128,138,150,0.14)"
ACCENT: Final = "#2f6fd0"
TARGET: Final = "#d1495b"

STATE_COLOURS: Final[dict[RunState, str]] = {
    RunState.COMPLETED: "#2f6fd0",
    RunState.DIVERGED: "#d55e00",
    RunState.RUNNING: "#e0a100",
    RunState.PENDING: "#8fb3e8",
    RunState.PRUNED: "rgba(128,138,150,0.5)",
    RunState.FAILED: "#a23b9e",
    RunState.CANCELLED: "#6d7683",
}
"""One colour per state of a run, the same in every figure and on every page (after Okabe and Ito)."""

_STRATEGY_COLOURS: Final = {
    "law": ACCENT,
    "four": "#d55e00",
    "grid": "#1fa396",
    "random": "#6d7683",
    "tpe": "#a23b9e",
    "gp": "#e0a100",
}


def strategy_colour(strategy: str) -> str:
    """The colour of a strategy wherever strategies are compared."""
    return _STRATEGY_COLOURS[strategy]


_MODULE_COLOURS: Final = {
    "embedding": "#e0a100",
    "attention": "#2f6fd0",
    "feedforward": "#1fa396",
    "router": "#a23b9e",
    "head": "#d1495b",
}


def module_colour(module: str) -> str:
    """The colour of a part of the model wherever parts are compared."""
    return _MODULE_COLOURS[module]


# After viridis for N and plasma for D, of middle lightness: neither end vanishes on a dark or a light page.
_PARAMS_SCALE: Final = ("#5865c4", "#3a86c8", "#1fa396", "#4dbb6b", "#a3c52e")
_TOKENS_SCALE: Final = ("#8a5bd6", "#b44bbd", "#d9547f", "#ee7d52", "#e5a823")


def params_colours(sizes: Sequence[float]) -> dict[float, str]:
    """One colour per model size, from the smallest to the largest by ln N, neighbours told apart."""
    return _along(_PARAMS_SCALE, sizes)


def tokens_colours(horizons: Sequence[float]) -> dict[float, str]:
    """One colour per horizon, from the shortest to the longest by ln D, neighbours told apart."""
    return _along(_TOKENS_SCALE, horizons)


def _along(scale: tuple[str, ...], values: Sequence[float]) -> dict[float, str]:
    """Half by the logarithm and half by rank: values at even steps lie where both say, close ones do not fall together."""
    different = sorted(set(values))
    if len(different) < 2:
        return dict.fromkeys(different, scale[0])
    low, span, last = math.log(different[0]), math.log(different[-1] / different[0]), len(different) - 1
    return {
        value: _mix(scale, ((math.log(value) - low) / span + rank / last) / 2)
        for rank, value in enumerate(different)
    }


def _mix(scale: tuple[str, ...], share: float) -> str:
    place = share * (len(scale) - 1)
    index = min(int(place), len(scale) - 2)
    weight = place - index
    pairs = zip(_channels(scale[index]), _channels(scale[index + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * weight):02x}" for a, b in pairs)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def transparent(colour: str, opacity: float) -> str:
    """A colour of hexadecimal digits that lets through what lies under it."""
    return f"rgba({','.join(map(str, _channels(colour)))},{opacity})"


def canvas(height: int, **layout: Any) -> go.Figure:
    """An empty figure of a height in pixels, in the common style."""
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "autosize": True,
            "margin": {"l": 62, "r": 16, "t": 34, "b": 48},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": 12, "color": TEXT},
            "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
            "hovermode": "closest",
            "dragmode": "zoom",
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1,
                "yref": "container",
                "yanchor": "top",
                "traceorder": "normal",
                "font": {"size": 11},
            },
            **layout,
        }
    )


def empty(sentence: str, height: int = 220) -> go.Figure:
    """The figure that stands where there is nothing yet: what will appear here, and when."""
    figure = canvas(height, xaxis={"visible": False}, yaxis={"visible": False})
    return figure.add_annotation(
        text=wrapped(sentence, 46), showarrow=False, font={"size": 13}, align="center"
    )


def axis(title: str | None = None, **more: Any) -> dict[str, Any]:
    """A linear axis in the common style."""
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 12}} if title else None,
        "gridcolor": GRID,
        "linecolor": LINE,
        "showline": True,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": LINE,
        "automargin": True,
        **more,
    }


def rate_axis(
    low: float, high: float, title: str | None = None, *, most: int = 6, **more: Any
) -> dict[str, Any]:
    """A logarithmic axis of learning rates that reaches a little beyond low and high."""
    low, high = _padded(low, high)
    values, labels = rate_ticks(low, high, most)
    return _log_axis(low, high, values, labels, title, **more)


def count_axis(
    low: float, high: float, title: str | None = None, *, most: int = 6, **more: Any
) -> dict[str, Any]:
    """A logarithmic axis of parameters or tokens that reaches a little beyond low and high."""
    low, high = _padded(low, high)
    values, labels = count_ticks(low, high, most)
    return _log_axis(low, high, values, labels, title, **more)


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = max((high / low) ** 0.05, 1.08)
    return low / pad, high * pad


def _log_axis(
    low: float, high: float, values: list[float], labels: list[str], title: str | None, **more: Any
) -> dict[str, Any]:
    return axis(
        title,
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=values,
        ticktext=labels,
        **more,
    )


def power_axis(low: float, high: float, title: str | None = None, **more: Any) -> dict[str, Any]:
    """A logarithmic axis of FLOPs, with ticks such as 1e15."""
    low, high = _padded(low, high)
    values, labels = power_ticks(low, high)
    return _log_axis(low, high, values, labels, title, **more)


def percent_axis(
    low: float, high: float, title: str | None = None, *, ticks: Sequence[float] | None = None, **more: Any
) -> dict[str, Any]:
    """A logarithmic axis of fractions in per cent, with ticks where they are given, else at round numbers."""
    low, high = _padded(low, high)
    values, labels = (
        percent_ticks(low, high) if ticks is None else (list(ticks), [percent(tick) for tick in ticks])
    )
    return _log_axis(low, high, values, labels, title, **more)


def axis_domains(index: int, *, stacked: bool) -> tuple[list[float], list[float]]:
    """The x and y domains of the first or second of two panels, side by side or one under the other."""
    if stacked:
        return [0.0, 1.0], [[0.58, 1.0], [0.0, 0.42]][index]
    return [[0.0, 0.45], [0.55, 1.0]][index], [0.0, 1.0]


FOOTNOTE: Final = 24
"""Pixels that a footnote adds to the height of a figure."""


def is_narrow(columns: int | None) -> bool:
    """Whether a figure is as narrow as a telephone: panels go one under the other, words are short."""
    return columns is not None and columns <= 2


def for_width(figure: go.Figure, columns: int | None) -> None:
    """Arrange the legend for the width: in two columns on a telephone."""
    if is_narrow(columns):
        figure.update_layout(legend={"entrywidth": 0.5, "entrywidthmode": "fraction", "font": {"size": 10}})


def footnote(figure: go.Figure, text: str, columns: int | None) -> None:
    """Put a sentence under a figure, in lines as long as its width allows."""
    lines = wrapped(text, 44 if is_narrow(columns) else 140)
    under = figure.layout.margin.b
    room = FOOTNOTE + 14 * lines.count("<br>")
    figure.update_layout(height=figure.layout.height + room, margin={"b": under + room})
    figure.add_annotation(
        text=lines,
        x=0,
        y=0,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="top",
        yshift=-under - 4,
        align="left",
        showarrow=False,
        font={"size": 11},
    )
