"""Trains grids of small proxy language models: many learning rates of one shape in one program."""

from trainer.corpus import Corpus, Measured, load_corpus
from trainer.errors import (
    BadCheckpoint,
    BadCorpus,
    BadJob,
    BadRecipe,
    BadSchedule,
    BadShape,
    TrainerError,
)
from trainer.events import Diverged, Event, Finished, Points
from trainer.recipe import Recipe
from trainer.schedule import Schedule, Timetable
from trainer.shape import Shape
from trainer.stack import stack_limit
from trainer.training import Job, Member, Training

__all__ = [
    "BadCheckpoint",
    "BadCorpus",
    "BadJob",
    "BadRecipe",
    "BadSchedule",
    "BadShape",
    "Corpus",
    "Diverged",
    "Event",
    "Finished",
    "Job",
    "Measured",
    "Member",
    "Points",
    "Recipe",
    "Schedule",
    "Shape",
    "Timetable",
    "TrainerError",
    "Training",
    "load_corpus",
    "stack_limit",
]
