"""The two lenses on a run: small panels over the steps, both axes logarithmic, one colour per module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.style import (
    COUNTS,
    LINE,
    MODULE_COLOURS,
    PLAIN,
    STATE_COLOURS,
    TEXT,
    axis_number,
    canvas,
    log_axis,
    panel_grid,
    panel_title,
)
from orchestrator.amounts import count
from orchestrator.lenses import ATTENTION_LOGIT, MODULES, OUTPUT_LOGIT, UPDATE
from orchestrator.states import RunState
from orchestrator.store.records import LensPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LensLine:
    """One value over the steps.

    Attributes:
        name: in the legend.
        module: the module that it belongs to; None for the whole model.
        steps, tokens, values: ascending in steps, equally long; all values positive.
    """

    name: str
    module: str | None
    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LensPanel:
    """Some values of one kind.

    Attributes:
        title: what they are.
        lines: those recorded.
        threshold: values above it are a symptom; None without such a bound.
    """

    title: str
    lines: tuple[LensLine, ...]
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LensView:
    """One lens.

    Attributes:
        panels: those with data.
        diverged: the step at which the run diverged; None if it did not.
    """

    panels: tuple[LensPanel, ...]
    diverged: int | None


Wanted = tuple[tuple[str, str | None, str], ...]
"""The lines of a panel: name in the legend, module, recorded value."""

STABILITY: Final[tuple[tuple[str, float | None, Wanted], ...]] = (
    ("gradient norm", None, (("largest", None, "gradient_norm_max"), ("mean", None, "gradient_norm"))),
    ("largest attention logit", ATTENTION_LOGIT, (("attention", "attention", "attention_logit"),)),
    ("RMS of the output logits", OUTPUT_LOGIT, (("head", "head", "head.activation"),)),
    ("busiest expert over the mean", None, (("router", "router", "expert_imbalance"),)),
)
"""Panels by title, with threshold and lines."""

FEATURES: Final[tuple[tuple[str, float | None, Wanted], ...]] = tuple(
    (title, threshold, tuple((module, module, f"{module}.{kind}") for module in MODULES))
    for title, threshold, kind in (
        ("RMS of activations", None, "activation"),
        ("their change by one update", None, "change"),
        ("update over weights", UPDATE, "update"),
    )
)


def stability(points: Sequence[LensPoint], diverged: int | None = None) -> LensView:
    """Gradient norm, attention logits, output logits and the load of experts, over the steps.

    Args:
        points: of one run, by step.
        diverged: the step at which it diverged.
    """
    return _view(STABILITY, points, diverged)


def feature_learning(points: Sequence[LensPoint], diverged: int | None = None) -> LensView:
    """Activations, their change by one update, and the update itself, by module; arguments as `stability`."""
    return _view(FEATURES, points, diverged)


def _view(
    wanted: Sequence[tuple[str, float | None, Wanted]], points: Sequence[LensPoint], diverged: int | None
) -> LensView:
    panels = (
        LensPanel(title=title, threshold=threshold, lines=_lines(points, lines))
        for title, threshold, lines in wanted
    )
    return LensView(panels=tuple(panel for panel in panels if panel.lines), diverged=diverged)


def _lines(points: Sequence[LensPoint], wanted: Wanted) -> tuple[LensLine, ...]:
    found = []
    for name, module, value in wanted:
        known = [
            (point.step, point.tokens, point.values[value])
            for point in points
            if math.isfinite(point.values.get(value, math.nan)) and point.values[value] > 0
        ]
        if known:
            steps, tokens, values = zip(*known, strict=True)
            found.append(LensLine(name=name, module=module, steps=steps, tokens=tokens, values=values))
    return tuple(found)


WHOLE: Final = {"largest": LINE, "mean": TEXT}
"""Colours of the lines of the whole model."""


def draw_lens(view: LensView) -> go.Figure:
    """Draw the panels, one or more, in a row."""
    panels = len(view.panels)
    figure = canvas(320, grid=panel_grid(panels, panels, xgap=0.15, head=0.1))
    steps = [step for panel in view.panels for line in panel.lines for step in line.steps]
    named: set[str] = set()
    for index, panel in enumerate(view.panels):
        number = axis_number(index)
        values = [value for line in panel.lines for value in line.values]
        values += [panel.threshold] if panel.threshold is not None else []
        figure.layout[f"xaxis{number}"] = log_axis(
            min(steps), max(*steps, view.diverged or 1), "step", ticks=COUNTS, most=4
        )
        figure.layout[f"yaxis{number}"] = log_axis(min(values), max(values), ticks=PLAIN)
        figure.add_traces([_trace(line, number, named) for line in panel.lines])
        _mark(figure, panel, view, number)
    return figure


def _trace(line: LensLine, number: str, named: set[str]) -> dict[str, Any]:
    """A line; the legend has each name once for all panels."""
    first = line.name not in named
    named.add(line.name)
    colour = WHOLE[line.name] if line.module is None else MODULE_COLOURS[line.module]
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


def _mark(figure: go.Figure, panel: LensPanel, view: LensView, number: str) -> None:
    """The panel's title, its threshold as a thin line, and the step of a divergence as a dotted one."""
    figure.add_annotation(panel_title(panel.title, number))
    axes = {"xref": f"x{number}", "yref": f"y{number}"}
    lost = STATE_COLOURS[RunState.DIVERGED]
    if panel.threshold is not None:
        figure.add_hline(panel.threshold, line={"color": lost, "width": 1}, opacity=0.7, **axes)
    if view.diverged is not None:
        figure.add_vline(view.diverged, line={"color": lost, "width": 1.5, "dash": "dot"}, **axes)
