"""The scores of the contenders at the held-out scale, with standard errors, and the verdict in a sentence.

    excess loss   e_c = exp(mean_s (ln L_cs − δ_s) − m) − 1          m the bottom of the reference bowl
    difference    d_c = exp(mean_s (ln L_cs − ln L_Fs)) − 1          F Fitting, over the seeds that both have

Seeds are shared, so an effect of a seed on all its runs cancels in both. The variance between a contender's own seeds is
poorly known from three of them, so it is shrunk towards the noise of the whole cell, which weighs as much as the
differences between five seeds (the moderated variance of Smyth 2004, doi:10.2202/1544-6115.1027).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
from scipy.stats import t as student

from orchestrator.amounts import factor, percent, rate
from orchestrator.documents.comparisons import FITTING, TRANSFER, EstimateDocument, PlannedContender
from orchestrator.heldout.reference_bowl import ReferenceBowl
from orchestrator.heldout.run_groups import GroupResult, GroupResults, RunGroup
from orchestrator.law import BowlStatus

PRIOR_FREEDOM: Final = 4.0
"""Degrees of freedom of the noise of the whole cell, beside those of a contender's own seeds."""

SURE: Final = "(95 %)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContenderScore:
    """The score of a contender.

    Attributes:
        contender: as planned.
        result: of its runs.
        excess_loss: over the bottom of the reference bowl; None if a seed diverged or none completed.
        difference: of its loss to Fitting's over the same seeds; None for Fitting, for contenders that share its runs,
            and if a seed of either diverged.
    """

    contender: PlannedContender
    result: GroupResult
    excess_loss: EstimateDocument | None
    difference: EstimateDocument | None

    @property
    def has_diverged(self) -> bool:
        """Whether any of its seeds diverged, so that it has no mean loss."""
        return bool(self.result.diverged)


def contender_scores(
    contenders: Sequence[PlannedContender], results: GroupResults, bowl: ReferenceBowl | None
) -> dict[str, ContenderScore]:
    """The scores of all contenders by name, in their order.

    Args:
        contenders: Fitting among them.
        results: of their groups.
        bowl: the reference bowl; None if none of its runs completed.
    """
    fitting = next(RunGroup.of(item) for item in contenders if item.name == FITTING)
    base = results.get(fitting, GroupResult())
    scores = {}
    for item in contenders:
        own = results.get(RunGroup.of(item), GroupResult())
        scores[item.name] = ContenderScore(
            contender=item,
            result=own,
            excess_loss=None if bowl is None else _excess(RunGroup.of(item), own, bowl),
            difference=None
            if bowl is None or RunGroup.of(item) == fitting
            else _difference(own, base, bowl.noise),
        )
    return scores


def verdict(fitting: ContenderScore, transfer: ContenderScore, bowl: ReferenceBowl | None) -> str:
    """The sentence that says which paradigm to trust at the held-out scale.

    Args:
        fitting: the score of Fitting.
        transfer: the score of Transfer.
        bowl: the reference bowl; None if none of its runs completed.
    """
    if bowl is None:
        return "No run in standard parametrization completed, so neither paradigm can be judged."
    for one, other in ((fitting, transfer), (transfer, fitting)):
        if one.has_diverged and not other.has_diverged:
            seeds = f"{len(one.result.diverged)} of {len(one.result.diverged) + len(one.result.losses)} seeds"
            fate = f"{one.contender.name} diverged in {seeds}"
            if not other.result.losses:
                return f"Trust neither paradigm here: {fate}, and no run of {other.contender.name} completed."
            return f"Trust {other.contender.name} here: {fate}."
    if fitting.has_diverged:
        return "Trust neither paradigm here: both diverged."
    apart = transfer.difference
    if apart is None:
        return "The runs of one of the paradigms did not complete, so the two cannot be compared."
    if apart.is_noise:
        return (
            f"The difference between Transfer and Fitting, {percent(apart.value)} ± {percent(apart.half_width)} {SURE}, "
            "is within noise: either may be trusted here."
        )
    winner, loser = (FITTING, TRANSFER) if apart.value > 0 else (TRANSFER, FITTING)
    return (
        f"Trust {winner} here: {loser} loses {percent(abs(apart.value))} ± {percent(apart.half_width)} {SURE} more"
        f"{_distance(fitting, bowl)}."
    )


def _distance(fitting: ContenderScore, bowl: ReferenceBowl) -> str:
    """The clause on Fitting's distance from the best rate; Transfer's rate is in units of its own."""
    if bowl.status is not BowlStatus.INTERIOR:
        return ", though the reference bowl has no minimum among the rates that were run"
    off = math.exp(abs(math.log(fitting.contender.learning_rate / bowl.learning_rate)))
    return f"; Fitting's rate is within {factor(off)} of the best one, {rate(bowl.learning_rate)}"


def _excess(group: RunGroup, own: GroupResult, bowl: ReferenceBowl) -> EstimateDocument | None:
    logs = {seed: math.log(loss) - bowl.effects.get(seed, 0.0) for seed, loss in own.losses.items()}
    if own.diverged or not logs:
        return None
    variance, freedom = _moderated(list(logs.values()), bowl.noise**2)
    point = group.learning_rate if group.is_in_bowl else None
    whole = bowl.variance_of_excess(point, variance / len(logs))
    return _estimate(fmean(logs.values()) - math.log(bowl.loss), whole, freedom)


def _difference(own: GroupResult, base: GroupResult, noise: float) -> EstimateDocument | None:
    shared = sorted(own.losses.keys() & base.losses.keys())
    if own.diverged or base.diverged or not shared:
        return None
    apart = [math.log(own.losses[seed] / base.losses[seed]) for seed in shared]
    variance, freedom = _moderated(apart, 2 * noise**2)
    return _estimate(fmean(apart), variance / len(apart), freedom)


def _moderated(values: Sequence[float], expected: float) -> tuple[float, float]:
    """The variance of single values, shrunk towards the expected one, and its degrees of freedom."""
    own = float(np.square(np.array(values) - fmean(values)).sum())
    freedom = PRIOR_FREEDOM + len(values) - 1
    return (PRIOR_FREEDOM * expected + own) / freedom, freedom


def _estimate(log_ratio: float, variance: float, freedom: float) -> EstimateDocument:
    value, error = math.expm1(log_ratio), math.exp(log_ratio) * math.sqrt(variance)
    half_width = float(student.ppf(0.975, freedom)) * error
    return EstimateDocument(
        value=value, standard_error=error, low=value - half_width, high=value + half_width
    )
