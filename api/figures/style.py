"""The look of figures: one colour scale for N, one for D, one colour per state, fonts, axes; safe for colour-blind readers.

Backgrounds are transparent and greys half transparent, so that one figure serves light and dark pages alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.labels import wrapped
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
STAR: Final = {"symbol": "star", "size": 14, "color": TARGET}
"""The mark of the target."""

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

STRATEGY_COLOURS: Final = {
    "law": ACCENT,
    "four": "#d55e00",
    "grid": "#1fa396",
    "random": "#6d7683",
    "tpe": "#a23b9e",
    "gp": "#e0a100",
}
"""One colour per strategy of `etalon compare`."""

MODULE_COLOURS: Final = {
    "embedding": "#e0a100",
    "attention": "#2f6fd0",
    "feedforward": "#1fa396",
    "router": "#a23b9e",
    "head": "#d1495b",
}
"""One colour per part of the model."""

# After viridis for N and plasma for D, of middle lightness: neither end vanishes on a dark or a light page.
_PARAMS_SCALE: Final = ("#5865c4", "#3a86c8", "#1fa396", "#4dbb6b", "#a3c52e")
_TOKENS_SCALE: Final = ("#8a5bd6", "#b44bbd", "#d9547f", "#ee7d52", "#e5a823")


def params_colours(sizes: Sequence[float]) -> dict[float, str]:
    """One colour per model size, from the smallest to the largest by ln N; neighbours differ visibly."""
    return _along(_PARAMS_SCALE, sizes)


def tokens_colours(horizons: Sequence[float]) -> dict[float, str]:
    """One colour per horizon, from the shortest to the longest by ln D; neighbours differ visibly."""
    return _along(_TOKENS_SCALE, horizons)


def _along(scale: tuple[str, ...], values: Sequence[float]) -> dict[float, str]:
    """Place values half by logarithm and half by rank, so that close values keep different colours."""
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
    """A hexadecimal colour with an opacity from 0 to 1."""
    return f"rgba({','.join(map(str, _channels(colour)))},{opacity})"


MARGIN: Final = {"l": 62, "r": 16, "t": 24, "b": 48}
"""Pixels around the panels."""


def canvas(height: int, **layout: Any) -> go.Figure:
    """An empty figure of a height in pixels, in the common style; the legend makes its own room at the top."""
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "autosize": True,
            "margin": MARGIN,
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
    """A figure without data: a sentence on what will appear, and when."""
    hidden = {"visible": False}
    figure = canvas(height, xaxis=hidden, yaxis=hidden, margin={**MARGIN, "l": MARGIN["r"]})
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


RATES: Final = {"tickformat": "~e"}
"""Ticks of learning rates: 1e-3."""

FLOPS: Final = {"tickformat": "~e", "tickangle": 0}
"""Ticks of FLOPs: 1e+19."""

COUNTS: Final = {"tickformat": "~s"}
"""Ticks of parameters, tokens and steps: 50k, 1B."""

_BILLIONS: Final = {f"{m * e:g}G": f"{m * e:g}B" for e in (0.1, 1, 10) for m in range(10, 100)}
"""Corrections of the labels: the format ``s`` writes giga for billions."""

THIRDS: Final = {"tickvals": [float(f"{m}e{e}") for e in range(-7, 2) for m in (1, 3)]}
"""Ticks at 1 and 3 of each decade, for a narrow panel."""

PERCENT: Final = {"tickformat": "~%"}
"""Ticks of fractions: 0.1%."""

PLAIN: Final = {"tickformat": "~g"}
"""Ticks of other numbers: 0.01, 2.5."""


def log_axis(
    low: float, high: float, title: str | None = None, *, ticks: dict[str, Any], most: int = 5, **more: Any
) -> dict[str, Any]:
    """A logarithmic axis that reaches a little beyond low and high.

    Plotly labels round numbers on an axis shorter than a decade, 1, 2 and 5 of each decade on a longer one, and
    decades alone on one longer than 0.7 · ``most``.

    Args:
        low: the least value, positive.
        high: the largest.
        title: None for an axis without one.
        ticks: how ticks are written, such as `RATES`.
        most: half the labels that the axis has room for.
        more: further settings of the axis.
    """
    pad = max((high / low) ** 0.05, 1.08)
    low, high = math.log10(low / pad), math.log10(high * pad)
    # With more than this per decade Plotly would label every digit.
    nticks = most - 1 if high - low < 1 else max(2, min(most, int((high - low) / 0.31)))
    if ticks is COUNTS and high >= 9:
        more = {"labelalias": _BILLIONS, **more}
    return axis(
        title, **{"type": "log", "range": [low, high], "nticks": nticks, "minor": _MINOR, **ticks, **more}
    )


_MINOR: Final = {"dtick": "D1", "ticks": "outside", "ticklen": 2, "tickcolor": LINE}
"""An unlabelled tick at every digit."""


def panel_grid(
    panels: int, columns: int, *, xgap: float = 0.18, ygap: float = 0.28, head: float = 0.0
) -> dict[str, Any]:
    """The layout's grid of panels, each with its own axes x, y; x2, y2; … in reading order.

    Args:
        panels: how many.
        columns: in a row.
        xgap: between panels, as a share of the distance from one panel to the next.
        ygap: likewise.
        head: share of the height left free above the first row, for the titles of its panels.
    """
    return {
        "rows": math.ceil(panels / columns),
        "columns": columns,
        "pattern": "independent",
        "xgap": xgap,
        "ygap": ygap,
        "domain": {"y": [0.0, 1.0 - head]},
    }


def axis_number(index: int) -> str:
    """The number in the names of a panel's axes: empty for the first panel, 2 for the second."""
    return "" if index == 0 else str(index + 1)


FOOTNOTE: Final = "footnote"
PANEL_TITLE: Final = "panel title"
CELL_COUNTS: Final = "counts"
"""Names of text that ``api.figures.screen`` fits to the screen; the short form of counts is their ``customdata``."""


def footnote(figure: go.Figure, text: str) -> None:
    """Put a sentence under a figure."""
    figure.add_annotation(
        name=FOOTNOTE,
        text=text,
        x=0,
        y=0,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="top",
        align="left",
        showarrow=False,
        font={"size": 11},
    )


def level_line(
    at: float, text: str, colour: str = LINE, *, number: str = "", below: bool = False
) -> dict[str, Any]:
    """A dotted horizontal line across a panel, labelled at its right end."""
    return {
        "type": "line",
        "xref": f"x{number} domain",
        "yref": f"y{number}",
        "x0": 0,
        "x1": 1,
        "y0": at,
        "y1": at,
        "line": {"color": colour, "dash": "dot", "width": 1.5},
        "label": {
            "text": text,
            "textposition": "end",
            "yanchor": "top" if below else "bottom",
            "font": {"size": 10},
        },
    }


def error_bars(values: Sequence[float], ends: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Bars from the lower to the upper end of an interval around each value."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, (_, high) in zip(values, ends, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, ends, strict=True)],
        "color": LINE,
        "thickness": 1.2,
        "width": 0,
    }


def panel_title(text: str, number: str) -> dict[str, Any]:
    """An annotation above the upper left corner of the panel whose axes have this number."""
    return {
        "name": PANEL_TITLE,
        "text": text,
        "x": 0,
        "y": 1,
        "xref": f"x{number} domain",
        "yref": f"y{number} domain",
        "xanchor": "left",
        "yanchor": "bottom",
        "yshift": 3,
        "showarrow": False,
        "align": "left",
        "font": {"size": 11},
    }
