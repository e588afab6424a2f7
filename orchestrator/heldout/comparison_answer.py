"""The comparison document of a sweep: its plan, the runs of its contenders, and the scores after the last run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.documents.comparisons import (
    FITTING,
    TRANSFER,
    BaseDocument,
    BestDocument,
    ComparedRun,
    ComparisonDocument,
    ComparisonPlan,
    ContenderDocument,
    ModuleSearchDocument,
    PlannedContender,
    ReferenceRate,
)
from orchestrator.documents.events import ComparisonEvent
from orchestrator.documents.predictions import TargetDocument
from orchestrator.heldout.comparison_setup import ComparisonSetup
from orchestrator.heldout.module_rates import NO_MULTIPLIERS, parse_module_rates
from orchestrator.heldout.reference_bowl import ReferenceBowl, reference_bowl
from orchestrator.heldout.run_groups import RunGroup, group_results, grouped
from orchestrator.heldout.scoring import ContenderScore, contender_scores, verdict
from orchestrator.heldout.steps import trials_of
from orchestrator.spec import CellRole
from orchestrator.states import COMPARISON_FINAL, RUN_OPEN, SWEEP_LIVE, ComparisonStage, RunState
from orchestrator.store.records import Run, Sweep

Groups = Mapping[RunGroup, Sequence[Run]]


def comparison_answer(
    sweep: Sweep,
    setup: ComparisonSetup,
    plan: ComparisonPlan | None,
    runs: Sequence[Run],
    newest: ComparisonEvent | None,
) -> ComparisonDocument:
    """The document of a comparison as it stands.

    Args:
        sweep: with the comparison.
        setup: of the comparison.
        plan: as it is stored; None before.
        runs: of the comparison's cells, in the order of creation.
        newest: the newest event of the comparison; None while the search goes on.
    """
    stage, reason = _stage(sweep, setup, plan, runs, newest)
    groups = grouped(setup, runs)
    has_ended = stage in COMPARISON_FINAL
    bowl, scores = (None, {}) if plan is None or not has_ended else _scores(plan, groups)
    return ComparisonDocument(
        sweep_id=sweep.id,
        state=stage,
        reason=reason,
        held_out=TargetDocument.of(setup.standard),
        base=BaseDocument.of(
            setup.base,
            learning_rate=None if plan is None else plan.base_optimum.learning_rate,
            origin=None if plan is None else plan.base_optimum.origin,
        ),
        seeds=setup.seeds,
        law_number=None if plan is None else plan.law_number,
        module_search=_module_search(setup, runs),
        best=None if bowl is None else _best(bowl),
        contenders=[]
        if plan is None
        else [_contender(item, groups, scores.get(item.name)) for item in plan.line_up.contenders],
        reference=[] if plan is None else _reference(plan, groups, bowl),
        left_out=[] if plan is None else list(plan.line_up.left_out),
        verdict=verdict(scores[FITTING], scores[TRANSFER], bowl) if scores else None,
    )


def _stage(
    sweep: Sweep,
    setup: ComparisonSetup,
    plan: ComparisonPlan | None,
    runs: Sequence[Run],
    newest: ComparisonEvent | None,
) -> tuple[ComparisonStage, str | None]:
    """The stage of the comparison, and the reason why it was not run or was cut short."""
    end = None
    if sweep.state not in SWEEP_LIVE:
        end = f"the sweep is {sweep.state}" + (f": {sweep.reason}" if sweep.reason else "")
    if newest is not None and newest.stage is ComparisonStage.NOT_RUN:
        return ComparisonStage.NOT_RUN, newest.reason or end
    if plan is None:
        if end is not None:
            return ComparisonStage.NOT_RUN, end
        tunes = newest is not None and setup.search is not None
        return ComparisonStage.TUNING if tunes else ComparisonStage.WAITING, None
    if any(run.state in RUN_OPEN for run in runs):
        return ComparisonStage.RUNNING, None
    cancelled = [run.reason for run in runs if run.state is RunState.CANCELLED]
    if not cancelled:
        return ComparisonStage.COMPLETE, None
    if end is None:
        return ComparisonStage.CUT_SHORT, cancelled[0]
    return ComparisonStage.CUT_SHORT, (newest.reason if newest is not None else None) or end


def _scores(plan: ComparisonPlan, groups: Groups) -> tuple[ReferenceBowl | None, dict[str, ContenderScore]]:
    results = group_results(groups)
    bowl = reference_bowl(results, plan.line_up.expected)
    return bowl, contender_scores(plan.line_up.contenders, results, bowl)


def _module_search(setup: ComparisonSetup, runs: Sequence[Run]) -> ModuleSearchDocument | None:
    search = setup.search
    if search is None:
        return None
    trials = trials_of(setup, runs)
    best = search.best(trials)
    return ModuleSearchDocument.of(
        search,
        ended=len(trials),
        multipliers=None
        if best is None
        else dict.fromkeys(map(str, search.modules), 1.0) | _by_module(best.module_rates),
        loss=None if best is None else best.loss,
        loss_without=next((trial.loss for trial in trials if trial.module_rates == NO_MULTIPLIERS), None),
    )


def _best(bowl: ReferenceBowl) -> BestDocument:
    return BestDocument.of(bowl, standard_error=bowl.loss * bowl.sd)


def _contender(item: PlannedContender, groups: Groups, score: ContenderScore | None) -> ContenderDocument:
    return ContenderDocument.of(
        item,
        module_rates=_by_module(item.module_rates),
        runs=_compared_runs(groups, RunGroup.of(item)),
        diverged=None if score is None else score.has_diverged,
        excess_loss=None if score is None else score.excess_loss,
        difference=None if score is None else score.difference,
    )


def _reference(plan: ComparisonPlan, groups: Groups, bowl: ReferenceBowl | None) -> list[ReferenceRate]:
    results = group_results(groups)
    rates = []
    for learning_rate in plan.line_up.reference:
        group = RunGroup(CellRole.STANDARD, learning_rate)
        losses = results[group].losses if group in results else {}
        rates.append(
            ReferenceRate(
                learning_rate=learning_rate,
                runs=_compared_runs(groups, group),
                excess_loss=None if bowl is None else bowl.excess_loss(losses),
            )
        )
    return rates


def _by_module(text: str) -> dict[str, float]:
    return {str(module): multiplier for module, multiplier in parse_module_rates(text).items()}


def _compared_runs(groups: Groups, group: RunGroup) -> list[ComparedRun]:
    return [ComparedRun.of(run, run_id=run.id) for run in groups.get(group, ())]
