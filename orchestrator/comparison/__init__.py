"""Strategies compared on recorded runs: how well each knows cells that it never saw, for what it spent."""

from orchestrator.comparison.contenders import STRATEGIES, Contender
from orchestrator.comparison.replay import Replay, Standing, replay, replays
from orchestrator.comparison.scores import Comparison, Score, compared, default_shares
from orchestrator.comparison.world import RecordedTarget, World, world_of

__all__ = [
    "STRATEGIES",
    "Comparison",
    "Contender",
    "RecordedTarget",
    "Replay",
    "Score",
    "Standing",
    "World",
    "compared",
    "default_shares",
    "replay",
    "replays",
    "world_of",
]
