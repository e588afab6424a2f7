"""Warmup-stable-decay, or cosine: the learning rate over its peak, as a pure function of the step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, cos, pi, sqrt
from typing import Final, Literal, get_args

from trainer.exceptions import BadSchedule

DecayShape = Literal["linear", "sqrt", "cosine"]

DECAY_FRACTION: Final = 0.2
"""Default share of a horizon in which the learning rate decays."""

_FALL: Final[Mapping[DecayShape, Callable[[float], float]]] = {
    "linear": lambda progress: progress,
    "sqrt": sqrt,
    "cosine": lambda progress: (1.0 - cos(pi * progress)) / 2.0,
}
"""Fraction of the fall that is done, 0 to 1, as a function of the decay's progress, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Linear warm-up, a constant trunk, and a decay at the end of each horizon.

    The warm-up is in absolute tokens, so that all horizons share one trunk (arXiv 2405.18392). A cosine decays from
    the end of the warm-up on (arXiv 1608.03983): its trunk is the warm-up alone, and it has no stable phase.

    Attributes:
        warmup_tokens: Tokens of the warm-up; 0 for none.
        decay_fraction: Share of a horizon that decays, in (0, 1); must keep its default for `cosine`.
        shape: `linear` falls as 1 − x, `sqrt` as 1 − √x, `cosine` as (1 + cos πx)/2, where x is the decay's progress.
        final_fraction: Learning rate at the end of the decay over the peak, in [0, 1).

    Raises:
        BadSchedule: A field is out of range.
    """

    warmup_tokens: int
    decay_fraction: float = DECAY_FRACTION
    shape: DecayShape = "linear"
    final_fraction: float = 0.0

    def __post_init__(self) -> None:
        shapes = get_args(DecayShape)
        self._check("warmup_tokens", self.warmup_tokens >= 0, "0 or more")
        self._check("decay_fraction", 0.0 < self.decay_fraction < 1.0, "between 0 and 1")
        self._check("shape", self.shape in shapes, ", ".join(shapes))
        self._check("final_fraction", 0.0 <= self.final_fraction < 1.0, "0 or more, below 1")
        if self.shape == "cosine" and self.decay_fraction != DECAY_FRACTION:
            raise BadSchedule(
                f"schedule: decay_fraction is {self.decay_fraction}, but a cosine decays from the end of the warm-up on; "
                "leave it out"
            )

    def _check(self, name: str, allowed: bool, values: str) -> None:
        BadSchedule.unless(allowed, f"schedule: {name}", getattr(self, name), values)

    def in_steps(self, batch_tokens: int) -> "Timetable":
        """This schedule at `batch_tokens` tokens per step."""
        return Timetable(schedule=self, batch_tokens=batch_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """A schedule in optimizer steps; step 0 is the first update.

    Attributes:
        schedule: The schedule in tokens.
        batch_tokens: Tokens per step.
    """

    schedule: Schedule
    batch_tokens: int

    @property
    def warmup_steps(self) -> int:
        """Steps of the warm-up, rounded up."""
        return ceil(self.schedule.warmup_tokens / self.batch_tokens)

    def end(self, horizon: int) -> int:
        """Steps of a run to `horizon` tokens: the nearest whole number of batches, at least one."""
        return max(1, round(horizon / self.batch_tokens))

    def fork(self, horizon: int) -> int:
        """Trunk steps before the decay branch of `horizon` tokens begins; for a cosine the steps of the warm-up.

        Raises:
            BadSchedule: The decay would begin before the end of the warm-up.
        """
        end, cosine = self.end(horizon), self.schedule.shape == "cosine"
        decay = max(1, end - self.warmup_steps if cosine else round(self.schedule.decay_fraction * end))
        fork = end - decay
        if horizon < 1 or fork < self.warmup_steps:
            share = 1.0 if cosine else 1 - self.schedule.decay_fraction
            least = ceil((self.warmup_steps + 1) / share) * self.batch_tokens
            raise BadSchedule(
                f"horizon of {horizon} tokens: its decay would begin after {max(fork, 0) * self.batch_tokens} tokens, "
                f"within the warm-up of {self.warmup_steps * self.batch_tokens}; allowed: {least} tokens or more"
            )
        return fork

    def multiplier(self, step: int, horizon: int | None = None) -> float:
        """The learning rate of update number `step` over its peak, in (0, 1].

        Args:
            step: Updates made before this one, from 0.
            horizon: Tokens of the decay branch; None for the trunk, which does not decay.
        """
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if horizon is None or step < (fork := self.fork(horizon)):
            return warmup
        # n updates at n equal steps below the peak, none of them at the full rate or at zero.
        progress = (step - fork + 1) / (self.end(horizon) - fork + 1)
        return 1.0 - (1.0 - self.schedule.final_fraction) * _FALL[self.schedule.shape](progress)
