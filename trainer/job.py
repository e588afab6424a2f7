"""What a training is asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import get_args

from trainer.corpus import Corpus
from trainer.errors import BadJob
from trainer.recipe import Recipe
from trainer.rules import Module, rules_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One learning rate of the grid and the horizons wanted of it.

    Attributes:
        learning_rate: Peak rate, above 0; in units of the base where the recipe has one.
        horizons: Tokens of each run, ascending; only those wanted now.
        module_rates: Factors of modules on the rate; 1 where left out.

    Raises:
        BadJob: The rate is no positive number, or the horizons are missing or not ascending.
    """

    learning_rate: float
    horizons: tuple[int, ...]
    module_rates: Mapping[Module, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (isfinite(self.learning_rate) and self.learning_rate > 0.0):
            raise BadJob(f"job: learning_rate is {self.learning_rate}; allowed: a positive, finite number")
        if not self.horizons or list(self.horizons) != sorted(set(self.horizons)):
            raise BadJob(f"job: horizons are {self.horizons}; allowed: one or more, ascending")
        for module, factor in self.module_rates.items():
            if module not in get_args(Module):
                raise BadJob(f"job: module_rates has {module!r}; allowed: {', '.join(get_args(Module))}")
            if not (isfinite(factor) and factor > 0.0):
                raise BadJob(f"job: module_rates.{module} is {factor}; allowed: a positive, finite number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Some members of one recipe, to be trained as one stack.

    Attributes:
        recipe: What they share.
        members: The grid.

    Raises:
        BadRecipe: The recipe cannot be compared with the base of its parametrization.
        BadJob: There is no member, or two horizons of one member are the same number of steps.
        BadSchedule: A horizon has no room for the warm-up before its decay.
    """

    recipe: Recipe
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise BadJob("job: no members; give at least one learning rate")
        rules_of(self.recipe)
        timetable = self.recipe.timetable
        for member in self.members:
            if self.recipe.tokens is not None and member.horizons != (self.recipe.tokens,):
                raise BadJob(
                    f"job: horizons are {member.horizons}; allowed: {self.recipe.tokens}, which the recipe's rates are for"
                )
            timetable.fork(member.horizons[0])  # the shortest has the least room
            ends = [timetable.end(horizon) for horizon in member.horizons]
            if len(set(ends)) < len(ends):
                raise BadJob(
                    f"job: horizons {member.horizons} are less than a batch of {self.recipe.batch_tokens} tokens apart"
                )

    def check_corpus(self, corpus: Corpus) -> None:
        """Refuses a corpus that this job's model cannot read.

        Raises:
            BadJob: The vocabularies differ.
        """
        if corpus.vocab_size != self.recipe.shape.vocab_size:
            raise BadJob(
                f"job: the shape's vocab_size is {self.recipe.shape.vocab_size}, "
                f"but corpus {corpus.name!r} has {corpus.vocab_size}; make them equal"
            )
