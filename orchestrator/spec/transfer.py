"""The base that a sweep's learning rate is in units of, and whether the rules can carry it to the grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Final

from orchestrator.spec.architecture import EXPERT_STEP, Dense
from orchestrator.spec.fields import FieldError
from orchestrator.spec.grid import Grid, Scale, experts_of
from orchestrator.spec.parametrization import Mup
from orchestrator.spec.trainers import ProxyTrainer

SAME_GRANULARITY: Final = 1.1
"""Experts over width may differ by this factor between base and scale: widths of experts are rounded."""

PATH: Final = "trainer.parametrization.base"


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


def base_of(grid: Grid, trainer: ProxyTrainer) -> Base | None:
    """The base of a proxy sweep, completed from the smallest scale, smallest batch and shortest horizon of its grid.

    Args:
        grid: with at least one scale, batch and horizon.
        trainer: the recipe.

    Returns:
        The base, or None for the standard parametrization, which has none.
    """
    if not isinstance(trainer.parametrization, Mup):
        return None
    asked = trainer.parametrization.base
    smallest = min(grid.scales, key=lambda scale: (scale.width**2 * scale.depth, scale.width))
    scale = _scale(grid, asked.width or smallest.width, asked.depth or smallest.depth)
    experts = experts_of(scale, trainer.architecture)
    batch_tokens = asked.batch_tokens or min(grid.batch_tokens)
    return Base(
        width=scale.width,
        depth=scale.depth,
        head_width=scale.width // scale.attention_heads,
        expert_width=asked.expert_width or (None if experts is None else experts.width),
        batch_tokens=batch_tokens,
        tokens=asked.tokens or max(1, min(grid.tokens) // batch_tokens) * batch_tokens,
    )


def _scale(grid: Grid, width: int, depth: int) -> Scale:
    """The grid's scale of this width, of this depth if there is one; else one that nobody described."""
    of_width = [scale for scale in grid.scales if scale.width == width]
    nearest = min(of_width, key=lambda scale: abs(scale.depth - depth), default=None)
    if nearest is None:
        return Scale(width=width, depth=depth)
    return nearest.model_copy(update={"depth": depth})


def check_transfer(grid: Grid, trainer: ProxyTrainer) -> None:
    """Refuse a base that cannot be compared with the grid.

    Args:
        grid: checked before (``check_proxy_grid``).
        trainer: the recipe.

    Raises:
        FieldError: at the field at fault.
    """
    base = base_of(grid, trainer)
    if base is None or not isinstance(trainer.parametrization, Mup):
        return
    if isinstance(trainer.architecture, Dense) and base.expert_width is not None:
        raise FieldError(
            f"{PATH}.expert_width", "belongs to a mixture of experts; the trainer.architecture is dense"
        )
    if base.tokens < base.batch_tokens:
        raise FieldError(
            f"{PATH}.tokens", f"{base.tokens} is less than one step of the base's {base.batch_tokens} tokens"
        )
    for place, scale in enumerate(grid.scales):
        _check_granularity(f"grid.scales.{place}.expert_width", scale, trainer, base)
    _check_betas(grid, trainer, base)


def _check_granularity(path: str, scale: Scale, trainer: ProxyTrainer, base: Base) -> None:
    """Rates do not carry over to experts of another share of the width (arXiv 2508.09752)."""
    experts = experts_of(scale, trainer.architecture)
    if experts is None or base.expert_width is None:
        return
    fitting = base.expert_width * scale.width / base.width
    if abs(math.log(experts.width / fitting)) > math.log(SAME_GRANULARITY):
        suited = max(EXPERT_STEP, round(fitting))
        raise FieldError(
            path,
            f"{experts.width} in a width of {scale.width} cannot be compared with the base's {base.expert_width} in "
            f"{base.width}: rates carry over between experts of one granularity alone; take {suited} here, or another "
            f"{PATH}.expert_width",
        )


def _check_betas(grid: Grid, trainer: ProxyTrainer, base: Base) -> None:
    """Complete(d)P multiplies 1 − β by m_B/m_D (arXiv 2512.22382); β must stay at 0 or above."""
    asked, optimizer = trainer.parametrization, trainer.optimizer
    assert isinstance(asked, Mup)  # noqa: S101  there is a base
    by_batch = "batch" in asked.rules
    by_horizon = "horizon" in asked.rules and asked.horizon_exponent is None
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
                raise FieldError(
                    f"grid.batch_tokens.{at}" if by_batch else f"grid.tokens.{then}",
                    f"{batch} tokens a step over {horizon} tokens would make 1 − {name} {left:.3g}, which must stay "
                    f"at most 1: {grown:.3g} times the base's batch, {longer:.3g} times its horizon. Take a nearer "
                    f"{PATH}, or leave out the rule {rules}",
                )
