"""Strategies compared: excess loss at unseen targets against the share of the full grid's FLOPs, a line per strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.style import (
    PERCENT,
    STRATEGY_COLOURS,
    canvas,
    footnote,
    level_line,
    log_axis,
    transparent,
)
from api.figures.traces import band_trace, marks_trace
from orchestrator import amounts
from orchestrator.documents.strategies import StrategyScore
from orchestrator.strategies.compared_strategies import STRATEGIES, ComparedStrategy
from orchestrator.strategies.strategy_scores import StrategyComparison

FLOOR: Final = 1e-5
"""The least excess loss shown, 0.001 %: a logarithmic axis has no zero, and recorded losses resolve no less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyLine:
    """One strategy.

    Attributes:
        strategy: its key, which its colour depends on.
        name: with the size of its batches, if set.
        what: what it runs, in a few words.
        shares: of the full grid's FLOPs, ascending.
        excess_losses: the mean at each share, `FLOOR` at least.
        low, high: one standard error below and above; the mean itself if it is unknown.
        texts: hover texts.
    """

    strategy: str
    name: str
    what: str
    shares: tuple[float, ...]
    excess_losses: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyLines:
    """All strategies, and the excess losses between which they lie.

    Attributes:
        middle: of the middle of the lattice, `FLOOR` at least.
        full_grid: of the law of the full grid; None without one.
    """

    lines: tuple[StrategyLine, ...]
    middle: float
    full_grid: float | None

    @property
    def extremes(self) -> tuple[float, float]:
        """The least and the largest excess loss; bands may reach further."""
        marks = [self.middle] if self.full_grid is None else [self.middle, self.full_grid]
        shown = [*marks, *(lost for line in self.lines for lost in line.excess_losses)]
        return min(shown), max(shown)


def strategy_lines(comparison: StrategyComparison) -> StrategyLines:
    """Turn scores into lines with a band of one standard error."""
    return StrategyLines(
        lines=tuple(_line(contender, scores) for contender, scores in comparison.scores.items()),
        middle=max(FLOOR, comparison.middle),
        full_grid=None if comparison.full_grid is None else max(FLOOR, comparison.full_grid),
    )


def _line(contender: ComparedStrategy, scores: tuple[StrategyScore, ...]) -> StrategyLine:
    def losses(sign: int) -> tuple[float, ...]:
        return tuple(max(FLOOR, score.excess_loss + sign * (score.standard_error or 0.0)) for score in scores)

    return StrategyLine(
        strategy=contender.strategy,
        name=contender.name,
        what=STRATEGIES[contender.strategy],
        shares=tuple(score.share for score in scores),
        excess_losses=losses(0),
        low=losses(-1),
        high=losses(1),
        texts=tuple(_text(contender, score) for score in scores),
    )


def _text(contender: ComparedStrategy, score: StrategyScore) -> str:
    error = "" if score.standard_error is None else f" ± {amounts.percent(score.standard_error)}"
    return (
        f"{contender.name}: {STRATEGIES[contender.strategy]}"
        f"<br>excess loss {amounts.percent(score.excess_loss)}{error}"
        f"<br>{score.runs:.3g} runs, {amounts.percent(score.spent_share)} of the full grid's FLOPs"
    )


def draw_strategies(view: StrategyLines, note: str) -> go.Figure:
    """Draw all strategies in one panel; below it ``note`` and what each strategy runs."""
    shares = sorted({share for line in view.lines for share in line.shares})
    figure = canvas(
        460,
        showlegend=True,
        xaxis=log_axis(
            shares[0],
            shares[-1],
            "share of the full grid's FLOPs",
            ticks={**PERCENT, "tickvals": shares},
            showgrid=False,
        ),
        yaxis=log_axis(*view.extremes, "excess loss at the targets", ticks=PERCENT, most=6),
    )
    figure.add_traces([_band(line) for line in view.lines])
    figure.add_traces([_means(line) for line in view.lines])
    figure.add_shape(level_line(view.middle, "no run: the middle of the lattice"))
    if view.full_grid is not None:
        figure.add_shape(level_line(view.full_grid, "every run: the law of the full grid", below=True))
    explained = "; ".join(f"{line.name}: {line.what}" for line in view.lines)
    footnote(figure, f"{note} Bands: ± one standard error. {explained}.")
    return figure


def _band(line: StrategyLine) -> dict[str, Any]:
    colour = transparent(STRATEGY_COLOURS[line.strategy], 0.14)
    return band_trace(
        line.name, line.shares, line.low, line.high, colour, legendgroup=line.name, showlegend=False
    )


def _means(line: StrategyLine) -> dict[str, Any]:
    look = {"color": STRATEGY_COLOURS[line.strategy], "width": 2}
    return marks_trace(
        line.name,
        line.shares,
        line.excess_losses,
        line.texts,
        {"size": 7},
        mode="lines+markers",
        line=look,
        legendgroup=line.name,
    )
