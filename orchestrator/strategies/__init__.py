"""Strategies compared on recorded runs: the excess loss of each in cells that it may not run, by the FLOPs it spent."""

from orchestrator.strategies.compared_strategies import STRATEGIES, ComparedStrategy
from orchestrator.strategies.recorded_world import RecordedTarget, RecordedWorld, recorded_world
from orchestrator.strategies.strategy_replay import Standing, StrategyReplay, replay, replays
from orchestrator.strategies.strategy_scores import (
    TITLE,
    StrategyComparison,
    compared,
    default_shares,
    note,
    strategies_document,
)

__all__ = [
    "STRATEGIES",
    "TITLE",
    "ComparedStrategy",
    "RecordedTarget",
    "RecordedWorld",
    "Standing",
    "StrategyComparison",
    "StrategyReplay",
    "compared",
    "default_shares",
    "note",
    "recorded_world",
    "replay",
    "replays",
    "strategies_document",
]
