"""The two lenses in numbers: small panels of what is drawn, each with its lines and its threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.lenses import ATTENTION_LOGIT, MODULES, OUTPUT_LOGIT, UPDATE
from orchestrator.store.records import LensPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One number over the steps.

    Attributes:
        name: what it is called in the panel.
        module: whose it is, which gives the colour; None for the whole model's.
        steps, tokens, values: ascending in steps, equally long; all values positive.
    """

    name: str
    module: str | None
    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Some numbers of one kind.

    Attributes:
        title: what they are.
        lines: those that were recorded.
        threshold: above which they are a symptom; None where there is no such bound.
    """

    title: str
    lines: tuple[Line, ...]
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LensView:
    """One lens.

    Attributes:
        panels: with something to show.
        diverged: the step at which the run was lost; None if it was not.
        spikes: spikes of the loss in all; None where the lens does not count them.
    """

    panels: tuple[Panel, ...]
    diverged: int | None
    spikes: int | None = None


def stability(points: Sequence[LensPoint], diverged: int | None = None) -> LensView:
    """Gradient norm, attention logits, output logits and the load of experts, over the steps.

    Args:
        points: of one run, by step.
        diverged: the step at which it was lost.
    """
    panels = (
        Panel(
            title="gradient norm",
            lines=_lines(points, (("largest", None, "gradient_norm_max"), ("mean", None, "gradient_norm"))),
        ),
        Panel(
            title="largest attention logit",
            lines=_lines(points, (("attention", "attention", "attention_logit"),)),
            threshold=ATTENTION_LOGIT,
        ),
        Panel(
            title="RMS of the output logits",
            lines=_lines(points, (("head", "head", "head.activation"),)),
            threshold=OUTPUT_LOGIT,
        ),
        Panel(
            title="busiest expert over the mean",
            lines=_lines(points, (("router", "router", "expert_imbalance"),)),
        ),
    )
    return LensView(
        panels=tuple(panel for panel in panels if panel.lines),
        diverged=diverged,
        spikes=int(sum(point.values.get("loss_spikes", 0.0) for point in points)),
    )


def feature_learning(points: Sequence[LensPoint], diverged: int | None = None) -> LensView:
    """Activations, their change by one update, and the update itself, by module; arguments as `stability`."""
    panels = [
        Panel(
            title=title,
            lines=_lines(points, tuple((module, module, f"{module}.{kind}") for module in MODULES)),
            threshold=threshold,
        )
        for title, kind, threshold in (
            ("RMS of activations", "activation", None),
            ("their change by one update", "change", None),
            ("update over weights", "update", UPDATE),
        )
    ]
    return LensView(panels=tuple(panel for panel in panels if panel.lines), diverged=diverged)


def _lines(points: Sequence[LensPoint], wanted: Sequence[tuple[str, str | None, str]]) -> tuple[Line, ...]:
    found = []
    for name, module, value in wanted:
        known = [
            (point.step, point.tokens, point.values[value])
            for point in points
            if math.isfinite(point.values.get(value, math.nan)) and point.values[value] > 0
        ]
        if known:
            steps, tokens, values = zip(*known, strict=True)
            found.append(Line(name=name, module=module, steps=steps, tokens=tokens, values=values))
    return tuple(found)
