"""The store against a model in memory: whatever is asked, late, twice or by the dead, both say the same.

``pytest --hypothesis-profile long`` looks for longer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.documents.events import BatchEvent, LawEvent, RunEvent, SweepEvent
from orchestrator.errors import Conflict
from orchestrator.states import (
    RUN_FINAL,
    RUN_OPEN,
    RUN_TRANSITIONS,
    SWEEP_LIVE,
    SWEEP_TRANSITIONS,
    RunState,
    SweepState,
)
from orchestrator.store import LEADER, Store, driver_lease
from orchestrator.store.identity import new_id
from orchestrator.store.records import LossPoint, NewRun, RunResult
from tests.orchestrator.store.conftest import a_spec
from tests.orchestrator.store.test_records import LAW

LIVE_SWEEPS, CELLS, RATES = 2, (0, 1), (1e-3, 2e-3)

ENDS = (RunState.COMPLETED, RunState.DIVERGED, RunState.FAILED)

TAKEN_UP = {
    state for state in (RunState.PRUNED, RunState.CANCELLED) if RunState.PENDING in RUN_TRANSITIONS[state]
}
"""States from which a batch that asks for a run again takes it up."""

Place = tuple[int, float]
Places = st.lists(st.tuples(st.sampled_from(CELLS), st.sampled_from(RATES)), unique=True, max_size=3)


@dataclass
class ModelRun:
    """What is known of a run."""

    state: RunState
    batch: int | None
    attempt: int = 0
    fence: int | None = None
    loss: float | None = None
    points: set[int] = field(default_factory=set)


@dataclass
class ModelLease:
    """Fences of a lease by age, and the one that may write; None once it was given back."""

    name: str
    fences: list[int] = field(default_factory=list)
    valid: int | None = None

    def aged(self, age: int) -> int:
        """The fence of an earlier holder; 0 is the present one's."""
        return self.fences[-1 - min(age, len(self.fences) - 1)]


@dataclass
class ModelSweep:
    """What is known of a sweep."""

    id: str
    key: str | None
    driver: ModelLease
    state: SweepState = SweepState.QUEUED
    batches: int = 0
    laws: int = 0
    runs: dict[Place, ModelRun] = field(default_factory=dict)

    def of(self, *states: RunState) -> list[ModelRun]:
        """Its runs in these states."""
        return [run for run in self.runs.values() if run.state in states]

    def move(self, to: SweepState) -> None:
        """Move, and cancel the runs that go with it."""
        self.state = to
        if to is SweepState.STOPPING:
            cancel(self.of(RunState.PENDING))
        elif to not in SWEEP_LIVE:
            cancel(self.of(*RUN_OPEN))


def cancel(runs: list[ModelRun]) -> None:
    """Cancel open runs."""
    for run in runs:
        run.state, run.fence = RunState.CANCELLED, None


ages = st.sampled_from([0, 0, 0, 0, 1, 2])
sweeps = st.sampled_from([0, 0, 0, 1, 2])
moves = st.sampled_from(
    [*SweepState, SweepState.RUNNING, SweepState.RUNNING, SweepState.PAUSED, SweepState.PAUSED]
)


class StoreAndModel(RuleBasedStateMachine):
    """Leaders and drivers that come, go and come back, on two sweeps."""

    store: Store

    @initialize()
    def begin(self) -> None:
        self.sweeps: list[ModelSweep] = []
        self.reports: list[tuple[ModelSweep, RunResult, int]] = []
        self.leader = ModelLease(LEADER)
        self.begun_at = self.told = self.store.events.last_id()
        self.take(self.leader, given_back=True)
        self.submit(None, at_work=True)

    # What one store call does

    def take(self, lease: ModelLease, *, given_back: bool) -> None:
        """A new holder: the last one has given its lease back, or let it expire."""
        held = self.store.leases.current(lease.name)
        if held is not None and given_back:
            self.store.leases.release(held)
        elif held is not None:
            assert self.store.leases.acquire(lease.name, "rival", 60) is None
            assert self.store.leases.renew(held, -1.0) is not None
        taken = self.store.leases.acquire(lease.name, new_id(), 600)
        assert taken is not None
        assert not lease.fences or taken.fence == lease.fences[-1] + 1
        lease.fences.append(taken.fence)
        lease.valid = taken.fence

    def accepted(self, call: Callable[[], Any], *, by: bool, changes: bool = True) -> bool:
        """Call the store, which must accept it if the model does, and tell of it if something changes."""
        try:
            call()
        except Conflict:
            assert not by
            accepted = False
        else:
            assert by
            accepted = True
        last = self.store.events.last_id()
        assert (last > self.told) == (accepted and changes)
        self.told = last
        return accepted

    def sweep(self, number: int) -> ModelSweep:
        """A sweep by its age: 0 is the newest."""
        return self.sweeps[-1 - min(number, len(self.sweeps) - 1)]

    def place(self, sweep: ModelSweep, data: Any) -> Place:
        """The place of a run, most often of one that runs."""
        running = [place for place, run in sweep.runs.items() if run.state is RunState.RUNNING]
        of_all = st.sampled_from(sorted(sweep.runs))
        return data.draw(st.sampled_from(running) | of_all if running else of_all)

    def has_runs(self) -> bool:
        """Whether there is a run to report of."""
        return all(sweep.runs for sweep in self.sweeps[-3:])

    def ids(self, sweep: ModelSweep) -> dict[Place, str]:
        """Ids of the sweep's runs."""
        return {(run.cell, run.learning_rate): run.id for run in self.store.runs.of_sweep(sweep.id)}

    # Users

    @precondition(lambda self: sum(sweep.state in SWEEP_LIVE for sweep in self.sweeps) < LIVE_SWEEPS)
    @rule(key=st.sampled_from([None, "a key"]), at_work=st.sampled_from([True, True, False]))
    def submit(self, key: str | None, at_work: bool) -> None:
        """Submit a sweep; ``at_work``, a batch of it runs at once."""
        spec = a_spec()
        assert spec.trainer is not None
        own = None if key is None else f"{key} of {self.leader.fences[0]}"
        cells = spec.trainer.cells(spec.grid)
        made, is_new = self.store.sweeps.create(spec, cells=cells, idempotency_key=own)
        known = [sweep for sweep in self.sweeps if own is not None and sweep.key == own]
        assert is_new == (not known)
        assert all(sweep.id == made.id for sweep in known)
        if is_new:
            driver = ModelLease(driver_lease(made.id))
            self.take(driver, given_back=True)
            self.sweeps.append(ModelSweep(made.id, own, driver))
            assert self.store.events.last_id() > self.told
        self.told = self.store.events.last_id()
        if is_new and at_work:
            self.move(0, SweepState.RUNNING)
            self.plan(0, [(0, RATES[0]), (1, RATES[0])], [(1, RATES[1])], 0)
            self.claim(0, 0, None)

    @rule(number=sweeps, to=moves)
    def move(self, number: int, to: SweepState) -> None:
        sweep = self.sweep(number)
        allowed = to in SWEEP_TRANSITIONS[sweep.state]
        if self.accepted(lambda: self.store.sweeps.move(sweep.id, to), by=allowed):
            sweep.move(to)

    @rule(number=sweeps)
    def stop(self, number: int) -> None:
        sweep = self.sweep(number)
        to = SweepState.STOPPED if sweep.state is SweepState.QUEUED else SweepState.STOPPING
        allowed = to in SWEEP_TRANSITIONS[sweep.state]
        if self.accepted(lambda: self.store.sweeps.stop(sweep.id), by=allowed):
            sweep.move(to)

    @rule(number=sweeps)
    def resume(self, number: int) -> None:
        sweep = self.sweep(number)
        allowed = sweep.state is SweepState.PAUSED
        if self.accepted(lambda: self.store.sweeps.resume(sweep.id), by=allowed):
            sweep.move(SweepState.RUNNING if sweep.batches else SweepState.QUEUED)

    # Leaders

    @rule(given_back=st.booleans())
    def new_leader(self, given_back: bool) -> None:
        self.take(self.leader, given_back=given_back)

    @rule(number=sweeps, asked=Places, dropped=Places, age=ages)
    def plan(self, number: int, asked: list[Place], dropped: list[Place], age: int) -> None:
        sweep, fence = self.sweep(number), self.leader.aged(age)
        runs, pruned = (
            [
                NewRun(cell=cell, learning_rate=rate, seed=0, trunk="shared", reason="asked")
                for cell, rate in some
            ]
            for some in (asked, dropped)
        )
        allowed = fence == self.leader.valid and sweep.state is SweepState.RUNNING
        fresh = [place for place in dropped if place not in sweep.runs]
        if self.accepted(
            lambda: self.store.runs.add_batch(sweep.id, runs, fence=fence, pruned=pruned),
            by=allowed,
            changes=bool(asked or fresh),
        ):
            sweep.batches += bool(asked)
            sweep.runs |= {place: ModelRun(RunState.PRUNED, None) for place in fresh}
            for place in asked:
                known = sweep.runs.get(place)
                if known is None:
                    sweep.runs[place] = ModelRun(RunState.PENDING, sweep.batches)
                elif known.state in TAKEN_UP:
                    sweep.runs[place] = replace(known, state=RunState.PENDING, batch=sweep.batches)

    @rule(number=sweeps, age=ages)
    def fit(self, number: int, age: int) -> None:
        sweep, fence = self.sweep(number), self.leader.aged(age)
        allowed = fence == self.leader.valid
        if self.accepted(lambda: self.store.laws.add(sweep.id, **LAW, fence=fence), by=allowed):
            sweep.laws += 1

    @rule(number=sweeps, live=st.booleans(), age=ages)
    def drop(self, number: int, live: bool, age: int) -> None:
        sweep, fence = self.sweep(number), self.leader.aged(age)
        dropped = sweep.of(*(RUN_OPEN if live else {RunState.PENDING}))
        if self.accepted(
            lambda: self.store.runs.drop(sweep.id, fence=fence, reason="spent", live=live),
            by=fence == self.leader.valid,
            changes=bool(dropped),
        ):
            cancel(dropped)

    # Drivers

    @rule(number=sweeps, given_back=st.booleans())
    def new_driver(self, number: int, given_back: bool) -> None:
        self.take(self.sweep(number).driver, given_back=given_back)

    @rule(number=sweeps)
    def expire(self, number: int) -> None:
        """A lease that expired and that nobody took still lets its holder write: there is no rival."""
        held = self.store.leases.current(self.sweep(number).driver.name)
        if held is not None:
            assert self.store.leases.renew(held, -1.0) is not None

    @rule(number=sweeps)
    def leave(self, number: int) -> None:
        driver = self.sweep(number).driver
        held = self.store.leases.current(driver.name)
        if held is not None:
            self.store.leases.release(held)
            driver.valid = None

    @rule(number=sweeps, age=ages, some=st.none() | Places)
    def claim(self, number: int, age: int, some: list[Place] | None) -> None:
        sweep = self.sweep(number)
        fence, ids = sweep.driver.aged(age), self.ids(sweep)
        wanted = None if some is None else [ids[place] for place in some if place in ids]
        chosen = [
            run
            for place, run in sweep.runs.items()
            if run.state is RunState.PENDING and (some is None or place in some)
        ]
        if sweep.state not in {SweepState.RUNNING, SweepState.STOPPING}:
            chosen = []
        if self.accepted(
            lambda: self.store.runs.claim(sweep.id, fence=fence, run_ids=wanted),
            by=fence == sweep.driver.valid,
            changes=bool(chosen),
        ):
            for run in chosen:
                run.state, run.fence, run.attempt = RunState.RUNNING, fence, run.attempt + 1

    @precondition(has_runs)
    @rule(number=sweeps, age=ages, step=st.integers(0, 3), data=st.data())
    def report_points(self, number: int, age: int, step: int, data: Any) -> None:
        sweep = self.sweep(number)
        place, fence = self.place(sweep, data), sweep.driver.aged(age)
        point = LossPoint(curve=self.ids(sweep)[place], step=step, tokens=step, loss=3.0)
        if self.accepted(
            lambda: self.store.losses.append([point], fence=fence, lease=sweep.driver.name),
            by=fence == sweep.driver.valid,
            changes=False,  # points are told of together, later
        ):
            sweep.runs[place].points.add(step)

    @precondition(has_runs)
    @rule(
        number=sweeps,
        age=ages,
        end=st.sampled_from(ENDS),
        loss=st.sampled_from([2.0, 3.0]),
        at_once=st.booleans(),
        data=st.data(),
    )
    def end(self, number: int, age: int, end: RunState, loss: float, at_once: bool, data: Any) -> None:
        sweep = self.sweep(number)
        known = loss if end is RunState.COMPLETED else None
        result = RunResult(run_id=self.ids(sweep)[self.place(sweep, data)], state=end, loss=known)
        self.reports.append((sweep, result, sweep.driver.aged(age)))
        if at_once:
            self.deliver(*self.reports[-1])

    @precondition(lambda self: self.reports)
    @rule(data=st.data())
    def repeat(self, data: Any) -> None:
        """A report that arrives late, or again."""
        self.deliver(*data.draw(st.sampled_from(self.reports)))

    def deliver(self, sweep: ModelSweep, result: RunResult, fence: int) -> None:
        place = next(place for place, run_id in self.ids(sweep).items() if run_id == result.run_id)
        run = sweep.runs[place]
        held = run.state is RunState.RUNNING and run.fence == fence
        changed: list[int] = []
        self.accepted(
            lambda: changed.append(self.store.runs.finish([result], fence=fence)), by=True, changes=held
        )
        assert changed == [held]
        if held:
            run.state, run.loss = result.state, result.loss

    @rule(number=sweeps, age=ages)
    def release(self, number: int, age: int) -> None:
        sweep = self.sweep(number)
        fence = sweep.driver.aged(age)
        freed = [run for run in sweep.of(RunState.RUNNING) if run.fence is not None and run.fence <= fence]
        self.accepted(
            lambda: self.store.runs.release(sweep.id, fence=fence, reason="lost"),
            by=True,
            changes=bool(freed),
        )
        for run in freed:
            run.state, run.fence = RunState.PENDING, None

    # What is rare by chance

    @rule(number=sweeps, dropped=Places)
    def rule_out(self, number: int, dropped: list[Place]) -> None:
        """A law drops rates, and no batch goes with it."""
        self.plan(number, [], dropped, 0)

    @rule(number=sweeps, asked=Places)
    def pause_with_work(self, number: int, asked: list[Place]) -> None:
        """A driver that has not seen the pause asks for work."""
        self.plan(number, asked, [], 0)
        self.move(number, SweepState.PAUSED)
        self.claim(number, 0, None)

    @rule(number=sweeps, at_once=st.booleans())
    def replace_driver(self, number: int, at_once: bool) -> None:
        """The next driver releases what the last one held, and the last one ends late."""
        self.new_driver(number, given_back=False)
        if at_once:
            self.release(number, 1)
        self.claim(number, 0, None)
        self.release(number, 1)

    # What holds after each of them

    @invariant()
    def the_store_holds_what_the_model_does(self) -> None:
        for sweep in self.sweeps:
            stored, runs = self.store.sweeps.get(sweep.id), self.store.runs.of_sweep(sweep.id)
            assert (stored.state, stored.batches, stored.law_number or 0) == (
                sweep.state,
                sweep.batches,
                sweep.laws,
            )
            assert {
                (run.cell, run.learning_rate): (run.state, run.batch, run.attempt, run.loss) for run in runs
            } == {place: (run.state, run.batch, run.attempt, run.loss) for place, run in sweep.runs.items()}
            assert len(runs) == len(sweep.runs)
            counts = self.store.sweeps.progress(sweep.id)
            assert counts == {state: len(sweep.of(state)) for state in RunState}
            assert sum(counts[state] for state in RUN_OPEN) == 0 or sweep.state in SWEEP_LIVE
            assert self.store.losses.count(sweep.id) == sum(len(run.points) for run in sweep.runs.values())

    @invariant()
    def the_events_tell_the_same(self) -> None:
        for sweep in self.sweeps:
            payloads = [
                event.payload
                for event in self.store.events.after(self.begun_at, sweep_id=sweep.id, limit=10**6)
            ]
            states = [payload.state for payload in payloads if isinstance(payload, SweepEvent)]
            assert states[0] is SweepState.QUEUED
            assert states[-1] is sweep.state
            assert all(after in SWEEP_TRANSITIONS[before] for before, after in pairwise(states))
            batches = [payload.batch for payload in payloads if isinstance(payload, BatchEvent)]
            assert batches == list(range(1, sweep.batches + 1))
            laws = [payload.number for payload in payloads if isinstance(payload, LawEvent)]
            assert laws == list(range(1, sweep.laws + 1))
            told = [payload for payload in payloads if isinstance(payload, RunEvent)]
            ended = {(run.cell, run.learning_rate): run for run in told if run.state in RUN_FINAL}
            assert {place: (run.state, run.loss) for place, run in ended.items()} == {
                place: (run.state, run.loss) for place, run in sweep.runs.items() if run.state in ENDS
            }
            assert sum(run.state in RUN_FINAL for run in told) == len(ended)


def test_the_store_does_what_a_model_in_memory_does(store: Store) -> None:
    is_long = settings.get_current_profile_name() == "long"
    run_state_machine_as_test(
        type("StoreHere", (StoreAndModel,), {"store": store}),
        settings=settings(
            max_examples=1000 if is_long else 40,
            stateful_step_count=60 if is_long else 40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
