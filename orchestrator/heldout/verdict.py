"""Which paradigm to trust at the held-out scale, in one sentence."""

from __future__ import annotations

import math

from orchestrator.amounts import factor, percent, rate
from orchestrator.heldout.reference import Reference
from orchestrator.heldout.scores import Score
from orchestrator.law import BowlStatus

SURE = "(95 %)"


def verdict(fitting: Score, transfer: Score, best: Reference | None) -> str:
    """The sentence.

    Args:
        fitting: how Fitting did.
        transfer: how Transfer did.
        best: the reference bowl.
    """
    if best is None:
        return "No run in standard parametrization completed, so nothing can be said of either paradigm."
    for one, other in ((fitting, transfer), (transfer, fitting)):
        if one.has_diverged and not other.has_diverged:
            seeds = (
                f"{len(one.outcome.diverged)} of {len(one.outcome.diverged) + len(one.outcome.losses)} seeds"
            )
            fate = f"{one.contender.name} diverged in {seeds}"
            if not other.outcome.losses:
                return f"Trust neither paradigm here: {fate}, and no run of {other.contender.name} completed."
            return f"Trust {other.contender.name} here: {fate}."
    if fitting.has_diverged:
        return "Trust neither paradigm here: both diverged."
    apart = transfer.difference
    if apart is None:
        return "The runs of one of the paradigms did not complete, so they cannot be told apart."
    if apart.is_noise:
        return (
            f"The difference between Transfer and Fitting, {percent(apart.value)} ± {percent(apart.reach)} {SURE}, is "
            "within noise: either may be trusted here."
        )
    winner, loser = ("Fitting", "Transfer") if apart.value > 0 else ("Transfer", "Fitting")
    return (
        f"Trust {winner} here: {loser} loses {percent(abs(apart.value))} ± {percent(apart.reach)} {SURE} more"
        f"{_why(fitting, best)}."
    )


def _why(fitting: Score, best: Reference) -> str:
    """How far Fitting's rate is from the best one: both are in one parametrization, Transfer's is in units of its own."""
    if best.status is not BowlStatus.INTERIOR:
        return ", though the reference bowl has no minimum among the rates that were run"
    off = math.exp(abs(math.log(fitting.contender.learning_rate / best.learning_rate)))
    return f"; Fitting's rate is within {factor(off)} of the best one, {rate(best.learning_rate)}"
