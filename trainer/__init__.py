"""Trains grids of small proxy language models: many learning rates of one shape in one program."""

from trainer.corpus import Corpus, Measured, load_corpus
from trainer.errors import (
    BadCheckpoint,
    BadCorpus,
    BadJob,
    BadRecipe,
    BadSchedule,
    BadShape,
    OldCheckpoint,
    TrainerError,
)
from trainer.events import Diverged, Event, Finished, Points, Seen
from trainer.parametrization import Base, Parametrization
from trainer.recipe import Recipe
from trainer.rules import Rule, Rules, rules_of
from trainer.schedule import Schedule, Timetable
from trainer.shape import Experts, Shape
from trainer.stack import stack_limit
from trainer.training import Job, Member, Training

__all__ = [
    "BadCheckpoint",
    "BadCorpus",
    "BadJob",
    "BadRecipe",
    "BadSchedule",
    "BadShape",
    "Base",
    "Corpus",
    "Diverged",
    "Event",
    "Experts",
    "Finished",
    "Job",
    "Measured",
    "Member",
    "OldCheckpoint",
    "Parametrization",
    "Points",
    "Recipe",
    "Rule",
    "Rules",
    "Schedule",
    "Seen",
    "Shape",
    "Timetable",
    "TrainerError",
    "Training",
    "load_corpus",
    "rules_of",
    "stack_limit",
]
