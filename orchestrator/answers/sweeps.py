"""Sweeps as they are now: the documents of what the store keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.answers.laws import answer_at_target, why_no_law
from orchestrator.answers.waiting import waits_because
from orchestrator.documents.events import NoticeEvent, TrainerEvent
from orchestrator.documents.laws import LawSummary
from orchestrator.documents.predictions import TargetAnswer
from orchestrator.documents.sweeps import Cost, Progress, SweepDocument, SweepSummary
from orchestrator.documents.trainers import RegistrationDocument
from orchestrator.law.notices import Notice
from orchestrator.states import RUN_MEASURED, SweepState
from orchestrator.store import Store
from orchestrator.store.records import Sweep, Tally

MOST_NOTICES: Final = 20
"""Notices of runs that a sweep's document shows, the newest."""

NOTHING_SAVED: Final = frozenset({SweepState.QUEUED, SweepState.FAILED, SweepState.CANCELLED})
"""States of a sweep that has not done its work: what it did not run is no saving."""


def sweep_summaries(store: Store, sweeps: Sequence[Sweep]) -> list[SweepSummary]:
    """The short documents of stored sweeps, in their order."""
    ids = [sweep.id for sweep in sweeps]
    tallies, predictions = store.sweeps.tallies(ids), store.laws.predictions(ids)
    return [
        _summary(store, sweep, tallies[sweep.id], sweep.law_number, predictions.get(sweep.id))
        for sweep in sweeps
    ]


def sweep_document(store: Store, sweep: Sweep, notices: Sequence[Notice] = ()) -> SweepDocument:
    """The whole document of a stored sweep.

    Args:
        store: where it is recorded.
        sweep: the sweep.
        notices: of its submission.
    """
    law = None if sweep.law_number is None else store.laws.latest(sweep.id)
    number, answer = (None, None) if law is None else (law.number, law.prediction)
    summary = _summary(store, sweep, store.sweeps.tallies([sweep.id])[sweep.id], number, answer)
    return SweepDocument.of(
        summary,
        waits_because=waits_because(store, sweep),
        registration=registration_of(store, sweep),
        notices=[*notices, *_notices_of_runs(store, sweep)],
        spec=sweep.spec,
        law=None if law is None else LawSummary.of(law, law.document),
    )


def _notices_of_runs(store: Store, sweep: Sweep) -> list[Notice]:
    """What the programs of a sweep have told that its user should know."""
    found = store.events.every(sweep.id, NoticeEvent, limit=MOST_NOTICES)
    return [
        Notice(code="runs", message=message) for message in dict.fromkeys(event.message for event in found)
    ]


def registration_of(store: Store, sweep: Sweep) -> RegistrationDocument | None:
    """The registration that carries out the sweep's runs now; None for other trainers than programs."""
    if sweep.spec.training.program is None:
        return None
    event = store.events.latest(sweep.id, TrainerEvent)
    return None if event is None else RegistrationDocument.of(event)


def _summary(
    store: Store, sweep: Sweep, tally: Tally, law_number: int | None, answer: TargetAnswer | None
) -> SweepSummary:
    no_law = why_no_law(store, sweep.id) if answer is None else None
    prediction, refused = answer_at_target(answer, no_law=no_law)
    return SweepSummary.of(
        sweep,
        target=sweep.spec.target,
        progress=Progress(
            runs_total_known=sum(tally.by_state.values()),
            runs_by_state=dict(tally.by_state),
            under_way=tally.under_way,
            batches=sweep.batches,
            grid_rates=tally.rates * sweep.spec.grid.seeds,
            comparison_runs=tally.compared,
        ),
        cost=_cost(sweep, tally),
        law_number=law_number,
        prediction=prediction,
        prediction_refused=refused,
    )


def _cost(sweep: Sweep, tally: Tally) -> Cost:
    spent, full = tally.spent_flops, sweep.full_grid_flops
    has_saved = (
        full > 0 and sweep.state not in NOTHING_SAVED and any(tally.by_state[state] for state in RUN_MEASURED)
    )
    return Cost(
        spent_flops=spent,
        comparison_flops=tally.compared_flops,
        full_grid_flops=full,
        saved_fraction=1.0 - spent / full if has_saved else None,
        seconds=tally.seconds,
    )
