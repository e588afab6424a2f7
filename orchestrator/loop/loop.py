"""The loop: looks at every live sweep, decides, and does one guarded step at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from orchestrator.documents.events import BatchEvent, ComparisonEvent, LawEvent, WaitEvent
from orchestrator.errors import Conflict, EtalonError, Unavailable
from orchestrator.heldout import stages
from orchestrator.heldout.steps import Basis
from orchestrator.knowledge import RESULTS, Knowledge, knowledge_of, recorded_runs
from orchestrator.law import Law, Observations, OutdatedLaw, Refused
from orchestrator.loop.decision import (
    Action,
    Drop,
    Move,
    Plan,
    Refit,
    Snapshot,
    StartDriver,
    Wait,
    decide,
)
from orchestrator.loop.refit import Batch, answer, fitted, in_both_counts, is_recent, next_batch
from orchestrator.spec import Budget
from orchestrator.states import COMPARISON_FINAL, RUN_FINAL, ComparisonStage, RunState, SweepState
from orchestrator.store import LEADER, Store, driver_lease
from orchestrator.store.records import Sweep

log = logging.getLogger(__name__)

MOST_STEPS = 8
"""Steps with one sweep before the others have their turn."""

MOST_FAULTS = 3
"""Unexpected errors in a row before a sweep is given up, so that the others go on."""

FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 30.0
"""Pause with a sweep after its first unexpected error; it doubles with each one in a row, up to the longest."""

NEVER_FITTED: Final = LawEvent(number=None, runs=0)
"""Stands for the newest fit of a sweep before its first."""

MACHINE_FAULTS = (OSError, MemoryError)
"""Errors of this machine, not of a sweep: they pass, or the operator sees to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Glance:
    """All that can change what is decided, but for the time: every change in the store is told as an event."""

    last_event: int
    driver_alive: bool
    driver_rests: bool
    driver_deaths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """Errors of a sweep in a row that nobody foresaw, those of the machine left out, and the rest after them."""

    own: int = 0
    rests: int = 0
    rests_until: float = 0.0


class DriverProcesses(Protocol):
    """What the loop asks of driver processes (``orchestrator.loop.drivers.Drivers``)."""

    def start(self, sweep_id: str) -> None:
        """Start a sweep's driver."""

    def alive(self, sweep_id: str) -> bool:
        """Whether one started here lives."""

    def rests(self, sweep_id: str) -> bool:
        """Whether the next should wait."""

    def deaths(self, sweep_id: str) -> int:
        """Early deaths in a row."""

    def said(self, sweep_id: str) -> str | None:
        """Last words of the one that died."""

    def reap(self, live: set[str]) -> None:
        """Forget those of other sweeps."""


class Loop:
    """Brings sweeps from submission to their answer; everything it knows is in the store."""

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
            store: where everything is recorded.
            drivers: how driver processes are started.
            fence: of the leader's lease, which guards every write.
            clock: seconds that only grow.
        """
        self._store, self._drivers, self._fence, self._clock = store, drivers, fence, clock
        self._prior: dict[str, Observations | None] = {}
        self._faults: dict[str, _Fault] = {}
        self._settled: dict[str, _Glance] = {}

    def step(self) -> None:
        """Bring every live sweep as far as it can go now.

        Raises:
            Unavailable: the database does not answer.
            Conflict: another process leads now.
        """
        sweeps = self._store.sweeps.live()
        live = {sweep.id for sweep in sweeps}
        self._drivers.reap(live)
        self._prior = {sweep_id: prior for sweep_id, prior in self._prior.items() if sweep_id in live}
        self._faults = {sweep_id: fault for sweep_id, fault in self._faults.items() if sweep_id in live}
        self._settled = {sweep_id: glance for sweep_id, glance in self._settled.items() if sweep_id in live}
        last_events = self._store.events.last_ids(live)
        for sweep in sweeps:
            glance = self._glance(sweep.id, last_events.get(sweep.id, 0))
            rests = self._clock() < self._faults.get(sweep.id, _Fault()).rests_until
            if not rests and (sweep.spec.search.budget.seconds or glance != self._settled.get(sweep.id)):
                self._advance(sweep, glance)

    def _glance(self, sweep_id: str, last_event: int) -> _Glance:
        return _Glance(
            last_event=last_event,
            driver_alive=self._has_driver(sweep_id),
            driver_rests=self._drivers.rests(sweep_id),
            driver_deaths=self._drivers.deaths(sweep_id),
        )

    def _has_driver(self, sweep_id: str) -> bool:
        alive = self._drivers.alive(sweep_id)
        return alive or self._store.leases.current(driver_lease(sweep_id)) is not None

    def _advance(self, sweep: Sweep, glance: _Glance) -> None:
        """Go on with a sweep; once there is nothing to do, remember what was so before the look at it."""
        self._settled.pop(sweep.id, None)
        try:
            for _ in range(MOST_STEPS):
                action = decide(self._snapshot(sweep))
                if isinstance(action, Wait):
                    self._settled[sweep.id] = glance
                    break
                self._do(action, sweep)
                sweep = self._store.sweeps.get(sweep.id)
        except Conflict as conflict:
            self._check_lead()
            log.info("sweep was changed by another", extra={"sweep_id": sweep.id, "detail": conflict.detail})
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one sweep's fault must not end the others
            self._fault(sweep, error)
        else:
            self._faults.pop(sweep.id, None)

    def _snapshot(self, sweep: Sweep) -> Snapshot:
        runs = self._store.sweeps.progress(sweep.id)
        budget = sweep.spec.search.budget
        fit, stage = self._last_fit(sweep.id), stages.stage_of(self._store, sweep)
        searches = stage in {None, ComparisonStage.WAITING}
        tops_up = sweep.spec.refits_on_arrival and fit.number is not None and searches
        return Snapshot(
            state=sweep.state,
            has_cells=sweep.spec.trainer is not None,
            runs=runs,
            budget=budget,
            spent_flops=self._store.sweeps.spent_flops(sweep.id) if budget.flops else 0.0,
            span_seconds=self._span(sweep, budget),
            most_open=sweep.spec.most_open if tops_up else None,
            is_planned=tops_up and self._is_planned(sweep.id, runs),
            fit_is_current=fit.runs == self._known(sweep, runs),
            refusal=fit.detail,
            driver_alive=self._has_driver(sweep.id),
            driver_rests=self._drivers.rests(sweep.id),
            driver_deaths=self._drivers.deaths(sweep.id),
            driver_said=self._drivers.said(sweep.id),
            failure=self._failure(sweep.id) if runs[RunState.FAILED] else None,
            comparison=stage,
        )

    def _last_fit(self, sweep_id: str) -> LawEvent:
        return self._store.events.latest(sweep_id, LawEvent) or NEVER_FITTED

    def _known(self, sweep: Sweep, runs: dict[RunState, int]) -> int:
        """Runs that a fit would see now."""
        prior = self._prior_of(sweep)
        compares = sweep.spec.comparison is not None
        own = self._store.sweeps.results(sweep.id) if compares else sum(runs[state] for state in RESULTS)
        return own + (0 if prior is None else prior.size)

    def _is_planned(self, sweep_id: str, runs: dict[RunState, int]) -> bool:
        """Whether the planner's last choice was to wait, or was made after the last run had ended."""
        match self._store.events.latest(sweep_id, BatchEvent, WaitEvent):
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

    def _do(self, action: Action, sweep: Sweep) -> None:
        match action:
            case Move(to=to, reason=reason):
                self._move(sweep, to, reason)
            case StartDriver():
                self._drivers.start(sweep.id)
            case Drop(reason=reason, live=live):
                self._store.runs.drop(sweep.id, fence=self._fence, reason=reason, live=live)
            case Refit():
                knowledge = self._knowledge(sweep)
                self._record(fitted(knowledge), knowledge, Batch())
            case Plan():
                self._plan(sweep)
            case Wait():
                pass

    def _move(self, sweep: Sweep, to: SweepState, reason: str | None) -> None:
        self._store.sweeps.move(sweep.id, to, actor=LEADER, reason=reason, fence=self._fence)
        log.info("sweep moved", extra={"sweep_id": sweep.id, "state": to, "reason": reason})

    def _plan(self, sweep: Sweep) -> None:
        """Refit, plan, and ask for the batch; killed in between, a restart plans the same from the same record."""
        knowledge = self._knowledge(sweep)
        begun = sweep.spec.comparison and self._store.events.latest(sweep.id, ComparisonEvent)
        if begun:
            self._compare(knowledge, begun)
            return
        batch = self._chosen(knowledge)
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

    def _compare(self, knowledge: Knowledge, newest: ComparisonEvent) -> None:
        """Carry on the comparison of a sweep whose search is over, or complete the sweep after it."""
        sweep = knowledge.sweep
        if newest.stage in COMPARISON_FINAL:
            self._move(sweep, SweepState.COMPLETED, stages.ending(newest))
            return
        fit = self._last_fit(sweep.id)
        try:
            law = self._recorded_law(sweep.id, fit)
        except OutdatedLaw:  # Etalon was upgraded while the sweep was live
            self._record(fitted(knowledge), knowledge, Batch())
            return
        basis = Basis(law=law, law_number=fit.number or 0, search=newest.search, refusal=fit.detail)
        stages.advance(self._store, sweep, basis, fence=self._fence)

    def _chosen(self, knowledge: Knowledge) -> Batch:
        """The next batch, by the last law while it is recent; by a fresh one else, and before the sweep may end."""
        fit, known = self._last_fit(knowledge.sweep.id), knowledge.observations.size
        if fit.runs == known or (fit.number is not None and is_recent(fit.runs, known)):
            try:
                batch = next_batch(knowledge, self._recorded_law(knowledge.sweep.id, fit))
            except OutdatedLaw:  # Etalon was upgraded while the sweep was live
                batch = None
            if batch is not None and (fit.runs == known or batch.stop is None):
                return batch
        fresh = fitted(knowledge)
        batch = next_batch(knowledge, fresh if isinstance(fresh, Law) else None)
        self._record(fresh, knowledge, batch)
        return batch

    def _record(self, fresh: Law | Refused, knowledge: Knowledge, batch: Batch) -> None:
        """Keep a law, or why there is none yet: people see the reason among the events."""
        sweep, runs = knowledge.sweep, knowledge.observations.size
        if isinstance(fresh, Refused):
            refusal = LawEvent(number=None, refused=fresh.reason.name.lower(), detail=fresh.detail, runs=runs)
            self._store.events.append(sweep.id, refusal, fence=self._fence)
            return
        kept, sizes = in_both_counts(fresh, knowledge)
        law = self._store.laws.add(
            sweep.id,
            document=kept.to_document(),
            prediction=answer(kept, knowledge).model_dump(mode="json"),
            ruled_out=batch.rulings,
            runs=runs,
            spent_flops=knowledge.spent_flops,
            batch=sweep.batches,
            fence=self._fence,
            sizes=None if sizes is None else sizes.model_dump(mode="json"),
        )
        log.info("law fitted", extra={"sweep_id": sweep.id, "law_number": law.number, "runs": runs})

    def _recorded_law(self, sweep_id: str, fit: LawEvent) -> Law | None:
        """The law of a fit; None if it was refused."""
        if fit.number is None:
            return None
        return Law.from_document(dict(self._store.laws.get(sweep_id, fit.number).document))

    def _knowledge(self, sweep: Sweep) -> Knowledge:
        return knowledge_of(self._store, sweep, self._prior_of(sweep))

    def _prior_of(self, sweep: Sweep) -> Observations | None:
        """The sweep's prior runs, read once: an uploaded table never changes."""
        if sweep.id not in self._prior:
            source = sweep.spec.prior_runs
            self._prior[sweep.id] = (
                None if source is None else recorded_runs(self._store, source, "prior_runs").observations()
            )
        return self._prior[sweep.id]

    def _check_lead(self) -> None:
        lease = self._store.leases.current(LEADER)
        if lease is None or lease.fence != self._fence:
            raise Conflict("Another orchestrator leads now; this one steps back.")

    def _fault(self, sweep: Sweep, error: Exception) -> None:
        """Rest after an error that nobody foresaw; one of the user's own making, or the third in a row, ends the sweep."""
        log.error("sweep has a fault", extra={"sweep_id": sweep.id}, exc_info=error)
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
            reason = f"An error inside Etalon: {type(error).__name__}: {error}"
        else:
            return
        try:
            self._move(sweep, SweepState.FAILED, reason)
        except Conflict:
            self._check_lead()
