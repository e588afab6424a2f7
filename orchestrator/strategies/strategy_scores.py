"""Result of a comparison of strategies: the mean excess loss of each at each share, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Final

from orchestrator.amounts import flops
from orchestrator.documents.predictions import TargetDocument
from orchestrator.documents.strategies import (
    RecordedGrid,
    StrategiesDocument,
    StrategyDocument,
    StrategyScore,
)
from orchestrator.law.notices import Notice
from orchestrator.planner.opening import SPACED
from orchestrator.strategies.compared_strategies import ComparedStrategy
from orchestrator.strategies.recorded_world import RecordedWorld
from orchestrator.strategies.strategy_replay import Standing, StrategyReplay

SHARES: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
MOST_SHARES: Final = 5
"""Default shares of the full grid's FLOPs, and how many of them are used."""

TITLE: Final = "What strategies find, and what it costs"
"""Title of the figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyComparison:
    """The scores of all strategies.

    Attributes:
        scores: one score per strategy and share, both in the given order.
        replicates: number of worlds that each was replayed in.
        middle: mean excess loss of the middle of the lattice, which costs no run.
        full_grid: mean excess loss of the law of the full grid; None if the grid of a world gives no law.
    """

    scores: dict[ComparedStrategy, tuple[StrategyScore, ...]]
    replicates: int
    middle: float
    full_grid: float | None


def compared(worlds: Sequence[RecordedWorld], replays: Iterable[StrategyReplay]) -> StrategyComparison:
    """Average the replays in these worlds."""
    found: dict[ComparedStrategy, list[tuple[Standing, ...]]] = {}
    for replay in replays:
        found.setdefault(replay.contender, []).append(replay.standings)
    laws = [world.whole_law() for world in worlds]
    known = [
        _excess(world, world.answers(law)) for world, law in zip(worlds, laws, strict=True) if law is not None
    ]
    return StrategyComparison(
        scores={
            contender: tuple(_score(at) for at in zip(*standings, strict=True))
            for contender, standings in found.items()
        },
        replicates=len(worlds),
        middle=fmean(_excess(world, world.answers(None)) for world in worlds),
        full_grid=fmean(known) if len(known) == len(worlds) else None,
    )


def default_shares(world: RecordedWorld) -> tuple[float, ...]:
    """The first five of `SHARES` that pay for four runs in the cheapest cell."""
    opening = SPACED * min(cell.flops for cell in world.cells) / world.flops
    return tuple(share for share in SHARES if share >= opening)[:MOST_SHARES] or SHARES[-1:]


def note(comparison: StrategyComparison, world: RecordedWorld) -> str:
    """Sentences on the targets, the full grid and the replays."""
    others = comparison.replicates - 1
    missing = f", {others} of them without a tenth of the cells and rates" if others else ""
    replays = "1 replay" if comparison.replicates == 1 else f"{comparison.replicates} replays"
    return (
        f"Targets, never run: {world.aim}. The full grid of the others: {len(world.cells)} cells, "
        f"{world.runs} runs, {flops(world.flops)}. {replays} of each strategy{missing}."
    )


def strategies_document(
    comparison: StrategyComparison, world: RecordedWorld, *, picture: Path | None, notices: Sequence[Notice]
) -> StrategiesDocument:
    """The document of a comparison.

    Args:
        comparison: the scores.
        world: the recorded runs.
        picture: the file of its picture, if one was drawn.
        notices: about the run table.
    """
    return StrategiesDocument.of(
        targets=[TargetDocument.of(recorded.target) for recorded in world.targets],
        full_grid=RecordedGrid(cells=len(world.cells), runs=world.runs, flops=world.flops),
        replicates=comparison.replicates,
        excess_loss_without_runs=comparison.middle,
        excess_loss_of_full_grid=comparison.full_grid,
        strategies=[
            StrategyDocument(
                strategy=contender.strategy,
                scores=list(scores),
            )
            for contender, scores in comparison.scores.items()
        ],
        picture=None if picture is None else str(picture),
        notices=notices,
    )


def _excess(world: RecordedWorld, rates: Sequence[float]) -> float:
    return fmean(world.excess_losses(rates))


def _score(standings: Sequence[Standing]) -> StrategyScore:
    lost = [standing.excess_loss for standing in standings]
    return StrategyScore(
        share=standings[0].share,
        excess_loss=fmean(lost),
        standard_error=stdev(lost) / math.sqrt(len(lost)) if len(lost) > 1 else None,
        spent_share=fmean(standing.spent for standing in standings),
        runs=fmean(standing.runs for standing in standings),
    )
