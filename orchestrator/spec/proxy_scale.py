"""The size of a proxy: width, depth, heads and experts, and the parameters that follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field, model_validator

from orchestrator.spec.architecture import (
    EXPERT_STEP,
    FEEDFORWARD_RATIO,
    Architecture,
    Dense,
    ExpertCount,
    ExpertWidth,
    MixtureOfExperts,
)
from orchestrator.spec.fields import BadField, Depth, Integer, Strict, Width

HEAD_WIDTH: Final = 16
"""Least width of an attention head where a scale does not give the number of heads."""

SHOWN_HEADS: Final = 6


class Scale(Strict):
    """The size of one proxy; its parameters are derived (``params_of``).

    ``experts`` and ``expert_width`` override those of the architecture, so that a mixture's total and active
    parameters can vary apart.
    """

    width: Width
    depth: Depth
    heads: Annotated[Integer, Field(ge=1, le=1_024)] | None = None
    experts: ExpertCount | None = None
    expert_width: ExpertWidth | None = None

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Scale:
        heads = self.attention_heads
        allowed = f"heads nearby that suit the width: {', '.join(map(str, _heads_near(self.width, heads)))}"
        if self.width % heads:
            raise BadField("heads", f"width {self.width} is not divisible by {heads} heads; {allowed}")
        if (self.width // heads) % 2:
            raise BadField(
                "heads",
                f"width {self.width} over {heads} heads gives heads of odd width {self.width // heads}, "
                f"and rotary positions turn pairs; {allowed}",
            )
        return self

    @property
    def attention_heads(self) -> int:
        """Heads as given, else the most that are of even width and at least 16 wide; at least one."""
        if self.heads is not None:
            return self.heads
        most = max(1, self.width // HEAD_WIDTH)
        return next((heads for heads in range(most, 0, -1) if self.width % (2 * heads) == 0), 1)


def smallest_scale(scales: Sequence[Scale]) -> Scale:
    """The scale of the least w²·depth, and of these the narrowest."""
    return min(scales, key=lambda scale: (scale.width**2 * scale.depth, scale.width))


def _heads_near(width: int, heads: int) -> list[int]:
    """The numbers of heads nearest to ``heads`` that cut an even width into even parts, ascending."""
    half = width // 2
    small = [n for n in range(1, math.isqrt(half) + 1) if half % n == 0]
    every = {*small, *(half // n for n in small)}
    return sorted(sorted(every, key=lambda n: abs(n - heads))[:SHOWN_HEADS])


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertSize:
    """The routed experts of one block: how many, and the width of each."""

    count: int
    width: int


def experts_of(scale: Scale, architecture: Architecture) -> ExpertSize | None:
    """The experts of a proxy of this scale; None where it is dense."""
    if isinstance(architecture, Dense):
        return None
    return ExpertSize(
        count=architecture.experts if scale.experts is None else scale.experts,
        width=architecture.expert_width_at(scale.width) if scale.expert_width is None else scale.expert_width,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedScale:
    """A proxy and its training: its scale, tokens per optimizer step, and horizon in tokens."""

    scale: Scale
    batch_tokens: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamCounts:
    """Parameters of a proxy without its embedding and its output head.

    Attributes:
        total: all of them.
        active: those that one token meets; equal to ``total`` in a dense proxy.
    """

    total: int
    active: int


def params_of(scale: Scale, architecture: Architecture) -> ParamCounts:
    """Parameters of a proxy: per block 4·w² of attention, and dense 2·4·w² of feed-forward (norms have no gain).

    A mixture has w·E of router, and 2·w·h for each of its E experts, of which a token meets ``top_k``, and for each
    shared one. Source: Kaplan et al., arXiv 2001.08361, table 1.
    """
    attention, experts = 4 * scale.width**2, experts_of(scale, architecture)
    if experts is None or isinstance(architecture, Dense):
        dense = scale.depth * (attention + 2 * FEEDFORWARD_RATIO * scale.width**2)
        return ParamCounts(total=dense, active=dense)
    one = 2 * scale.width * experts.width
    always = attention + scale.width * experts.count + architecture.shared_experts * one
    return ParamCounts(
        total=scale.depth * (always + experts.count * one),
        active=scale.depth * (always + architecture.top_k * one),
    )


def check_experts(path: str, scale: Scale, architecture: Architecture) -> None:
    """Refuse experts that the architecture cannot have.

    Raises:
        BadField: below ``path``, the scale's.
    """
    if isinstance(architecture, MixtureOfExperts):
        if scale.width % EXPERT_STEP:
            raise BadField(
                f"{path}.width",
                f"{scale.width} is not a multiple of {EXPERT_STEP}, as models with experts must be",
            )
        if scale.experts is not None and architecture.top_k > scale.experts:
            raise BadField(
                f"{path}.experts",
                f"{scale.experts} is less than trainer.architecture.top_k, which is {architecture.top_k}",
            )
        return
    for name in ("experts", "expert_width"):
        if getattr(scale, name) is not None:
            raise BadField(
                f"{path}.{name}", "belongs to a mixture of experts; the trainer.architecture is dense"
            )
