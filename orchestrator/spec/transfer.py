"""The base of a sweep in muP: the proxy whose learning rate the rules transfer to the grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Final

from orchestrator.amounts import number
from orchestrator.spec.architecture import EXPERT_STEP, Architecture, Dense
from orchestrator.spec.fields import BadField
from orchestrator.spec.lattice import GridOf
from orchestrator.spec.mup import Mup
from orchestrator.spec.optimization import Optimizer
from orchestrator.spec.proxy_scale import Scale, experts_of, smallest_scale

SAME_GRANULARITY: Final = 1.1
"""Experts over width may differ by this factor between base and scale: widths of experts are rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFields:
    """Names of the fields of a specification that a base and a grid come from.

    Attributes:
        base: of the base.
        scales, tokens, batch_tokens: of each entry of the grid's axis.
    """

    base: str
    scales: tuple[str, ...]
    tokens: tuple[str, ...]
    batch_tokens: tuple[str, ...]

    @classmethod
    def of(cls, grid: GridOf[Scale]) -> TransferFields:
        """The fields of a sweep in muP."""
        return cls(
            base="trainer.parametrization.base",
            scales=tuple(f"grid.scales.{index}" for index in range(len(grid.scales))),
            tokens=tuple(f"grid.tokens.{index}" for index in range(len(grid.tokens))),
            batch_tokens=tuple(f"grid.batch_tokens.{index}" for index in range(len(grid.batch_tokens))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The proxy at which the parametrization changes nothing, complete.

    Attributes:
        width, depth: of the model.
        head_width: of one attention head.
        expert_width: of one expert; None where the architecture is dense.
        batch_tokens: tokens per optimizer step.
        tokens: horizon.
    """

    width: int
    depth: int
    head_width: int
    expert_width: int | None
    batch_tokens: int
    tokens: int


def base_of(grid: GridOf[Scale], architecture: Architecture, mup: Mup) -> Base:
    """The base, completed from the smallest scale, smallest batch and shortest horizon of the grid.

    Args:
        grid: with at least one scale, batch and horizon.
        architecture: of the proxies.
        mup: their parametrization.
    """
    asked, smallest = mup.base, smallest_scale(grid.scales)
    scale = _scale(grid, asked.width or smallest.width, asked.depth or smallest.depth)
    experts = experts_of(scale, architecture)
    batch_tokens = asked.batch_tokens or min(grid.batch_tokens)
    return Base(
        width=scale.width,
        depth=scale.depth,
        head_width=scale.width // scale.attention_heads,
        expert_width=asked.expert_width or (None if experts is None else experts.width),
        batch_tokens=batch_tokens,
        tokens=asked.tokens or max(1, min(grid.tokens) // batch_tokens) * batch_tokens,
    )


def _scale(grid: GridOf[Scale], width: int, depth: int) -> Scale:
    """The grid's scale of this width, and if possible of this depth; a new scale if none has the width."""
    of_width = [scale for scale in grid.scales if scale.width == width]
    nearest = min(of_width, key=lambda scale: abs(scale.depth - depth), default=None)
    if nearest is None:
        return Scale(width=width, depth=depth)
    return nearest.model_copy(update={"depth": depth})


def check_transfer(
    grid: GridOf[Scale], architecture: Architecture, mup: Mup, optimizer: Optimizer, fields: TransferFields
) -> None:
    """Refuse a base from which the rules cannot transfer a rate to the grid.

    Args:
        grid: checked before (``orchestrator.spec.proxy``).
        architecture: of the proxies.
        mup: their parametrization.
        optimizer: whose β the rules change.
        fields: of the specification that the base and the grid come from.

    Raises:
        BadField: at the field at fault.
    """
    base = base_of(grid, architecture, mup)
    if isinstance(architecture, Dense) and base.expert_width is not None:
        raise BadField(
            f"{fields.base}.expert_width",
            "belongs to a mixture of experts; the trainer.architecture is dense",
        )
    if base.tokens < base.batch_tokens:
        raise BadField(
            f"{fields.base}.tokens",
            f"{base.tokens} is less than one step of the base's {base.batch_tokens} tokens",
        )
    for path, scale in zip(fields.scales, grid.scales, strict=True):
        _check_granularity(path, scale, architecture, base, fields)
    _check_betas(grid, mup, optimizer, base, fields)


def _check_granularity(
    path: str, scale: Scale, architecture: Architecture, base: Base, fields: TransferFields
) -> None:
    """Refuse experts of another share of the width: rates do not transfer to them (arXiv 2508.09752)."""
    experts = experts_of(scale, architecture)
    if experts is None or base.expert_width is None:
        return
    fitting = base.expert_width * scale.width / base.width
    if abs(math.log(experts.width / fitting)) > math.log(SAME_GRANULARITY):
        suited = max(EXPERT_STEP, round(fitting))
        raise BadField(
            f"{path}.expert_width",
            f"{experts.width} in a width of {scale.width} cannot be compared with the base's {base.expert_width} in "
            f"{base.width}: rates transfer only between experts of one granularity; take {suited} here, or another "
            f"{fields.base}.expert_width",
        )


def _check_betas(
    grid: GridOf[Scale], mup: Mup, optimizer: Optimizer, base: Base, fields: TransferFields
) -> None:
    """Complete(d)P multiplies 1 − β by m_B/m_D (arXiv 2512.22382); β must stay at 0 or above."""
    by_batch = "batch" in mup.rules
    by_horizon = "horizon" in mup.rules and mup.horizon_exponent is None
    for (at, batch), (then, tokens) in product(enumerate(grid.batch_tokens), enumerate(grid.tokens)):
        horizon = tokens // batch * batch
        grown = batch / base.batch_tokens if by_batch else 1.0
        longer = horizon / base.tokens if by_horizon else 1.0
        for name in ("beta1", "beta2"):
            left = (1.0 - getattr(optimizer, name)) * grown / longer
            if left > 1.0:
                rules = " and ".join(
                    rule for rule, on in (("batch", by_batch), ("horizon", by_horizon)) if on
                )
                raise BadField(
                    fields.batch_tokens[at] if by_batch else fields.tokens[then],
                    f"{batch} tokens a step over {horizon} tokens would make 1 − {name} {number(left)}, which must stay "
                    f"at most 1: {number(grown)} times the base's batch, {number(longer)} times its horizon. Take a nearer "
                    f"{fields.base}, or leave out the rule {rules}",
                )
