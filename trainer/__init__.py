"""Trains grids of small proxy language models: many learning rates of one shape in one program."""

from trainer.data import Corpus, TokenFileStats, load_corpus
from trainer.exceptions import OldCheckpoint, TrainerError
from trainer.job import (
    CurveEvent,
    DivergedEvent,
    FinishedEvent,
    LensEvent,
    Member,
    TrainingEvent,
    TrainingJob,
)
from trainer.memory import stack_limit
from trainer.proxy_shape import Experts, Shape
from trainer.recipe import BaseScale, Parametrization, Recipe
from trainer.scaling_rules import rules_of
from trainer.schedule import Schedule
from trainer.training import Training

__all__ = [
    "BaseScale",
    "Corpus",
    "CurveEvent",
    "DivergedEvent",
    "Experts",
    "FinishedEvent",
    "LensEvent",
    "Member",
    "OldCheckpoint",
    "Parametrization",
    "Recipe",
    "Schedule",
    "Shape",
    "TokenFileStats",
    "TrainerError",
    "Training",
    "TrainingEvent",
    "TrainingJob",
    "load_corpus",
    "rules_of",
    "stack_limit",
]
