"""What a comparison takes at most, known before it begins, and whether a budget reaches for it."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.amounts import count, duration, flops
from orchestrator.heldout.contenders import REFERENCE, applying
from orchestrator.heldout.setting import Setting
from orchestrator.spec import Budget

FITTING_AND_SAME_RATE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonCost:
    """Runs and FLOPs (6·N·D each); fewer where contenders come to the same rate."""

    runs: int
    flops: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a sweep has spent: runs asked for, FLOPs, seconds since its first run."""

    runs: int
    flops: float
    seconds: float


def cost_of(setting: Setting) -> ComparisonCost:
    """What the search for module-wise rates and all seeds of the held-out scale take at most."""
    trials = 0 if setting.search is None else setting.search.runs
    standard = FITTING_AND_SAME_RATE + len(applying(setting)) + len(REFERENCE) + (setting.search is not None)
    return ComparisonCost(
        runs=trials + setting.seeds * (standard + 1),
        flops=trials * setting.base.flops
        + setting.seeds * (standard * setting.standard.flops + setting.transfer.flops),
    )


def out_of_reach(cost: ComparisonCost, budget: Budget, spent: Spent) -> str | None:
    """Why a budget does not reach for a comparison; None where it does.

    Seconds are judged by what the sweep's own FLOPs have taken.
    """
    if budget.runs is not None and spent.runs + cost.runs > budget.runs:
        left = max(0, budget.runs - spent.runs)
        return f"it takes up to {cost.runs} runs, and the budget of {budget.runs} leaves {left}"
    if budget.flops is not None and spent.flops + cost.flops > budget.flops:
        left_flops = max(0.0, budget.flops - spent.flops)
        return f"it takes up to {flops(cost.flops)}, and the budget of {flops(budget.flops)} leaves {flops(left_flops)}"
    if budget.seconds is not None and spent.flops > 0:
        needed = cost.flops * spent.seconds / spent.flops
        if spent.seconds + needed > budget.seconds:
            left_seconds = max(0.0, budget.seconds - spent.seconds)
            return (
                f"it would take about {duration(needed)} at the speed so far, and the budget of "
                f"{count(budget.seconds)} seconds leaves {duration(left_seconds)}"
            )
    return None
