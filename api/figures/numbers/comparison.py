"""A comparison in numbers: per strategy the excess loss at each share of the full grid, and how sure of it we are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator import amounts
from orchestrator.documents.strategies import StrategyScore
from orchestrator.strategies import STRATEGIES, ComparedStrategy, StrategyComparison

FLOOR: Final = 1e-5
"""The least excess loss shown, 0.001 %: a logarithmic axis has no zero, and recorded losses tell no less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One strategy.

    Attributes:
        strategy: which one; it has its colour by this.
        name: with the size of its batches, where that was set.
        what: what it runs, in a few words.
        shares: of the full grid's FLOPs, ascending.
        excess_losses: the mean at each share, `FLOOR` at least.
        low, high: one standard error below and above; the mean itself where it is not known.
        texts: what the pointer tells.
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
class ComparisonLines:
    """All strategies, and what they lie between.

    Attributes:
        middle: excess loss of the middle of the lattice, `FLOOR` at least.
        full_grid: that of the law of the full grid; None where there is none.
    """

    lines: tuple[Line, ...]
    middle: float
    full_grid: float | None

    @property
    def extremes(self) -> tuple[float, float]:
        """The least and the largest excess loss; bands may reach beyond."""
        marks = [self.middle] if self.full_grid is None else [self.middle, self.full_grid]
        shown = [*marks, *(lost for line in self.lines for lost in line.excess_losses)]
        return min(shown), max(shown)


def comparison_lines(comparison: StrategyComparison) -> ComparisonLines:
    """Turn scores into lines with a band of one standard error."""
    return ComparisonLines(
        lines=tuple(_line(contender, scores) for contender, scores in comparison.scores.items()),
        middle=max(FLOOR, comparison.middle),
        full_grid=None if comparison.full_grid is None else max(FLOOR, comparison.full_grid),
    )


def _line(contender: ComparedStrategy, scores: tuple[StrategyScore, ...]) -> Line:
    errors = [score.standard_error or 0.0 for score in scores]
    return Line(
        strategy=contender.strategy,
        name=contender.name,
        what=STRATEGIES[contender.strategy],
        shares=tuple(score.share for score in scores),
        excess_losses=tuple(max(FLOOR, score.excess_loss) for score in scores),
        low=tuple(max(FLOOR, score.excess_loss - error) for score, error in zip(scores, errors, strict=True)),
        high=tuple(
            max(FLOOR, score.excess_loss + error) for score, error in zip(scores, errors, strict=True)
        ),
        texts=tuple(_text(contender, score) for score in scores),
    )


def _text(contender: ComparedStrategy, score: StrategyScore) -> str:
    error = "" if score.standard_error is None else f" ± {amounts.percent(score.standard_error)}"
    return (
        f"{contender.name}: {STRATEGIES[contender.strategy]}"
        f"<br>excess loss {amounts.percent(score.excess_loss)}{error}"
        f"<br>{score.runs:.3g} runs, {amounts.percent(score.spent_share)} of the full grid's FLOPs"
    )
