"""Strategies compared on recorded runs: how well each knows cells that it never saw, for what it spent."""

from orchestrator.strategies.contenders import STRATEGIES, Contender
from orchestrator.strategies.replay import Replay, Standing, replay, replays
from orchestrator.strategies.scores import (
    TITLE,
    Comparison,
    Score,
    compared,
    default_shares,
    note,
    strategies_document,
)
from orchestrator.strategies.world import RecordedTarget, World, world_of

__all__ = [
    "STRATEGIES",
    "TITLE",
    "Comparison",
    "Contender",
    "RecordedTarget",
    "Replay",
    "Score",
    "Standing",
    "World",
    "compared",
    "default_shares",
    "note",
    "replay",
    "replays",
    "strategies_document",
    "world_of",
]
