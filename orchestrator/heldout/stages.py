"""Carries a sweep's comparison on once its search is over: what is asked for, and what is told, in guarded steps."""

from __future__ import annotations

import logging
from typing import Any

from orchestrator.documents.events import ComparisonEvent
from orchestrator.heldout.cost import Spent, cost_of, out_of_reach
from orchestrator.heldout.document import Found, document, joined
from orchestrator.heldout.plan import Plan
from orchestrator.heldout.setting import Setting, setting_of
from orchestrator.heldout.steps import Ask, Basis, Over, next_step
from orchestrator.knowledge import SweepKnowledge
from orchestrator.states import ComparisonStage
from orchestrator.store import Store
from orchestrator.store.records import Sweep

log = logging.getLogger(__name__)


def stage_of(store: Store, sweep: Sweep) -> ComparisonStage | None:
    """The stage of a sweep's comparison by its newest event; None if the sweep has no comparison."""
    if sweep.spec.comparison is None:
        return None
    event = store.events.latest(sweep.id, ComparisonEvent)
    return ComparisonStage.WAITING if event is None else event.stage


def begin(store: Store, knowledge: SweepKnowledge, stop: str, *, fence: int) -> None:
    """Tell that the search is over, and whether the budget reaches for the comparison.

    Args:
        store: where it is told.
        knowledge: of the sweep.
        stop: why the search is over.
        fence: of the leader's lease.
    """
    sweep = knowledge.sweep
    setting = _setting(store, sweep)
    spent = Spent(
        runs=knowledge.asked,
        flops=knowledge.spent_flops,
        seconds=store.sweeps.span_seconds(sweep.id),
    )
    reason = out_of_reach(cost_of(setting), sweep.spec.search.budget, spent)
    if reason is not None:
        event = ComparisonEvent(
            stage=ComparisonStage.NOT_RUN, search=stop, reason=f"the budget does not reach for it: {reason}"
        )
    else:
        stage = ComparisonStage.WAITING if setting.search is None else ComparisonStage.TUNING
        event = ComparisonEvent(stage=stage, search=stop)
    store.events.append(sweep.id, event, fence=fence)


def advance(store: Store, sweep: Sweep, basis: Basis, *, fence: int) -> None:
    """Ask for the next runs of a comparison, or tell its end; killed in between, a restart does the same.

    Args:
        store: where everything is recorded.
        sweep: the sweep, whose search is over.
        basis: what the search left.
        fence: of the leader's lease.
    """
    setting, runs = _setting(store, sweep), store.runs.of_comparison(sweep.id)
    planned = store.comparisons.get(sweep.id) is not None
    match next_step(setting, runs, basis, planned=planned):
        case Ask(runs=asked, plan=plan):
            kept = None if plan is None else plan.to_document()
            number = store.runs.add_batch(sweep.id, asked, fence=fence, comparison=kept)
            counts = {"batch": number, "runs": len(asked)}
            log.info("runs of the comparison asked for", extra={"sweep_id": sweep.id, **counts})
        case Over(stage=stage, reason=reason):
            event = ComparisonEvent(stage=stage, search=basis.search, reason=reason)
            if planned:
                verdict = comparison_document(store, sweep)["verdict"]
                event = ComparisonEvent(stage=stage, search=basis.search, reason=reason, verdict=verdict)
            store.events.append(sweep.id, event, fence=fence)
        case _:
            pass


def ending(event: ComparisonEvent) -> str:
    """Why a sweep is over whose comparison has come to its end."""
    cause = f": {event.reason}" if event.reason else "."
    return f"{event.search} The comparison is {event.stage}{cause}"


def comparison_of(store: Store, sweep: Sweep) -> Found | None:
    """A sweep's comparison as it stands, its runs joined to its plan; None where the specification has none."""
    setting = setting_of(sweep.spec, store.sweeps.cells(sweep.id))
    if setting is None:
        return None
    kept = store.comparisons.get(sweep.id)
    return joined(
        setting,
        None if kept is None else Plan.from_document(kept.document),
        store.runs.of_comparison(sweep.id),
        sweep_state=sweep.state,
        sweep_reason=sweep.reason,
        event=store.events.latest(sweep.id, ComparisonEvent),
    )


def comparison_document(store: Store, sweep: Sweep) -> dict[str, Any]:
    """The same as clients read it.

    Raises:
        ValueError: the specification has none.
    """
    found = comparison_of(store, sweep)
    if found is None:
        raise ValueError(f"sweep {sweep.id} compares nothing")
    return {"sweep_id": sweep.id, **document(found)}


def _setting(store: Store, sweep: Sweep) -> Setting:
    setting = setting_of(sweep.spec, store.sweeps.cells(sweep.id))
    if setting is None:
        raise ValueError(f"sweep {sweep.id} compares nothing")
    return setting
