"""The loop over live sweeps: it decides on one step at a time, and guards every write by the leader's fence."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from orchestrator.documents.events import (
    BatchEvent,
    ComparisonEvent,
    LawEvent,
    RevisionEvent,
    RunChangeEvent,
    WaitEvent,
)
from orchestrator.errors import Conflict, EtalonError, Refused, Unavailable
from orchestrator.heldout import stages
from orchestrator.heldout.steps import FinishedSearch
from orchestrator.knowledge import SweepKnowledge, knowledge_of, prior_of
from orchestrator.law import Law, Observations, OutdatedLaw
from orchestrator.loop.decision import (
    Action,
    DropRuns,
    Idle,
    MoveSweep,
    PlanRuns,
    RefitLaw,
    StartDriver,
    SweepSnapshot,
    decide,
)
from orchestrator.loop.refit import Batch, answer, fitted, in_both_counts, is_recent, next_batch
from orchestrator.spec import Budget
from orchestrator.states import (
    COMPARISON_FINAL,
    RUN_FINAL,
    ComparisonStage,
    RunState,
    SweepState,
)
from orchestrator.store import LEADER, Store, driver_lease
from orchestrator.store.records import Sweep

log = logging.getLogger(__name__)

MOST_STEPS = 8
"""Steps with one sweep before the next sweep's turn."""

MOST_FAULTS = 3
"""A sweep fails after this many unexpected errors in a row, so that the others go on."""

FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 30.0
"""Seconds without a step after a sweep's first unexpected error; they double with each in a row, up to the longest."""

NEVER_FITTED: Final = LawEvent(number=None, runs=0)
"""Stands for the newest fit of a sweep before its first."""

MACHINE_FAULTS = (OSError, MemoryError)
"""Errors of this machine, not of a sweep: they do not fail it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fingerprint:
    """All that a decision depends on besides the time: every change in the store appends an event."""

    last_event: int
    driver_alive: bool
    driver_rests: bool
    driver_deaths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """Unexpected errors of a sweep in a row.

    Attributes:
        own: errors that are not of the machine.
        rests: pauses so far.
        rests_until: end of the last pause on the loop's clock.
    """

    own: int = 0
    rests: int = 0
    rests_until: float = 0.0


class DriverProcesses(Protocol):
    """The driver processes as the loop uses them (``orchestrator.loop.drivers.Drivers``)."""

    def start(self, sweep_id: str) -> None:
        """Start a sweep's driver."""

    def alive(self, sweep_id: str) -> bool:
        """Whether the driver started here is alive."""

    def rests(self, sweep_id: str) -> bool:
        """Whether the next driver has to wait."""

    def deaths(self, sweep_id: str) -> int:
        """Drivers in a row that died early."""

    def forgive(self, sweep_id: str) -> None:
        """Count no death so far."""

    def last_message_of(self, sweep_id: str) -> str | None:
        """Last log line of the driver that died; None if it logged nothing."""

    def reap(self, live: set[str]) -> None:
        """Forget the drivers of all sweeps but these."""


class Loop:
    """Carries sweeps from submission to their answer; all its state is in the store."""

    def __init__(
        self,
        store: Store,
        drivers: DriverProcesses,
        *,
        fence: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Lead.

        Args:
            store: of the sweeps.
            drivers: the driver processes.
            fence: of the leader's lease; it guards every write.
            clock: monotonic, in seconds.
        """
        self._store, self._drivers, self._fence, self._clock = store, drivers, fence, clock
        self._prior: dict[str, Observations | None] = {}
        self._faults: dict[str, _Fault] = {}
        self._idle: dict[str, _Fingerprint] = {}
        self._done: dict[str, int] = {}

    def step(self) -> None:
        """Carry every live sweep as far as it can go now, and refit the laws of ended ones that must follow a change.

        Raises:
            Unavailable: the database does not answer.
            Conflict: another process is the leader.
        """
        sweeps = self._store.sweeps.live()
        self._drivers.reap({sweep.id for sweep in sweeps})
        sweeps += self._store.sweeps.to_refit()
        live = {sweep.id for sweep in sweeps}
        for kept in (self._prior, self._faults, self._idle, self._done):
            for sweep_id in kept.keys() - live:
                del kept[sweep_id]
        last_events = self._store.events.last_ids(live)
        for sweep in sweeps:
            fingerprint = self._fingerprint(sweep.id, last_events.get(sweep.id, 0))
            rests = self._clock() < self._faults.get(sweep.id, _Fault()).rests_until
            is_idle = fingerprint == self._idle.get(sweep.id) and not sweep.spec.search.budget.seconds
            if not rests and not is_idle:
                self._advance(sweep, fingerprint.last_event)

    def _fingerprint(self, sweep_id: str, last_event: int) -> _Fingerprint:
        return _Fingerprint(
            last_event=last_event,
            driver_alive=self._has_driver(sweep_id),
            driver_rests=self._drivers.rests(sweep_id),
            driver_deaths=self._drivers.deaths(sweep_id),
        )

    def _has_driver(self, sweep_id: str) -> bool:
        alive = self._drivers.alive(sweep_id)
        return alive or self._store.leases.current(driver_lease(sweep_id)) is not None

    def _advance(self, sweep: Sweep, last_event: int) -> None:
        """Take steps with a sweep until it is idle; it is idle as long as its fingerprint stays the same."""
        self._idle.pop(sweep.id, None)
        try:
            for _ in range(MOST_STEPS):
                seen = self._fingerprint(sweep.id, last_event)  # before the decision, which may be late
                action = decide(self._snapshot(sweep))
                if isinstance(action, Idle):
                    self._idle[sweep.id] = seen
                    break
                self._do(action, sweep)
                sweep = self._store.sweeps.get(sweep.id)
        except Conflict as conflict:
            self._check_lead()
            log.info(
                "the sweep has changed meanwhile", extra={"sweep_id": sweep.id, "detail": conflict.detail}
            )
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - an error of one sweep must not end the others
            self._fault(sweep, error)
        else:
            self._faults.pop(sweep.id, None)

    def _snapshot(self, sweep: Sweep) -> SweepSnapshot:
        runs = self._store.sweeps.progress(sweep.id)
        budget = sweep.spec.search.budget
        fit, stage = self._last_fit(sweep.id), stages.stage_of(self._store, sweep)
        searches = stage in {None, ComparisonStage.WAITING}
        known = self._known(sweep)
        early_failures = self._early_failures(sweep, runs)
        tops_up = sweep.spec.refits_on_arrival and fit.number is not None and searches
        return SweepSnapshot(
            state=sweep.state,
            has_cells=sweep.spec.trainer is not None,
            runs=runs,
            budget=budget,
            spent_flops=self._store.sweeps.spent_flops(sweep.id) if budget.flops else 0.0,
            span_seconds=self._span(sweep, budget),
            most_open=sweep.spec.most_open if tops_up else None,
            is_planned=tops_up and self._is_planned(sweep.id, runs),
            fit_is_current=fit.runs == known,
            refit_due=sweep.refits_done < sweep.refits_asked and bool(fit.runs or known),
            refusal=fit.detail,
            driver_alive=self._has_driver(sweep.id),
            driver_rests=self._drivers.rests(sweep.id),
            driver_deaths=self._idle_deaths(sweep.id, runs),
            driver_message=self._drivers.last_message_of(sweep.id),
            failure=self._failure(sweep.id) if runs[RunState.FAILED] else None,
            early_failures=early_failures,
            learns=early_failures > 0 and self._store.losses.has_live(sweep.id),
            comparison=stage,
        )

    def _idle_deaths(self, sweep_id: str, runs: dict[RunState, int]) -> int:
        """Drivers in a row that died early and did nothing: a sweep that makes progress is not failed by their deaths."""
        if not self._drivers.deaths(sweep_id):
            return 0
        done = self._store.losses.count(sweep_id) + sum(runs[state] for state in RUN_FINAL)
        if done > self._done.get(sweep_id, 0):
            self._done[sweep_id] = done
            self._drivers.forgive(sweep_id)
        return self._drivers.deaths(sweep_id)

    def _last_fit(self, sweep_id: str) -> LawEvent:
        return self._store.events.latest(sweep_id, LawEvent) or NEVER_FITTED

    def _known(self, sweep: Sweep) -> int:
        """Number of runs that a fit would see now."""
        prior = self._prior_of(sweep)
        return self._store.sweeps.results(sweep.id) + (0 if prior is None else prior.size)

    def _is_planned(self, sweep_id: str, runs: dict[RunState, int]) -> bool:
        """Whether the planner's last choice was to wait, or was made after the last run had ended.

        After a revision or a change of a run, it has chosen nothing yet.
        """
        match self._store.events.latest(sweep_id, BatchEvent, WaitEvent, RevisionEvent, RunChangeEvent):
            case BatchEvent(ended=ended):
                return ended == sum(runs[state] for state in RUN_FINAL)
            case WaitEvent():
                return True
            case _:
                return False

    def _span(self, sweep: Sweep, budget: Budget) -> float:
        return self._store.sweeps.span_seconds(sweep.id) if budget.seconds else 0.0

    def _failure(self, sweep_id: str) -> str:
        failed, _, _ = self._store.runs.page(sweep_id, state=RunState.FAILED, limit=1)
        return (failed[0].reason if failed else None) or "no reason"

    def _early_failures(self, sweep: Sweep, runs: dict[RunState, int]) -> int:
        if sweep.spec.training.program is None or not runs[RunState.FAILED]:
            return 0
        return self._store.runs.failed_since_begun(sweep.id)

    def _do(self, action: Action, sweep: Sweep) -> None:
        match action:
            case MoveSweep(to=to, reason=reason):
                self._move(sweep, to, reason)
            case StartDriver():
                self._drivers.start(sweep.id)
            case DropRuns(reason=reason, live=live):
                self._store.runs.drop(sweep.id, fence=self._fence, reason=reason, live=live)
            case RefitLaw():
                knowledge = self._knowledge(sweep)
                self._record(fitted(knowledge), knowledge, Batch())
            case PlanRuns():
                self._plan(sweep)
            case Idle():
                pass

    def _move(self, sweep: Sweep, to: SweepState, reason: str | None) -> None:
        self._store.sweeps.move(sweep.id, to, actor=LEADER, reason=reason, fence=self._fence)
        log.info("sweep moved", extra={"sweep_id": sweep.id, "state": to, "reason": reason})

    def _plan(self, sweep: Sweep) -> None:
        """Refit, plan, and ask for the batch; after a kill in between, a restart plans the same from the same record."""
        knowledge = self._knowledge(sweep)
        if sweep.spec.comparison is not None:
            newest = self._store.events.latest(sweep.id, ComparisonEvent)
            if newest is not None:
                self._compare(knowledge, newest)
                return
        batch = self._next_batch(knowledge)
        if not batch.runs and batch.stop is None:
            self._store.events.append(sweep.id, WaitEvent(ended=knowledge.ended), fence=self._fence)
        if batch.runs or batch.pruned:
            number = self._store.runs.add_batch(
                sweep.id, batch.runs, fence=self._fence, pruned=batch.pruned, ended=knowledge.ended
            )
            counts = {"batch": number, "runs": len(batch.runs), "pruned": len(batch.pruned)}
            log.info("batch asked for", extra={"sweep_id": sweep.id, **counts})
        if batch.stop is not None and sweep.spec.comparison is None:
            self._move(sweep, SweepState.COMPLETED, batch.stop)
        elif batch.stop is not None:
            stages.begin(self._store, knowledge, batch.stop, fence=self._fence)

    def _compare(self, knowledge: SweepKnowledge, newest: ComparisonEvent) -> None:
        """Carry on the comparison of a sweep whose search is over, or complete the sweep after it."""
        sweep = knowledge.sweep
        if newest.stage in COMPARISON_FINAL:
            if self._last_fit(sweep.id).runs != knowledge.observations.size:  # a run was retried since
                self._record(fitted(knowledge), knowledge, Batch())
            self._move(sweep, SweepState.COMPLETED, stages.end_of_sweep(newest))
            return
        fit = self._last_fit(sweep.id)
        try:
            law = self._recorded_law(sweep.id, fit)
        except OutdatedLaw:  # the next step goes on with the new law
            self._record(fitted(knowledge), knowledge, Batch())
            return
        search = FinishedSearch(law=law, law_number=fit.number or 0, stop=newest.search, refusal=fit.detail)
        stages.advance(self._store, sweep, search, fence=self._fence)

    def _next_batch(self, knowledge: SweepKnowledge) -> Batch:
        """The next batch, by the last law while it is recent; by a fresh one otherwise, and before a stop."""
        fit, known = self._last_fit(knowledge.sweep.id), knowledge.observations.size
        refit_due = knowledge.sweep.refits_done < knowledge.sweep.refits_asked
        if not refit_due and (fit.runs == known or (fit.number is not None and is_recent(fit.runs, known))):
            with suppress(OutdatedLaw):
                batch = next_batch(knowledge, self._recorded_law(knowledge.sweep.id, fit))
                if fit.runs == known or batch.stop is None:
                    return batch
        fresh = fitted(knowledge)
        batch = next_batch(knowledge, fresh if isinstance(fresh, Law) else None)
        self._record(fresh, knowledge, batch)
        return batch

    def _record(self, fresh: Law | Refused, knowledge: SweepKnowledge, batch: Batch) -> None:
        """Record a fit: the law, or an event with the reason why there is none."""
        sweep, runs = knowledge.sweep, knowledge.observations.size
        if isinstance(fresh, Refused):
            refusal = LawEvent(number=None, refused=fresh.code, detail=fresh.detail, runs=runs)
            self._store.laws.refuse(sweep.id, refusal, fence=self._fence, refits=sweep.refits_asked)
            return
        kept, sizes = in_both_counts(fresh, knowledge)
        law = self._store.laws.add(
            sweep.id,
            document=kept.to_document(),
            prediction=answer(kept, knowledge),
            ruled_out=batch.rulings,
            runs=runs,
            spent_flops=knowledge.spent_flops,
            batch=sweep.batches,
            fence=self._fence,
            sizes=sizes,
            refits=sweep.refits_asked,
        )
        log.info("law fitted", extra={"sweep_id": sweep.id, "law_number": law.number, "runs": runs})

    def _recorded_law(self, sweep_id: str, fit: LawEvent) -> Law | None:
        """The law of a fit; None if the fit was refused.

        Raises:
            OutdatedLaw: another version of Etalon fitted it.
        """
        if fit.number is None:
            return None
        return Law.from_document(self._store.laws.get(sweep_id, fit.number).document)

    def _knowledge(self, sweep: Sweep) -> SweepKnowledge:
        return knowledge_of(self._store, sweep, self._prior_of(sweep))

    def _prior_of(self, sweep: Sweep) -> Observations | None:
        """The sweep's prior runs, read once because an uploaded table never changes."""
        if sweep.id not in self._prior:
            self._prior[sweep.id] = prior_of(self._store, sweep.spec)
        return self._prior[sweep.id]

    def _check_lead(self) -> None:
        lease = self._store.leases.current(LEADER)
        if lease is None or lease.fence != self._fence:
            raise Conflict("Another orchestrator is the leader now; this one steps back.")

    def _fault(self, sweep: Sweep, error: Exception) -> None:
        """Back off after an error. A user error, or a third unexpected one in a row, fails the sweep."""
        log.error("a step of the sweep failed", extra={"sweep_id": sweep.id}, exc_info=error)
        before = self._faults.get(sweep.id, _Fault())
        rest = min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2 ** min(before.rests, 10))
        fault = _Fault(
            own=before.own + (not isinstance(error, MACHINE_FAULTS)),
            rests=before.rests + 1,
            rests_until=self._clock() + rest,
        )
        self._faults[sweep.id] = fault
        if isinstance(error, EtalonError):
            reason = error.detail
        elif fault.own >= MOST_FAULTS:
            reason = f"Internal error: {type(error).__name__}: {error}"
        else:
            return
        try:
            self._move(sweep, SweepState.FAILED, reason)
        except Conflict:
            self._check_lead()
