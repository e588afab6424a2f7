"""The offer to confirm an answer with runs at the target itself, or in the largest affordable cell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from orchestrator.amounts import percent, rate
from orchestrator.cells import TRAINING_FLOPS_PER_PARAM_TOKEN, Point
from orchestrator.documents.predictions import AffordableRuns, BestTried, Confirmation
from orchestrator.errors import Refused
from orchestrator.law import FitOptions, Law, Observations, fit
from orchestrator.law.observations import point_array, rows_among
from orchestrator.planner.affordable import affordable
from orchestrator.planner.confirming import CONFIRMED_PROBABILITY, NEAR, ConfirmationPlan, TargetRun, confirm

Runs = Callable[[], Observations]
"""Reads the runs that a law was fitted to; called only when they are needed."""


def confirmation(
    law: Law,
    target: Point,
    *,
    runs: Runs | None = None,
    budget_flops: float | None = None,
    active_share: float = 1.0,
) -> Confirmation:
    """Plan the runs at the target that settle the answer.

    Args:
        law: the law that predicts.
        target: where.
        runs: reads everything the law was fitted to; called at most once, and only if the target has runs or the
            budget does not pay for one.
        budget_flops: FLOPs that may be spent in all; less than one run at the target plans runs in another cell.
        active_share: active parameters over N: a run costs 6 FLOPs for each active parameter and token.
    """
    has_runs = law.bowl_at(target) is not None
    flops_per_run = TRAINING_FLOPS_PER_PARAM_TOKEN * active_share * target.params * target.tokens
    short = budget_flops is not None and budget_flops < flops_per_run
    observations = runs().counting() if runs is not None and (has_runs or short) else None
    found = _at_target(target, observations) if has_runs else confirm(law, target)
    instead = (
        _affordable(law, target, budget_flops, observations, active_share)
        if budget_flops is not None and short
        else None
    )
    if isinstance(found, str):
        return Confirmation(
            learning_rates=[],
            flops_per_run=flops_per_run,
            expected_runs=None,
            expected_runs_until_sure=None,
            probability_first=None,
            best=None,
            reason=found,
            affordable=instead,
        )
    return Confirmation.of(
        found,
        learning_rates=found.rates,
        flops_per_run=flops_per_run,
        best=_best(found),
        reason=_reason(found),
        affordable=instead,
    )


def _at_target(target: Point, observations: Observations | None) -> ConfirmationPlan | str:
    """The plan for a target that has runs, or the reason why there is none."""
    if observations is None:
        return "The target has runs of its own, and their results are not available here."
    here = rows_among(point_array([target]), observations.points) == 0
    try:
        rest = fit(observations.where(~here), options=FitOptions(heldout=False))
    except Refused as refused:
        return f"Without the target's own runs the others give no law: {refused.detail}"
    own = observations.where(here)
    trials = [
        TargetRun(learning_rate=x, loss=loss if np.isfinite(loss) else None)
        for x, loss in zip(own.learning_rate.tolist(), own.loss.tolist(), strict=True)
    ]
    return confirm(rest, target, trials=trials)


def _best(found: ConfirmationPlan) -> BestTried | None:
    if found.best is None or found.probability_best is None:
        return None
    return BestTried(learning_rate=found.best, probability=found.probability_best)


def _reason(found: ConfirmationPlan) -> str:
    """The offer in sentences."""
    near, best = f"within {percent(NEAR)} of the best rate", ""
    if found.best is not None and found.probability_best is not None:
        best = (
            f"Of the rates run there {rate(found.best)} is expected to lose least; it is {near} with probability "
            f"{found.probability_best:.2f}. "
        )
    if found.probability_first is None:
        return (
            f"{best}No further run is needed."
            if _sure(found)
            else f"{best}No rate left is likely to be better."
        )
    return f"{best}{rate(found.rates[0])} is {near} with probability {found.probability_first:.2f}. {_runs_text(found)}"


def _runs_text(found: ConfirmationPlan) -> str:
    """The runs to expect; one number where certainty takes no more."""
    near, sure = f"{found.expected_runs:.1f}", f"{found.expected_runs_until_sure:.1f}"
    known = f"with probability {CONFIRMED_PROBABILITY:g}"
    if float(sure) <= float(near):
        return f"Runs expected at the target until one is that close, and known to be {known}: {near}."
    return f"Runs expected at the target: {near} until one is that close, {sure} until one is known to be {known}."


def _sure(found: ConfirmationPlan) -> bool:
    return found.probability_best is not None and found.probability_best >= CONFIRMED_PROBABILITY


def _affordable(
    law: Law, target: Point, budget_flops: float, observations: Observations | None, active_share: float
) -> AffordableRuns | None:
    found = affordable(law, target, budget_flops, observations=observations, active_share=active_share)
    if found is None:
        return None
    return AffordableRuns.of(
        found,
        found.cell,
        learning_rates=found.rates,
        interval_factor_before=found.factor_before,
        interval_factor_after=found.factor_after,
    )
