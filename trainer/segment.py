"""A stack in training: the trunk, or the decay branch of one horizon."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum, inf
from typing import Any, Self

import torch
from torch import Tensor

from trainer.lens import LensState
from trainer.stack import STATE, Stack

SMOOTHING = 16
"""Steps of the exponential average that is tested for divergence; independent of the logging interval."""

PLAIN = ("members", "horizon", "smoothed", "best", "trunk_losses")
"""Names of the plain values of a segment."""


@dataclass(slots=True, kw_only=True)
class Segment:
    """Members of a job that train together.

    Attributes:
        stack: Their state.
        members: Their indices in the job.
        horizon: Tokens of the branch, or None for the trunk.
        interval: Losses [K] of the steps since the end of the last logging interval.
        smoothed: Each member's exponential average of the loss at the end of the last logging interval.
        best: The minimum of `smoothed` over all steps.
        trunk_losses: Each member's held-out loss at the fork of the branch; empty for the trunk.
        lens: What the lenses keep; None without lenses.
    """

    stack: Stack
    members: list[int]
    horizon: int | None = None
    interval: list[Tensor] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    trunk_losses: list[float] = field(default_factory=list)
    lens: LensState | None = None

    @classmethod
    def fresh(cls, stack: Stack) -> Self:
        """The trunk of a whole job before its first step."""
        count = len(stack.parameters)
        return cls(stack=stack, members=list(range(count)), smoothed=[inf] * count, best=[inf] * count)

    def select(self, indices: Sequence[int]) -> "Segment":
        """A copy of some members of the stack."""
        return Segment(
            stack=self.stack.select(indices),
            members=[self.members[index] for index in indices],
            horizon=self.horizon,
            interval=[losses[list(indices)] for losses in self.interval],
            smoothed=[self.smoothed[index] for index in indices],
            best=[self.best[index] for index in indices],
            trunk_losses=[self.trunk_losses[index] for index in indices] if self.trunk_losses else [],
            lens=None if self.lens is None else self.lens.select(indices),
        )

    def without(self, members: Sequence[int]) -> "Segment":
        """The segment without these members of the job; itself if it has none of them."""
        kept = [index for index, member in enumerate(self.members) if member not in members]
        return self if len(kept) == len(self.members) else self.select(kept)

    def close_interval(self) -> list[float]:
        """Ends the logging interval; returns each member's mean loss over it, summed exactly."""
        columns = torch.stack(self.interval).tolist()
        self.interval = []
        for losses in columns:
            self.smoothed = [_smooth(old, new) for old, new in zip(self.smoothed, losses, strict=True)]
            self.best = [min(best, loss) for best, loss in zip(self.best, self.smoothed, strict=True)]
        return [fsum(losses) / len(losses) for losses in zip(*columns, strict=True)]

    def saved(self) -> dict[str, Any]:
        """The content of a checkpoint: tensors and plain values."""
        return {
            **self.stack.tensors(),
            "step": self.stack.step,
            **{name: getattr(self, name) for name in PLAIN},
            "interval": self.interval,
            "lens": None if self.lens is None else self.lens.saved(),
        }

    @classmethod
    def loaded(cls, saved: dict[str, Any], device: torch.device) -> Self:
        """The segment that `saved` returned."""
        tensors = {name: saved[name].to(device) for name in STATE}
        return cls(
            stack=Stack(**tensors, step=saved["step"]),
            **{name: saved[name] for name in PLAIN},
            interval=[losses.to(device) for losses in saved["interval"]],
            lens=None if saved["lens"] is None else LensState.loaded(saved["lens"], device),
        )

    @classmethod
    def joined(cls, trunks: Sequence["Segment"]) -> Self:
        """Trunks at the same step, each of one member, as the trunk of a whole job."""
        stacks = [trunk.stack for trunk in trunks]
        tensors = {name: torch.cat([stack.tensors()[name] for stack in stacks]) for name in STATE}
        lenses = [trunk.lens for trunk in trunks if trunk.lens is not None]
        return cls(
            stack=Stack(**tensors, step=stacks[0].step),
            members=list(range(len(trunks))),
            interval=[
                torch.cat(losses) for losses in zip(*(trunk.interval for trunk in trunks), strict=True)
            ],
            smoothed=[trunk.smoothed[0] for trunk in trunks],
            best=[trunk.best[0] for trunk in trunks],
            lens=LensState.joined(lenses) if len(lenses) == len(trunks) else None,
        )


def _smooth(average: float, loss: float) -> float:
    """The exponential average with one more loss; an infinite average has none yet."""
    return loss if average == inf else average + (loss - average) / SMOOTHING
