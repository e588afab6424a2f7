"""A comparison as clients read it: the plan, the runs joined to it, and the scores once they are in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.documents.events import ComparisonEvent
from orchestrator.heldout.module_rates import read
from orchestrator.heldout.plan import Plan
from orchestrator.heldout.reference import Reference, reference
from orchestrator.heldout.scores import Estimate, Score, by_name, scored
from orchestrator.heldout.setting import Setting
from orchestrator.heldout.steps import trials_of
from orchestrator.heldout.values import FITTING, TRANSFER, Contender, Outcome, Outcomes
from orchestrator.heldout.verdict import verdict
from orchestrator.planner.values import Cell
from orchestrator.spec import CellRole
from orchestrator.states import COMPARISON_FINAL, RUN_OPEN, SWEEP_LIVE, ComparisonStage, RunState, SweepState
from orchestrator.store.records import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of a comparison.

    Attributes:
        stage: where it stands.
        reason: why it was not run, or what cut it short.
        setting: where it is.
        plan: what is run at the held-out scale; None before.
        runs: of its own cells.
        scores: how the contenders did, once nothing is open; empty before.
        best: the reference bowl; None before, and where none of its runs completed.
    """

    stage: ComparisonStage
    reason: str | None
    setting: Setting
    plan: Plan | None
    runs: tuple[Run, ...]
    scores: tuple[Score, ...] = ()
    best: Reference | None = None


def joined(
    setting: Setting,
    plan: Plan | None,
    runs: Sequence[Run],
    *,
    sweep_state: SweepState,
    sweep_reason: str | None,
    event: ComparisonEvent | None,
) -> Found:
    """Join the runs to the plan.

    Args:
        setting: the comparison.
        plan: as it was kept.
        runs: of its own cells.
        sweep_state: where the sweep is.
        sweep_reason: why it ended, if it has.
        event: the newest of the comparison.
    """
    stage, reason = _stage(setting, plan, runs, sweep_state=sweep_state, event=event)
    if stage in COMPARISON_FINAL - {ComparisonStage.COMPLETE} and sweep_state not in SWEEP_LIVE:
        reason = reason or _of_sweep(sweep_state, sweep_reason)
    known = Found(stage=stage, reason=reason, setting=setting, plan=plan, runs=tuple(runs))
    if plan is None or stage not in COMPARISON_FINAL:
        return known
    outcomes = outcomes_of(setting, runs)
    best = reference(outcomes, plan.line_up.expected)
    scores = scored(plan.line_up.contenders, outcomes, best)
    return Found(
        stage=stage, reason=reason, setting=setting, plan=plan, runs=tuple(runs), scores=scores, best=best
    )


def _stage(
    setting: Setting,
    plan: Plan | None,
    runs: Sequence[Run],
    *,
    sweep_state: SweepState,
    event: ComparisonEvent | None,
) -> tuple[ComparisonStage, str | None]:
    if event is not None and event.stage is ComparisonStage.NOT_RUN:
        return ComparisonStage.NOT_RUN, event.reason
    if plan is None:
        if sweep_state not in SWEEP_LIVE:
            return ComparisonStage.NOT_RUN, None
        return (
            ComparisonStage.TUNING if event is not None and setting.search else ComparisonStage.WAITING
        ), None
    if any(run.state in RUN_OPEN for run in runs):
        return ComparisonStage.RUNNING, None
    cut = [run.reason for run in runs if run.state is RunState.CANCELLED]
    if not cut:
        return ComparisonStage.COMPLETE, None
    if sweep_state in SWEEP_LIVE:
        return ComparisonStage.CUT_SHORT, cut[0]
    return ComparisonStage.CUT_SHORT, None if event is None else event.reason


def _of_sweep(state: SweepState, reason: str | None) -> str:
    """Why a sweep's end was that of its comparison; what a user asks for has no further reason."""
    return f"the sweep is {state}" + (f": {reason}" if reason else "")


def outcomes_of(setting: Setting, runs: Iterable[Run]) -> Outcomes:
    """What the held-out runs gave, by place."""
    arms = {cell.number: CellRole(str(cell.arm)) for cell in (setting.standard, setting.transfer)}
    losses: dict[tuple[CellRole, float, str], dict[int, float]] = {}
    diverged: dict[tuple[CellRole, float, str], list[int]] = {}
    for run in runs:
        if run.cell not in arms:
            continue
        place = arms[run.cell], run.learning_rate, run.module_rates
        if run.state is RunState.DIVERGED:
            diverged.setdefault(place, []).append(run.seed)
        elif run.state is RunState.COMPLETED and run.loss is not None:
            losses.setdefault(place, {})[run.seed] = run.loss
    return {
        place: Outcome(losses=losses.get(place, {}), diverged=tuple(sorted(diverged.get(place, ()))))
        for place in losses.keys() | diverged.keys()
    }


def document(known: Found) -> dict[str, Any]:
    """As the API gives it."""
    plan, setting = known.plan, known.setting
    return {
        "state": known.stage,
        "reason": known.reason,
        "held_out": _place(setting.standard),
        "base": _place(setting.base)
        | {
            "learning_rate": None if plan is None else plan.base_optimum.learning_rate,
            "origin": None if plan is None else plan.base_optimum.origin,
        },
        "seeds": setting.seeds,
        "law_number": None if plan is None else plan.law_number,
        "module_search": _module_search(known),
        "best": None if known.best is None else _best(known.best),
        "contenders": [] if plan is None else _contenders(known, plan),
        "reference": [] if plan is None else _reference(known, plan),
        "left_out": [] if plan is None else [asdict(item) for item in plan.line_up.left_out],
        "verdict": verdict_of(known),
    }


def verdict_of(known: Found) -> str | None:
    """Which paradigm to trust, in a sentence; None before the scores are in."""
    if not known.scores:
        return None
    scores = by_name(known.scores)
    return verdict(scores[FITTING], scores[TRANSFER], known.best)


def _place(cell: Cell) -> dict[str, Any]:
    return {"params": cell.params, "tokens": cell.tokens, "batch_tokens": cell.batch_tokens}


def _module_search(known: Found) -> dict[str, Any] | None:
    search = known.setting.search
    if search is None:
        return None
    trials = trials_of(known.setting, known.runs)
    best = search.best(trials)
    plain = next((trial.loss for trial in trials if not trial.module_rates), None)
    return {
        "sampler": search.sampler,
        "runs": search.runs,
        "ended": len(trials),
        "span": search.span,
        "multipliers": None if best is None else dict.fromkeys(search.modules, 1.0) | read(best.module_rates),
        "loss": None if best is None else best.loss,
        "loss_without": plain,
    }


def _best(best: Reference) -> dict[str, Any]:
    return {
        "loss": best.loss,
        "standard_error": best.loss * best.sd,
        "learning_rate": best.learning_rate,
        "low": best.low,
        "high": best.high,
        "curvature": best.curvature,
        "asymmetry": best.asymmetry,
        "noise": best.noise,
        "status": best.status,
    }


def _contenders(known: Found, plan: Plan) -> list[dict[str, Any]]:
    scores = by_name(known.scores)
    return [
        {
            "name": item.name,
            "arm": item.arm,
            "learning_rate": item.learning_rate,
            "module_rates": read(item.module_rates),
            "origin": item.origin,
            "source": item.source,
            "runs": _runs(known, item),
            **_score(scores.get(item.name)),
        }
        for item in plan.line_up.contenders
    ]


def _score(score: Score | None) -> dict[str, Any]:
    return {
        "diverged": None if score is None else score.has_diverged,
        "excess_loss": _estimate(None if score is None else score.excess_loss),
        "difference": _estimate(None if score is None else score.difference),
    }


def _estimate(estimate: Estimate | None) -> dict[str, float] | None:
    if estimate is None:
        return None
    return {
        "value": estimate.value,
        "standard_error": estimate.standard_error,
        "low": estimate.value - estimate.reach,
        "high": estimate.value + estimate.reach,
    }


def _reference(known: Found, plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "learning_rate": rate,
            "runs": _runs(known, Contender(name="", arm=CellRole.STANDARD, learning_rate=rate, origin="")),
        }
        for rate in plan.line_up.reference
    ]


def _runs(known: Found, contender: Contender) -> list[dict[str, Any]]:
    cell = known.setting.cell(contender.arm).number
    return [
        {"run_id": run.id, "seed": run.seed, "state": run.state, "loss": run.loss}
        for run in known.runs
        if (run.cell, run.learning_rate, run.module_rates)
        == (cell, contender.learning_rate, contender.module_rates)
    ]
