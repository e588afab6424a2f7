"""What each contender's rate costs at the held-out scale, with standard errors.

    excess loss   e_c = exp(mean_s (ln L_cs − δ_s) − m) − 1          m the bottom of the reference bowl
    difference    d_c = exp(mean_s (ln L_cs − ln L_Fs)) − 1          F Fitting, over the seeds that both have

Seeds are shared, so what a seed does to all runs alike cancels in both. The variance between a contender's own seeds is
known badly from three of them; it is therefore drawn towards the noise of the whole cell, which counts for as many
differences as it takes to outweigh four seeds (the moderated variance of Smyth 2004, doi:10.2202/1544-6115.1027).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
from scipy.stats import t as student

from orchestrator.heldout.reference import Reference
from orchestrator.heldout.values import FITTING, Contender, Outcome, Outcomes
from orchestrator.spec import CellRole

PRIOR_FREEDOM: Final = 4.0
"""Degrees of freedom that the noise of the whole cell counts for beside those of a contender's own seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its standard error, both relative losses (0.001 is 0.1 %), and their degrees of freedom."""

    value: float
    standard_error: float
    freedom: float

    @property
    def reach(self) -> float:
        """Half the width of the 95 % interval."""
        return float(student.ppf(0.975, self.freedom)) * self.standard_error

    @property
    def is_noise(self) -> bool:
        """Whether the 95 % interval holds zero."""
        return abs(self.value) <= self.reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How a contender did.

    Attributes:
        outcome: its runs.
        excess_loss: over the reference bowl's bottom; None where a seed diverged or none completed.
        difference: of its loss to Fitting's over the same seeds; None for Fitting itself, where either diverged, and
            where they share the runs.
    """

    contender: Contender
    outcome: Outcome
    excess_loss: Estimate | None
    difference: Estimate | None

    @property
    def has_diverged(self) -> bool:
        """Whether any of its seeds diverged: then there is no mean to speak of."""
        return bool(self.outcome.diverged)


def scored(contenders: Sequence[Contender], outcomes: Outcomes, best: Reference | None) -> tuple[Score, ...]:
    """Score every contender, in their order.

    Args:
        contenders: Fitting among them.
        outcomes: of their places.
        best: the reference bowl; None where no run of it completed.
    """
    fitting = next(item for item in contenders if item.name == FITTING)
    base = outcomes.get(fitting.place, Outcome())
    return tuple(
        Score(
            contender=item,
            outcome=(own := outcomes.get(item.place, Outcome())),
            excess_loss=None if best is None else _excess(item, own, best),
            difference=None
            if best is None or item.place == fitting.place
            else _difference(own, base, best.noise),
        )
        for item in contenders
    )


def _excess(contender: Contender, own: Outcome, best: Reference) -> Estimate | None:
    logs = {seed: math.log(loss) - best.effects.get(seed, 0.0) for seed, loss in own.losses.items()}
    if own.diverged or not logs:
        return None
    variance, freedom = _moderated(list(logs.values()), best.noise**2)
    in_bowl = contender.arm is CellRole.STANDARD and not contender.module_rates
    rate = contender.learning_rate if in_bowl else None
    whole = best.variance_of_excess(rate, variance / len(logs))
    return _estimate(fmean(logs.values()) - math.log(best.loss), whole, freedom)


def _difference(own: Outcome, base: Outcome, noise: float) -> Estimate | None:
    shared = sorted(own.losses.keys() & base.losses.keys())
    if own.diverged or base.diverged or not shared:
        return None
    apart = [math.log(own.losses[seed] / base.losses[seed]) for seed in shared]
    variance, freedom = _moderated(apart, 2 * noise**2)
    return _estimate(fmean(apart), variance / len(apart), freedom)


def _moderated(values: Sequence[float], expected: float) -> tuple[float, float]:
    """The variance of single values, drawn towards what is expected of it, and its degrees of freedom."""
    own = float(np.square(np.array(values) - fmean(values)).sum())
    freedom = PRIOR_FREEDOM + len(values) - 1
    return (PRIOR_FREEDOM * expected + own) / freedom, freedom


def _estimate(log_ratio: float, variance: float, freedom: float) -> Estimate:
    return Estimate(
        value=math.expm1(log_ratio),
        standard_error=math.exp(log_ratio) * math.sqrt(variance),
        freedom=freedom,
    )


def by_name(scores: Sequence[Score]) -> Mapping[str, Score]:
    """The scores by their contenders' names."""
    return {score.contender.name: score for score in scores}
