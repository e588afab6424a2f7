"""A stack on its way: the trunk, or the decay branch of one horizon, with its learning curve under way."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum, inf
from typing import Any

import torch
from torch import Tensor

from trainer.lens import Watched
from trainer.stack import STATE, Stack

SMOOTHING = 16
"""Steps of the exponential average that divergence is judged by, whatever interval is logged."""


@dataclass(slots=True, kw_only=True)
class Line:
    """Some members of a job in training together.

    Attributes:
        stack: Their state.
        members: Each one's place in the job.
        horizon: Tokens of the branch, or None for the trunk.
        interval: Losses [K] of the steps since the last logged one.
        smoothed: Each member's loss, averaged over about the last 2·SMOOTHING steps of logged intervals.
        best: The lowest that `smoothed` has been.
        trunk_losses: Each member's held-out loss where the branch forked off; empty for the trunk.
        watched: What the lenses remember; None where nobody looks.
    """

    stack: Stack
    members: list[int]
    horizon: int | None = None
    interval: list[Tensor] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    trunk_losses: list[float] = field(default_factory=list)
    watched: Watched | None = None

    def select(self, places: Sequence[int]) -> "Line":
        """A copy of the members at these places of the stack."""
        return Line(
            stack=self.stack.select(places),
            members=[self.members[place] for place in places],
            horizon=self.horizon,
            interval=[losses[list(places)] for losses in self.interval],
            smoothed=[self.smoothed[place] for place in places],
            best=[self.best[place] for place in places],
            trunk_losses=[self.trunk_losses[place] for place in places] if self.trunk_losses else [],
            watched=None if self.watched is None else self.watched.select(places),
        )

    def without(self, members: Sequence[int]) -> "Line":
        """The line without these members of the job; itself if it has none of them."""
        places = [place for place, member in enumerate(self.members) if member not in members]
        return self if len(places) == len(self.members) else self.select(places)

    def close_interval(self) -> list[float]:
        """Each member's mean loss since the last interval, summed exactly; the next interval begins."""
        columns = torch.stack(self.interval).tolist()
        self.interval = []
        for losses in columns:
            self.smoothed = [_smooth(old, new) for old, new in zip(self.smoothed, losses, strict=True)]
            self.best = [min(best, loss) for best, loss in zip(self.best, self.smoothed, strict=True)]
        return [fsum(losses) / len(losses) for losses in zip(*columns, strict=True)]

    def saved(self) -> dict[str, Any]:
        """Everything as tensors, numbers and lists."""
        return {
            **self.stack.tensors(),
            "step": self.stack.step,
            "members": self.members,
            "horizon": self.horizon,
            "interval": self.interval,
            "smoothed": self.smoothed,
            "best": self.best,
            "trunk_losses": self.trunk_losses,
            "watched": None if self.watched is None else self.watched.saved(),
        }

    @classmethod
    def loaded(cls, saved: dict[str, Any], device: torch.device) -> "Line":
        """The line that `saved` described."""
        tensors = {name: saved[name].to(device) for name in STATE}
        return cls(
            stack=Stack(**tensors, step=saved["step"]),
            members=saved["members"],
            horizon=saved["horizon"],
            interval=[losses.to(device) for losses in saved["interval"]],
            smoothed=saved["smoothed"],
            best=saved["best"],
            trunk_losses=saved["trunk_losses"],
            watched=None if saved["watched"] is None else Watched.loaded(saved["watched"], device),
        )

    @classmethod
    def joined(cls, lines: Sequence["Line"]) -> "Line":
        """Lines at the same step, each of one member, as one."""
        stacks = [line.stack for line in lines]
        tensors = {name: torch.cat([stack.tensors()[name] for stack in stacks]) for name in STATE}
        watched = [line.watched for line in lines if line.watched is not None]
        return cls(
            stack=Stack(**tensors, step=stacks[0].step),
            members=list(range(len(lines))),
            interval=[torch.cat(losses) for losses in zip(*(line.interval for line in lines), strict=True)],
            smoothed=[line.smoothed[0] for line in lines],
            best=[line.best[0] for line in lines],
            watched=Watched.joined(watched) if len(watched) == len(lines) else None,
        )

    @classmethod
    def fresh(cls, stack: Stack) -> "Line":
        """A trunk of a whole job before its first step."""
        count = len(stack.parameters)
        return cls(stack=stack, members=list(range(count)), smoothed=[inf] * count, best=[inf] * count)


def _smooth(average: float, loss: float) -> float:
    """The exponential average after one more loss; the first loss begins it."""
    return loss if average == inf else average + (loss - average) / SMOOTHING
