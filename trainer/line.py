"""A stack on its way: the trunk, or the decay branch of one horizon, with its learning curve under way."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum, inf
from typing import Any

import torch
from torch import Tensor

from trainer.stack import Stack


@dataclass(slots=True, kw_only=True)
class Line:
    """Some members of a job in training together.

    Attributes:
        stack: Their state.
        members: Each one's place in the job.
        horizon: Tokens of the branch, or None for the trunk.
        interval: Losses [K] of the steps since the last logged one.
        best: Each member's lowest interval mean so far.
        trunk_losses: Each member's held-out loss where the branch forked off; empty for the trunk.
    """

    stack: Stack
    members: list[int]
    horizon: int | None = None
    interval: list[Tensor] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    trunk_losses: list[float] = field(default_factory=list)

    def select(self, places: Sequence[int]) -> "Line":
        """A copy of the members at these places of the stack."""
        return Line(
            stack=self.stack.select(places),
            members=[self.members[place] for place in places],
            horizon=self.horizon,
            interval=[losses[list(places)] for losses in self.interval],
            best=[self.best[place] for place in places],
            trunk_losses=[self.trunk_losses[place] for place in places] if self.trunk_losses else [],
        )

    def without(self, members: Sequence[int]) -> "Line":
        """The line without these members of the job; itself if it has none of them."""
        places = [place for place, member in enumerate(self.members) if member not in members]
        return self if len(places) == len(self.members) else self.select(places)

    def close_interval(self) -> list[float]:
        """Each member's mean loss since the last interval, summed exactly; the next interval begins."""
        columns = torch.stack(self.interval).tolist()
        self.interval = []
        means = [fsum(losses) / len(losses) for losses in zip(*columns, strict=True)]
        self.best = [min(best, mean) for best, mean in zip(self.best, means, strict=True)]
        return means

    def saved(self) -> dict[str, Any]:
        """Everything as tensors, numbers and lists."""
        return {
            **self.stack.tensors(),
            "step": self.stack.step,
            "members": self.members,
            "horizon": self.horizon,
            "interval": self.interval,
            "best": self.best,
            "trunk_losses": self.trunk_losses,
        }

    @classmethod
    def loaded(cls, saved: dict[str, Any], device: torch.device) -> "Line":
        """The line that `saved` described."""
        tensors = {name: saved[name].to(device) for name in ("parameters", "first_moments", "second_moments")}
        return cls(
            stack=Stack(**tensors, step=saved["step"]),
            members=saved["members"],
            horizon=saved["horizon"],
            interval=[losses.to(device) for losses in saved["interval"]],
            best=saved["best"],
            trunk_losses=saved["trunk_losses"],
        )

    @classmethod
    def joined(cls, lines: Sequence["Line"]) -> "Line":
        """Lines at the same step, each of one member, as one."""
        stacks = [line.stack for line in lines]
        tensors = {
            name: torch.cat([stack.tensors()[name] for stack in stacks]) for name in stacks[0].tensors()
        }
        return cls(
            stack=Stack(**tensors, step=stacks[0].step),
            members=list(range(len(lines))),
            interval=[torch.cat(losses) for losses in zip(*(line.interval for line in lines), strict=True)],
            best=[line.best[0] for line in lines],
        )

    @classmethod
    def fresh(cls, stack: Stack) -> "Line":
        """A trunk of a whole job before its first step."""
        count = len(stack.parameters)
        return cls(stack=stack, members=list(range(count)), best=[inf] * count)
