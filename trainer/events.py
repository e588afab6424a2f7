"""What a training tells while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """A stretch of one member's learning curve.

    Attributes:
        member: Its place in the job.
        horizon: Tokens of the decay branch, or None for the trunk.
        steps: Updates made at the end of each logging interval, ascending.
        tokens: Tokens seen by then.
        losses: Mean training loss over each interval, in nats per token; all finite, `Diverged` tells the rest.
    """

    member: int
    horizon: int | None
    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the lenses saw of one member after one update.

    Attributes:
        member: Its place in the job.
        horizon: Tokens of the decay branch, or None for the trunk.
        step: Updates made by then.
        tokens: Tokens seen by then.
        values: By name (`trainer.lens` has the table), to five digits; not finite where the numbers left float32.
    """

    member: int
    horizon: int | None
    step: int
    tokens: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One run has its annealed loss.

    Costs are those since the member's previous run of this job finished: its new part of the trunk and its
    branch. Summed over all `Finished` and `Diverged` they are what the job really trained. Evaluation is in
    the seconds, not in the FLOPs.

    Attributes:
        member: Its place in the job.
        horizon: Tokens of the run.
        tokens: Tokens really seen: the horizon rounded to whole batches.
        loss: Held-out loss after the decay, in nats per token.
        trunk_loss: Held-out loss of the trunk where the branch forked off, before any decay.
        flops: 6·N·tokens of what was newly trained.
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
class Diverged:
    """A member is lost, and with it every horizon that it had not finished.

    Attributes:
        member: Its place in the job.
        horizons: The horizons that it will not finish.
        step: Updates made when it was noticed.
        tokens: Tokens seen by then.
        reason: Why, in a sentence.
        flops: 6·N·tokens trained since its last finished run.
        seconds: This member's share of the stack's time since then.
    """

    member: int
    horizons: tuple[int, ...]
    step: int
    tokens: int
    reason: str
    flops: int
    seconds: float


Event = Points | Seen | Finished | Diverged
