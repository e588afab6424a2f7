"""The next step of a comparison: a pure function of its runs, so that a restarted service asks for the same runs.

First the multipliers of module-wise rates are searched at the base, batch by batch. Then all runs at the held-out scale
are asked for at once, and the plan is stored with them. When those runs have ended, the comparison is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.amounts import multipliers
from orchestrator.documents.comparisons import BaseOptimum, ComparisonPlan, LineUp
from orchestrator.documents.predictions import TargetDocument
from orchestrator.errors import Refused
from orchestrator.heldout.comparison_setup import ComparisonSetup
from orchestrator.heldout.line_up import base_optimum, groups_of, line_up
from orchestrator.heldout.module_rates import ModuleTrial, parse_module_rates
from orchestrator.law import Law
from orchestrator.states import RUN_MEASURED, RUN_OPEN, ComparisonStage, RunState
from orchestrator.store.records import NewRun, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class AskForRuns:
    """Ask for these runs; a plan is stored with them."""

    runs: tuple[NewRun, ...]
    plan: ComparisonPlan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitRuns:
    """Wait for the open runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndComparison:
    """End the comparison; ``reason`` is for its user."""

    stage: ComparisonStage
    reason: str | None = None


Step = AskForRuns | AwaitRuns | EndComparison


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedSearch:
    """The result of the search, on which the comparison builds.

    Attributes:
        law: the newest, fitted to every result of the search; None if none could be fitted.
        law_number: its number.
        stop: why the search ended, in a sentence.
        refusal: why there is no law.
    """

    law: Law | None
    law_number: int
    stop: str
    refusal: str | None = None


def next_step(setup: ComparisonSetup, runs: Sequence[Run], search: FinishedSearch, *, planned: bool) -> Step:
    """Choose the next step of a comparison.

    Args:
        setup: of the comparison.
        runs: of the comparison's cells, in the order of creation.
        search: the search before it.
        planned: whether the runs of the held-out scale were asked for.
    """
    if any(run.state in RUN_OPEN for run in runs):
        return AwaitRuns()
    if planned:
        return _end(runs)
    if search.law is None:
        reason = f"there is no law: {search.refusal or 'no run of the search ended'}"
        return EndComparison(stage=ComparisonStage.NOT_RUN, reason=reason)
    optimum, trials = base_optimum(search.law, setup.base), trials_of(setup, runs)
    try:
        texts = () if setup.search is None else setup.search.next_trials(trials)
    except Refused as error:  # a library that is missing here must not fail a sweep that has its answer
        return EndComparison(stage=ComparisonStage.NOT_RUN, reason=error.detail)
    if texts:
        return AskForRuns(runs=_trial_runs(setup, texts, _trial_rate(setup, runs, optimum), len(trials)))
    best = None if setup.search is None else setup.search.best(trials)
    try:
        lined_up = line_up(setup, search.law, optimum, best, law_number=search.law_number)
    except Refused as refused:
        reason = f"the law refuses the held-out scale: {refused.detail}"
        return EndComparison(stage=ComparisonStage.NOT_RUN, reason=reason)
    plan = ComparisonPlan(
        search=search.stop,
        law_number=search.law_number,
        held_out=TargetDocument.of(setup.standard),
        base=TargetDocument.of(setup.base),
        base_optimum=optimum,
        seeds=setup.seeds,
        line_up=lined_up,
    )
    return AskForRuns(runs=_held_out_runs(setup, lined_up), plan=plan)


def trials_of(setup: ComparisonSetup, runs: Sequence[Run]) -> tuple[ModuleTrial, ...]:
    """The trials of the search for module-wise rates that have ended; a failed run has no loss."""
    if setup.modules is None:
        return ()
    return tuple(
        ModuleTrial(
            module_rates=run.module_rates,
            loss=run.loss if run.state is RunState.COMPLETED else None,
            failed=run.state not in RUN_MEASURED,
        )
        for run in runs
        if run.cell == setup.modules.number and run.state not in RUN_OPEN
    )


def _end(runs: Sequence[Run]) -> EndComparison:
    cancelled = next((run for run in runs if run.state is RunState.CANCELLED), None)
    if cancelled is None:
        return EndComparison(stage=ComparisonStage.COMPLETE)
    return EndComparison(stage=ComparisonStage.CUT_SHORT, reason=cancelled.reason)


def _trial_rate(setup: ComparisonSetup, runs: Sequence[Run], optimum: BaseOptimum) -> float:
    """The global rate of all trials: that of the first one, even if a newer law has another."""
    number = None if setup.modules is None else setup.modules.number
    return next((run.learning_rate for run in runs if run.cell == number), optimum.learning_rate)


def _trial_runs(
    setup: ComparisonSetup, texts: Sequence[str], learning_rate: float, before: int
) -> tuple[NewRun, ...]:
    if setup.modules is None or setup.search is None:
        return ()
    of = f"of {setup.search.runs} for module-wise rates by {setup.search.sampler}"
    return tuple(
        NewRun(
            cell=setup.modules.number,
            learning_rate=learning_rate,
            seed=0,
            trunk=setup.modules.trunk,
            module_rates=text,
            reason=f"Trial {number} {of}: {multipliers(parse_module_rates(text)) or 'no multipliers'}.",
        )
        for number, text in enumerate(texts, before + 1)
    )


def _held_out_runs(setup: ComparisonSetup, lined_up: LineUp) -> tuple[NewRun, ...]:
    return tuple(
        NewRun(
            cell=setup.held_out(group.role).number,
            learning_rate=group.learning_rate,
            seed=seed,
            trunk=setup.held_out(group.role).trunk,
            module_rates=group.module_rates,
            reason=f"For {', '.join(names) or 'the reference bowl'} at the held-out scale.",
        )
        for seed in range(setup.seeds)
        for group, names in groups_of(lined_up).items()
    )
