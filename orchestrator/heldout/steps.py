"""What a comparison does next: a pure function of its runs, so that a restarted service asks for the same.

First the multipliers of module-wise rates are searched at the base, batch by batch; then everything at the held-out
scale is asked for at once, and with it the plan is kept; when those runs have ended, the comparison is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import Unsupported
from orchestrator.heldout.contenders import BaseOptimum, LineUp, base_optimum, line_up
from orchestrator.heldout.module_rates import told
from orchestrator.heldout.modules import Trial
from orchestrator.heldout.plan import Plan
from orchestrator.heldout.setting import Setting
from orchestrator.law import Law, Refused
from orchestrator.spec import CellRole
from orchestrator.states import RUN_OPEN, ComparisonStage, RunState
from orchestrator.store.records import NewRun, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Ask for these runs; with a plan it is kept beside them."""

    runs: tuple[NewRun, ...]
    plan: Plan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Runs are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """Nothing is left to do, for a reason that people read."""

    stage: ComparisonStage
    reason: str | None = None


Step = Ask | Wait | Over


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What the search left.

    Attributes:
        law: the newest, which saw every result of the search; None where none could be fitted.
        law_number: its number.
        search: why the search ended.
        refusal: why there is no law.
    """

    law: Law | None
    law_number: int
    search: str
    refusal: str | None = None


def next_step(setting: Setting, runs: Sequence[Run], basis: Basis, *, planned: bool) -> Step:
    """Choose what the comparison does next.

    Args:
        setting: the comparison.
        runs: those of its own cells, in the order of creation.
        basis: what the search left.
        planned: whether the runs of the held-out scale were asked for.
    """
    if any(run.state in RUN_OPEN for run in runs):
        return Wait()
    if planned:
        cut = [run for run in runs if run.state is RunState.CANCELLED]
        return (
            Over(stage=ComparisonStage.CUT_SHORT, reason=cut[0].reason)
            if cut
            else Over(stage=ComparisonStage.COMPLETE)
        )
    if basis.law is None:
        return Over(
            stage=ComparisonStage.NOT_RUN,
            reason=f"there is no law: {basis.refusal or 'no run of the search ended'}",
        )
    optimum = base_optimum(basis.law, setting.base)
    trials = trials_of(setting, runs)
    try:
        asked = () if setting.search is None else setting.search.next_trials(trials)
    except Unsupported as error:  # the sweep has its answer: what this machine lacks must not take it away
        return Over(stage=ComparisonStage.NOT_RUN, reason=error.detail)
    if asked:
        return Ask(runs=_trial_runs(setting, asked, _trial_rate(setting, runs, optimum), len(trials)))
    best = None if setting.search is None else setting.search.best(trials)
    try:
        found = line_up(setting, basis.law, optimum, best, law_number=basis.law_number)
    except Refused as refused:
        return Over(
            stage=ComparisonStage.NOT_RUN, reason=f"the law refuses the held-out scale: {refused.detail}"
        )
    plan = Plan.of(setting, found, optimum, search=basis.search, law_number=basis.law_number)
    return Ask(runs=_held_out_runs(setting, found), plan=plan)


def trials_of(setting: Setting, runs: Sequence[Run]) -> tuple[Trial, ...]:
    """The trials of the search for module-wise rates that have ended; a run that the machine lost tells no loss."""
    if setting.modules is None:
        return ()
    return tuple(
        Trial(
            module_rates=run.module_rates,
            loss=run.loss if run.state is RunState.COMPLETED else None,
            failed=run.state not in {RunState.COMPLETED, RunState.DIVERGED},
        )
        for run in runs
        if run.cell == setting.modules.number and run.state not in RUN_OPEN
    )


def _trial_rate(setting: Setting, runs: Sequence[Run], optimum: BaseOptimum) -> float:
    """The global rate of all trials: that of the first, whatever law came since."""
    number = None if setting.modules is None else setting.modules.number
    return next((run.learning_rate for run in runs if run.cell == number), optimum.learning_rate)


def _trial_runs(
    setting: Setting, asked: Sequence[str], learning_rate: float, before: int
) -> tuple[NewRun, ...]:
    if setting.modules is None or setting.search is None:
        return ()
    of = f"of {setting.search.runs} for module-wise rates by {setting.search.sampler}"
    return tuple(
        NewRun(
            cell=setting.modules.number,
            learning_rate=learning_rate,
            seed=0,
            trunk=setting.modules.trunk,
            module_rates=text,
            reason=f"Trial {number} {of}: {told(text) or 'no multipliers'}.",
        )
        for number, text in enumerate(asked, before + 1)
    )


def _held_out_runs(setting: Setting, found: LineUp) -> tuple[NewRun, ...]:
    return tuple(
        NewRun(
            cell=setting.cell(CellRole(arm)).number,
            learning_rate=learning_rate,
            seed=seed,
            trunk=setting.cell(CellRole(arm)).trunk,
            module_rates=module_rates,
            reason=f"For {who} at the held-out scale.",
        )
        for seed in range(setting.seeds)
        for (arm, learning_rate, module_rates), who in found.places.items()
    )
