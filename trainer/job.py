"""Input and output of a training: the job, and the events that report its progress."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import get_args

from trainer.data import Corpus
from trainer.exceptions import BadJob
from trainer.recipe import Recipe
from trainer.scaling_rules import Module, rules_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One learning rate of the grid, with the horizons to train it to.

    Attributes:
        learning_rate: Peak rate, above 0; with `mup` that of the base.
        horizons: Tokens of each run, ascending.
        module_rates: Factors on the rate by module; 1 for those left out.

    Raises:
        BadJob: A rate is not a positive number, or the horizons are missing or not ascending.
    """

    learning_rate: float
    horizons: tuple[int, ...]
    module_rates: Mapping[Module, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rates = {"learning_rate": self.learning_rate}
        rates |= {f"module_rates.{module}": factor for module, factor in self.module_rates.items()}
        for name, rate in rates.items():
            BadJob.unless(isfinite(rate) and rate > 0.0, f"job: {name}", rate, "a positive, finite number")
        ascending = bool(self.horizons) and list(self.horizons) == sorted(set(self.horizons))
        BadJob.unless(ascending, "job: horizons", self.horizons, "one or more, ascending")
        for module in self.module_rates:
            modules = get_args(Module)
            BadJob.unless(module in modules, "job: module_rates", module, ", ".join(modules))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """Members of one recipe that are trained as one stack.

    Attributes:
        recipe: Common to all members.
        members: At least one.

    Raises:
        BadRecipe: The recipe cannot be compared with the base of its parametrization.
        BadJob: There is no member, or two horizons of one member are the same number of steps.
        BadSchedule: A horizon is too short for the warm-up and the decay.
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
                    f"job: horizons are {member.horizons}; allowed: {self.recipe.tokens}, the horizon that the "
                    "recipe's rates are scaled for"
                )
            timetable.fork(member.horizons[0])  # Raises if the shortest horizon is too short.
            ends = [timetable.end(horizon) for horizon in member.horizons]
            if len(set(ends)) < len(ends):
                raise BadJob(
                    f"job: horizons {member.horizons} are less than a batch of {self.recipe.batch_tokens} tokens apart"
                )

    def check_corpus(self, corpus: Corpus) -> None:
        """Checks that the corpus has the vocabulary of the shape.

        Raises:
            BadJob: The vocabularies differ.
        """
        if corpus.vocab_size != self.recipe.shape.vocab_size:
            raise BadJob(
                f"job: the shape's vocab_size is {self.recipe.shape.vocab_size}, "
                f"but corpus {corpus.name!r} has {corpus.vocab_size}; make them equal"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveEvent:
    """Consecutive points of one member's learning curve.

    Attributes:
        member: Index in the job.
        horizon: Tokens of the decay branch, or None for the trunk.
        steps: Updates made at the end of each logging interval, ascending.
        tokens: Tokens seen by then.
        losses: Mean training loss over each interval, in nats per token; intervals without a finite mean are left out.
    """

    member: int
    horizon: int | None
    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LensEvent:
    """The lenses' measurements of one member after one update.

    Attributes:
        member: Index in the job.
        horizon: Tokens of the decay branch, or None for the trunk.
        step: Updates made by then.
        tokens: Tokens seen by then.
        values: By name (table in `trainer.lens`), to five digits; infinite or NaN if they overflowed float32.
    """

    member: int
    horizon: int | None
    step: int
    tokens: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedEvent:
    """A run is finished and has its annealed loss.

    Costs count from the member's previous finished run: its new part of the trunk, and its branch. Their sum over
    all `FinishedEvent` and `DivergedEvent` is the cost of the job. Evaluation counts in seconds, not in FLOPs.

    Attributes:
        member: Index in the job.
        horizon: Tokens of the run.
        tokens: The horizon rounded to whole batches.
        loss: Held-out loss after the decay, in nats per token.
        trunk_loss: Held-out loss where the branch left the trunk, in nats per token.
        flops: 6·N·tokens.
        seconds: This member's share of the stack's time.
    """

    member: int
    horizon: int
    tokens: int
    loss: float
    trunk_loss: float
    flops: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DivergedEvent:
    """A member has diverged; its unfinished horizons are not trained further.

    Attributes:
        member: Index in the job.
        horizons: Its unfinished horizons, in tokens.
        step: Updates made when the divergence was detected.
        tokens: Tokens seen by then.
        reason: The rule that it broke (`trainer.divergence`) and, with lenses, its first symptom; a sentence without its
            full stop.
        flops: 6·N·tokens since its last finished run.
        seconds: This member's share of the stack's time since then.
    """

    member: int
    horizons: tuple[int, ...]
    step: int
    tokens: int
    reason: str
    flops: int
    seconds: float


TrainingEvent = CurveEvent | LensEvent | FinishedEvent | DivergedEvent
