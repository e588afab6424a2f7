"""Carries a sweep's comparison on after its search: it asks for runs and records the stages, in guarded steps."""

from __future__ import annotations

import logging

from orchestrator.documents.comparisons import ComparisonDocument
from orchestrator.documents.events import ComparisonEvent
from orchestrator.errors import NotFound
from orchestrator.heldout.comparison_answer import comparison_answer
from orchestrator.heldout.comparison_setup import ComparisonSetup, setup_of
from orchestrator.heldout.line_up import Spent, cost_of, out_of_reach
from orchestrator.heldout.steps import AskForRuns, EndComparison, FinishedSearch, next_step
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
    """Record that the search is over, and whether the budget suffices for the comparison.

    Args:
        store: of the sweep.
        knowledge: of the sweep.
        stop: why the search is over, in a sentence.
        fence: of the leader's lease.
    """
    sweep = knowledge.sweep
    setup = _setup(store, sweep)
    spent = Spent(
        runs=knowledge.asked,
        flops=knowledge.spent_flops,
        seconds=store.sweeps.span_seconds(sweep.id),
    )
    lacking = out_of_reach(cost_of(setup), sweep.spec.search.budget, spent)
    if lacking is not None:
        reason = f"the budget does not suffice for it: {lacking}"
        event = ComparisonEvent(stage=ComparisonStage.NOT_RUN, search=stop, reason=reason)
    else:
        stage = ComparisonStage.WAITING if setup.search is None else ComparisonStage.TUNING
        event = ComparisonEvent(stage=stage, search=stop)
    store.events.append(sweep.id, event, fence=fence)


def advance(store: Store, sweep: Sweep, search: FinishedSearch, *, fence: int) -> None:
    """Ask for the next runs of a comparison, or record its end; after a kill in between, a restart does the same.

    Args:
        store: of the sweep.
        sweep: its search is over.
        search: the finished search.
        fence: of the leader's lease.
    """
    setup, runs = _setup(store, sweep), store.runs.of_comparison(sweep.id)
    planned = store.comparisons.get(sweep.id) is not None
    match next_step(setup, runs, search, planned=planned):
        case AskForRuns(runs=wanted, plan=plan):
            number = store.runs.add_batch(sweep.id, wanted, fence=fence, comparison=plan)
            counts = {"batch": number, "runs": len(wanted)}
            log.info("runs of the comparison asked for", extra={"sweep_id": sweep.id, **counts})
        case EndComparison(stage=stage, reason=reason):
            event = ComparisonEvent(
                stage=stage,
                search=search.stop,
                reason=reason,
                verdict=comparison_document(store, sweep).verdict if planned else None,
            )
            store.events.append(sweep.id, event, fence=fence)
        case _:
            pass


def end_of_sweep(event: ComparisonEvent) -> str:
    """The reason why a sweep is complete after its comparison, in sentences.

    Args:
        event: of the comparison's last stage.
    """
    cause = f": {event.reason}" if event.reason else "."
    return f"{event.search} The comparison is {event.stage}{cause}"


def comparison_document(store: Store, sweep: Sweep) -> ComparisonDocument:
    """The document of a sweep's comparison as it stands.

    Raises:
        NotFound: the specification has no comparison.
    """
    return comparison_answer(
        sweep,
        _setup(store, sweep),
        store.comparisons.get(sweep.id),
        store.runs.of_comparison(sweep.id),
        store.events.latest(sweep.id, ComparisonEvent),
    )


def _setup(store: Store, sweep: Sweep) -> ComparisonSetup:
    setup = setup_of(sweep.spec, store.sweeps.cells(sweep.id))
    if setup is None:
        raise NotFound(
            f"Sweep {sweep.id} compares nothing: its specification has no comparison. Submit one with "
            "comparison: {scale: {width: …, depth: …}}."
        )
    return setup
