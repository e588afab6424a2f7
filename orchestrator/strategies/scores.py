"""What a comparison found: per strategy the mean excess loss at each share, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final

from orchestrator.amounts import flops
from orchestrator.planner.opening import SPACED
from orchestrator.strategies.contenders import Contender
from orchestrator.strategies.replay import Replay, Standing
from orchestrator.strategies.world import World

SHARES: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
MOST_SHARES: Final = 5
"""Shares of the full grid's FLOPs that are judged unless others are asked for, and how many of them."""

TITLE: Final = "What strategies find, and what it costs"
"""Heads the picture of a comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One strategy at one share, over all replicates.

    Attributes:
        share: of the full grid's FLOPs, that it might spend.
        excess_loss: mean over targets and replicates (0.001 is 0.1 %).
        standard_error: of that mean over the replicates; None with a single one.
        spent: mean share that it spent.
        runs: mean number of runs that it made.
    """

    share: float
    excess_loss: float
    standard_error: float | None
    spent: float
    runs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What strategies found for what they spent.

    Attributes:
        scores: per contender one score per share, both in the order they were asked for.
        replicates: how many worlds each was replayed in.
        middle: mean excess loss of the middle of the lattice, which costs no run.
        full_grid: mean excess loss of the law of the full grid; None where a world's grid gives no law.
    """

    scores: dict[Contender, tuple[Score, ...]]
    replicates: int
    middle: float
    full_grid: float | None


def compared(worlds: Sequence[World], replays: Iterable[Replay]) -> Comparison:
    """Add up the replays of these worlds."""
    found: dict[Contender, list[tuple[Standing, ...]]] = {}
    for replay in replays:
        found.setdefault(replay.contender, []).append(replay.standings)
    laws = [world.whole_law() for world in worlds]
    known = [
        _excess(world, world.answers(law)) for world, law in zip(worlds, laws, strict=True) if law is not None
    ]
    return Comparison(
        scores={
            contender: tuple(_score(at) for at in zip(*standings, strict=True))
            for contender, standings in found.items()
        },
        replicates=len(worlds),
        middle=fmean(_excess(world, world.answers(None)) for world in worlds),
        full_grid=fmean(known) if len(known) == len(worlds) else None,
    )


def default_shares(world: World) -> tuple[float, ...]:
    """Shares to judge at: the first of `SHARES` that pay for four runs of the cheapest cell, five at most."""
    opening = SPACED * min(cell.flops for cell in world.cells) / world.flops
    return tuple(share for share in SHARES if share >= opening)[:MOST_SHARES] or SHARES[-1:]


def note(comparison: Comparison, world: World) -> str:
    """What was compared, in sentences."""
    others = comparison.replicates - 1
    missing = f", {others} of them without a tenth of the cells and rates" if others else ""
    replays = "1 replay" if comparison.replicates == 1 else f"{comparison.replicates} replays"
    return (
        f"Targets, never run: {world.aim}. The full grid of the others: {len(world.cells)} cells, "
        f"{world.runs} runs, {flops(world.flops)}. {replays} of each strategy{missing}."
    )


def _excess(world: World, rates: Sequence[float]) -> float:
    return fmean(world.excess_losses(rates))


def _score(standings: Sequence[Standing]) -> Score:
    lost = [standing.excess_loss for standing in standings]
    return Score(
        share=standings[0].share,
        excess_loss=fmean(lost),
        standard_error=stdev(lost) / math.sqrt(len(lost)) if len(lost) > 1 else None,
        spent=fmean(standing.spent for standing in standings),
        runs=fmean(standing.runs for standing in standings),
    )
