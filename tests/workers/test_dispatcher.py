"""The dispatcher's requests to the workers of a sweep, with a real store and a clock that the test turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from orchestrator.allocation import Cluster, Demand
from orchestrator.answers.waiting import waits_because
from orchestrator.cells import Cells
from orchestrator.errors import Unavailable
from orchestrator.loop.lease import RenewedLease
from orchestrator.spec import Resources, revised
from orchestrator.states import RunState, SweepState
from orchestrator.store import LEADER, driver_lease
from orchestrator.store.outputs import OutputTail
from orchestrator.store.records import LensPoint, LossPoint, Run, RunResult
from orchestrator.store.revisions import Revision
from tests.clock import Clock
from workers.dispatcher import (
    LEADERLESS_SECONDS,
    MEASURE_SECONDS,
    MOST_LOSSES,
    OVER_SECONDS,
    START_SECONDS,
    WARM_SECONDS,
    Dispatcher,
    Ending,
    WorkersDie,
)
from workers.immediate import ImmediateJob
from workers.replay import ReplaySetup
from workers.report_writer import PROGRESS_SECONDS
from workers.runner import Job, JobFactory, Report

READY = Report(limits={"trunk": 4})


@dataclass
class OneRunJobs(JobFactory):
    """Forms one job per run."""

    setup: ReplaySetup = field(default_factory=lambda: ReplaySetup(table=b"", where={}, cells=Cells()))
    over: list[Job] = field(default_factory=list)
    silence_seconds: float = 30.0

    def jobs(self, pending: Sequence[Run], limits: Mapping[str, int], workers: int) -> tuple[Job, ...]:
        return tuple(ImmediateJob(runs=(run,)) for run in pending)

    def ended(self, job: Job) -> None:
        self.over.append(job)


@dataclass
class Size:
    """The size of a cluster, which the test sets."""

    cpus: float = 2.0

    def __call__(self) -> Cluster:
        return Cluster.of([(self.cpus, 0.0)])


@dataclass
class Shift:
    """A dispatcher and all around it."""

    sweep_id: str
    lease: RenewedLease
    source: OneRunJobs
    clock: Clock
    cluster: Size
    dispatcher: Dispatcher

    def ready(self, *trials: str) -> None:
        """Workers that wait and have said so."""
        for trial in trials:
            assert self.dispatcher.next_task(trial) is True
            self.dispatcher.take_in(trial, READY)
        self.tick()

    def tick(self, seconds: float = 1.0) -> None:
        self.clock.seconds += seconds
        self.dispatcher.tick()

    def job(self, trial: str) -> ImmediateJob:
        """The job of a worker that waited and was called back for it."""
        assert self.dispatcher.is_wanted_back(trial)
        self.dispatcher.end(trial)
        task = self.dispatcher.next_task(f"{trial}'")
        assert isinstance(task, ImmediateJob)
        return task


@pytest.fixture
def shift(stage) -> Shift:
    sweep_id = stage.replay(max_parallel=2)
    stage.lead()
    lease = RenewedLease.try_acquire(stage.store, driver_lease(sweep_id), "test", 600)
    assert lease is not None
    source, clock, cluster = OneRunJobs(), Clock(100.0), Size()
    dispatcher = Dispatcher(
        stage.store,
        sweep_id,
        lease,
        source,
        needs=Resources(max_parallel=2),
        cluster=cluster,
        tick_seconds=0.5,
        clock=clock,
    )
    return Shift(sweep_id, lease, source, clock, cluster, dispatcher)


def counts(stage, shift) -> dict[RunState, int]:
    return {state: n for state, n in stage.store.sweeps.progress(shift.sweep_id).items() if n}


def completed(job: ImmediateJob) -> Report:
    results = tuple(
        RunResult(run_id=run_id, state=RunState.COMPLETED, loss=3.0, flops=1.0) for run_id in job.run_ids
    )
    points = tuple(LossPoint(curve=run_id, step=1, tokens=8, loss=3.0) for run_id in job.run_ids)
    return Report(results=results, points=points)


def test_runs_are_claimed_only_for_workers_that_are_ready(stage, shift):
    stage.ask_all(shift.sweep_id)
    assert shift.dispatcher.next_task("a") is True
    shift.tick()
    assert counts(stage, shift) == {RunState.PENDING: 5}

    shift.dispatcher.take_in("a", READY)
    shift.tick()
    assert counts(stage, shift) == {RunState.PENDING: 4, RunState.RUNNING: 1}
    shift.tick()
    assert counts(stage, shift) == {RunState.PENDING: 4, RunState.RUNNING: 1}, "one worker, one job"


def test_a_waiting_worker_is_called_back_for_a_job_and_takes_the_next_without_waiting(stage, shift):
    shift.ready("a")
    assert not shift.dispatcher.is_wanted_back("a")
    stage.ask_all(shift.sweep_id)
    shift.tick()
    first = shift.job("a")

    shift.dispatcher.take_in("a'", completed(first))
    shift.dispatcher.end("a'")
    second = shift.dispatcher.next_task("b")

    assert isinstance(second, ImmediateJob)
    assert counts(stage, shift) == {RunState.PENDING: 3, RunState.RUNNING: 1, RunState.COMPLETED: 1}
    assert shift.source.over == [first]


def test_only_as_many_workers_are_called_back_as_there_are_jobs(stage, shift):
    shift.ready("a", "b")
    stage.ask(shift.sweep_id, (0, 0.001, 0))
    shift.tick()
    assert [shift.dispatcher.is_wanted_back(trial) for trial in ("a", "b")] == [True, False]
    assert shift.dispatcher.is_wanted_back("a"), "still, should its process have died on the way out"


def test_a_waiting_worker_makes_room_for_a_job_that_finds_none(stage, shift):
    shift.ready("a", "b")
    stage.ask(shift.sweep_id, (0, 0.001, 0))
    shift.tick()
    shift.job("a")
    assert not shift.dispatcher.is_wanted_back("b"), "the job is about to start"
    shift.dispatcher.start("a'")
    shift.tick(START_SECONDS + 1)
    assert not shift.dispatcher.is_wanted_back("b"), "it has started"
    shift.dispatcher.restart("a'")
    shift.tick(START_SECONDS + 1)
    assert shift.dispatcher.is_wanted_back("b")


def test_a_paused_sweep_claims_nothing_and_lets_its_workers_go(stage, shift):
    shift.ready("a")
    stage.store.sweeps.move(shift.sweep_id, SweepState.PAUSED)
    shift.tick()
    assert shift.dispatcher.is_wanted_back("a")
    shift.dispatcher.end("a")
    assert shift.dispatcher.next_task("b") is False
    assert shift.dispatcher.ending is None

    stage.store.sweeps.move(shift.sweep_id, SweepState.RUNNING)
    stage.ask_all(shift.sweep_id)
    shift.clock.seconds += 1
    assert isinstance(shift.dispatcher.next_task("b"), ImmediateJob)


def test_a_driver_leaves_a_sweep_that_rests_for_long(stage, shift):
    stage.store.sweeps.move(shift.sweep_id, SweepState.PAUSED)
    shift.tick()
    shift.tick(WARM_SECONDS + 1)
    assert shift.dispatcher.ending is Ending.IDLE


def test_workers_without_work_are_kept_warm_for_a_while_only(shift):
    shift.ready("a")
    shift.tick(WARM_SECONDS - 5)
    assert not shift.dispatcher.is_wanted_back("a")
    shift.tick(10)
    assert shift.dispatcher.is_wanted_back("a")


def test_live_runs_of_a_stopping_sweep_finish(stage, shift):
    shift.ready("a")
    stage.ask_all(shift.sweep_id)
    shift.tick()
    job = shift.job("a")
    stage.store.sweeps.move(shift.sweep_id, SweepState.STOPPING)
    shift.tick()
    shift.dispatcher.take_in("a'", completed(job))
    shift.dispatcher.end("a'")
    assert shift.dispatcher.next_task("b") is False
    assert counts(stage, shift) == {RunState.COMPLETED: 1, RunState.CANCELLED: 4}
    assert shift.dispatcher.ending is None
    stage.store.sweeps.move(shift.sweep_id, SweepState.STOPPED)
    shift.tick()
    assert shift.dispatcher.ending is Ending.FINAL


def test_runs_that_a_lost_driver_left_in_a_stopping_sweep_are_taken_up(stage, shift):
    stage.ask_all(shift.sweep_id)
    chosen = [stage.runs(shift.sweep_id)[0].id]
    stage.store.runs.claim(shift.sweep_id, fence=shift.lease.fence, run_ids=chosen)
    stage.store.sweeps.move(shift.sweep_id, SweepState.STOPPING)
    stage.store.runs.release(shift.sweep_id, fence=shift.lease.fence, reason="its driver was lost")
    shift.tick()
    shift.ready("a")
    job = shift.job("a")
    assert list(job.run_ids) == chosen
    shift.dispatcher.take_in("a'", completed(job))
    shift.dispatcher.end("a'")
    shift.tick()
    assert shift.dispatcher.next_task("b") is False
    assert counts(stage, shift) == {RunState.COMPLETED: 1, RunState.CANCELLED: 4}


def test_nothing_is_written_after_a_cancellation(stage, shift):
    shift.ready("a")
    stage.ask_all(shift.sweep_id)
    shift.tick()
    job = shift.job("a")
    stage.store.sweeps.move(shift.sweep_id, SweepState.CANCELLED)
    shift.tick()
    assert shift.dispatcher.ending is Ending.CANCELLED
    shift.dispatcher.take_in("a'", completed(job))
    shift.dispatcher.leave()
    assert counts(stage, shift) == {RunState.CANCELLED: 5}
    assert not any(stage.points(shift.sweep_id).values())


def test_an_interrupted_driver_gives_its_runs_back(stage, shift):
    shift.ready("a", "b")
    stage.ask_all(shift.sweep_id)
    shift.tick()
    job = shift.job("a")
    shift.dispatcher.interrupt()
    assert shift.dispatcher.next_task("b") is False
    shift.dispatcher.take_in("a'", completed(job))
    shift.dispatcher.leave()
    assert counts(stage, shift) == {RunState.PENDING: 4, RunState.COMPLETED: 1}


def test_a_driver_whose_lease_another_has_stops_without_a_word(stage, shift):
    shift.ready("a")
    stage.store.leases.release(stage.store.leases.current(driver_lease(shift.sweep_id)))
    assert stage.store.leases.acquire(driver_lease(shift.sweep_id), "rival", 600)
    stage.ask_all(shift.sweep_id)
    shift.tick()
    assert shift.dispatcher.ending is Ending.LOST
    shift.dispatcher.leave()
    assert counts(stage, shift) == {RunState.PENDING: 5}


def test_without_an_orchestrator_and_work_the_driver_leaves(stage, shift):
    stage.store.leases.release(stage.store.leases.current(LEADER))
    shift.tick()
    shift.tick(LEADERLESS_SECONDS - 2)
    assert shift.dispatcher.ending is None
    shift.tick(4)
    assert shift.dispatcher.ending is Ending.LEADERLESS


def test_without_an_orchestrator_live_runs_finish_first(stage, shift):
    shift.ready("a")
    stage.ask(shift.sweep_id, (0, 0.001, 0))
    shift.tick()
    job = shift.job("a")
    stage.store.leases.release(stage.store.leases.current(LEADER))
    shift.tick(2 * LEADERLESS_SECONDS)
    assert shift.dispatcher.ending is None
    shift.dispatcher.take_in("a'", completed(job))
    shift.dispatcher.end("a'")
    shift.tick(LEADERLESS_SECONDS + 1)
    assert shift.dispatcher.ending is Ending.LEADERLESS


@pytest.mark.parametrize("reason", ["BadCorpus: no such file", "its worker was lost 4 times"])
def test_runs_of_a_job_that_fails_or_is_given_up_fail_with_the_reason(stage, shift, reason):
    shift.ready("a")
    stage.ask(shift.sweep_id, (0, 0.001, 0))
    shift.tick()
    shift.job("a")
    if "lost" in reason:
        shift.dispatcher.lose("a'", reason)
    else:
        shift.dispatcher.take_in("a'", Report(fault=reason))
        shift.dispatcher.end("a'")
    (run,) = stage.runs(shift.sweep_id)
    assert (run.state, run.reason) == (RunState.FAILED, reason)


def test_a_worker_that_hangs_is_named_whether_it_works_or_waits(stage, shift):
    def listen(seconds: int) -> set[str]:
        named: set[str] = set()
        for _ in range(seconds):
            shift.tick()
            named |= shift.dispatcher.hung()
        return named

    shift.ready("a", "b")
    stage.ask(shift.sweep_id, (0, 0.001, 0))
    shift.tick()
    job = shift.job("a")
    assert listen(40) == {"b"}, "a job that looks for a worker has none that could hang"
    shift.dispatcher.start("a'")
    assert listen(20) == set()
    shift.dispatcher.take_in("a'", Report())
    shift.dispatcher.take_in("b", READY)
    assert listen(30) == set()
    assert listen(2) == {"a'", "b"}
    shift.dispatcher.restart("a'")
    assert listen(40) == {"b"}
    shift.dispatcher.start("a'")
    shift.dispatcher.take_in("a'", completed(job))
    shift.dispatcher.end("a'")
    assert listen(40) == {"b"}
    assert counts(stage, shift) == {RunState.COMPLETED: 1}


def test_workers_that_die_before_any_job_end_the_driver(shift):
    shift.ready("a")
    with pytest.raises(WorkersDie, match="no module named torch"):
        shift.dispatcher.lose("a", "no module named torch")


def test_points_of_live_runs_are_written_while_they_live(stage, shift):
    shift.ready("a")
    stage.ask(shift.sweep_id, (0, 0.001, 0))
    shift.tick()
    job = shift.job("a")
    seen = LensPoint(curve=job.run_ids[0], step=1, tokens=8, values={"gradient_norm": 2.0})
    shift.dispatcher.take_in("a'", Report(points=completed(job).points, lenses=(seen,)))
    shift.tick()
    assert len(stage.points(shift.sweep_id)[job.run_ids[0]]) == 1
    assert stage.store.lenses.curve(stage.runs(shift.sweep_id)[0]) == [seen]
    assert counts(stage, shift) == {RunState.RUNNING: 1}
    for step in range(2, 12):
        point = LossPoint(curve=job.run_ids[0], step=step, tokens=8 * step, loss=3.0)
        shift.dispatcher.take_in("a'", Report(points=(point,)))
        shift.tick()
    points = [event.data["points"] for event in stage.store.events.after(0) if "points" in event.data]
    assert 2 <= len(points) <= 12 / PROGRESS_SECONDS
    assert 11 - PROGRESS_SECONDS <= sum(points) <= 11


def test_what_a_silent_database_did_not_take_is_written_later(stage, shift, monkeypatch):
    shift.ready("a")
    stage.ask(shift.sweep_id, (0, 0.001, 0))
    shift.tick()
    job = shift.job("a")
    with monkeypatch.context() as silence:

        def unavailable(*_: object, **__: object) -> int:
            raise Unavailable("The database did not answer.")

        silence.setattr(type(stage.store.runs), "finish", unavailable)
        shift.dispatcher.take_in("a'", completed(job))
        shift.dispatcher.end("a'")
    assert counts(stage, shift) == {RunState.RUNNING: 1}
    assert shift.dispatcher.ending is None
    shift.tick()
    assert counts(stage, shift) == {RunState.COMPLETED: 1}


def why(stage, shift) -> str | None:
    return waits_because(stage.store, stage.store.sweeps.get(shift.sweep_id))


def test_a_cluster_without_room_is_reported_and_so_is_its_growth(stage, shift):
    shift.cluster.cpus = 0.5
    shift.tick()
    assert why(stage, shift) == (
        "A run asks for 1 CPU and 0 GPUs, and the Ray cluster has 0.5 CPUs and 0 GPUs in all. "
        "Runs wait until it grows."
    )
    shift.cluster.cpus = 4
    shift.tick(MEASURE_SECONDS)
    assert why(stage, shift) is None


def test_the_size_of_the_cluster_is_reported_once_until_it_changes(stage, shift):
    for _ in range(5):
        shift.tick(MEASURE_SECONDS)
    events = stage.store.events.after(0, sweep_id=shift.sweep_id)
    size = {"cpus": 2.0, "gpus": 0.0, "room": 2, "reason": None}
    size |= {"nodes": [{"cpus": 2.0, "gpus": 0.0, "count": 1}]}
    assert [event.data for event in events if event.kind == "workers"] == [size]


def test_a_sweep_that_is_over_waits_for_nothing(stage, shift):
    shift.cluster.cpus = 0
    shift.tick()
    assert why(stage, shift)
    stage.store.sweeps.move(shift.sweep_id, SweepState.CANCELLED)
    assert why(stage, shift) is None


def rival(stage, *, wants: int, served: float = 0.0, holds: int = 0) -> str:
    """Another live sweep whose driver asks for workers of one CPU."""
    sweep_id = stage.replay()
    demand = Demand(sweep_id=sweep_id, cpus=1, gpus=0, wants=wants, holds=holds, served_seconds=served)
    stage.store.demands.record(demand, fence=stage.drive(sweep_id))
    return sweep_id


def recorded(stage, shift) -> Demand:
    return next(one.demand for one in stage.store.demands.live() if one.demand.sweep_id == shift.sweep_id)


def test_a_sweep_above_its_share_gives_a_worker_back_when_its_job_ends(stage, shift):
    shift.ready("a", "b")
    stage.ask_all(shift.sweep_id)
    shift.tick()
    first, second = shift.job("a"), shift.job("b")
    for trial in ("a'", "b'"):
        shift.dispatcher.start(trial)
    shift.tick()
    assert (recorded(stage, shift).wants, recorded(stage, shift).holds) == (2, 2)

    other = rival(stage, wants=2)
    shift.tick()
    assert not shift.dispatcher.is_wanted_back("a'"), "no run is broken off"
    shift.dispatcher.take_in("a'", completed(first))
    shift.dispatcher.end("a'")
    assert shift.dispatcher.next_task("c") is False
    shift.tick()
    assert shift.dispatcher.next_task("c") is False
    assert counts(stage, shift) == {RunState.PENDING: 3, RunState.RUNNING: 1, RunState.COMPLETED: 1}
    shift.dispatcher.take_in("b'", completed(second))
    shift.dispatcher.end("b'")
    assert isinstance(shift.dispatcher.next_task("c"), ImmediateJob), "one of two workers is its share"
    assert shift.dispatcher.next_task("d") is False

    stage.store.sweeps.move(other, SweepState.PAUSED)
    stage.store.leases.release(stage.store.leases.current(driver_lease(other)))
    shift.tick()
    assert isinstance(shift.dispatcher.next_task("d"), ImmediateJob), "nobody else wants it any more"


def test_a_sweep_that_has_had_more_waits_for_its_turn(stage, shift):
    shift.cluster.cpus = 1
    had = Demand(sweep_id=shift.sweep_id, cpus=1, gpus=0, wants=1, served_seconds=60.0)
    stage.store.demands.record(had, fence=shift.lease.fence)
    other = rival(stage, wants=1, served=59.0)
    stage.ask_all(shift.sweep_id)
    shift.tick()
    assert shift.dispatcher.next_task("a") is False
    stage.store.sweeps.move(other, SweepState.CANCELLED)
    shift.tick()
    assert shift.dispatcher.next_task("a") is True


def test_workers_that_wait_for_a_batch_go_to_a_sweep_that_has_work(stage, shift):
    shift.ready("a", "b")
    rival(stage, wants=2)
    shift.tick()
    assert not any(shift.dispatcher.is_wanted_back(trial) for trial in ("a", "b")), "a refit may be under way"
    shift.tick(OVER_SECONDS)
    assert [shift.dispatcher.is_wanted_back(trial) for trial in ("a", "b")] == [True, True]
    shift.dispatcher.end("a")
    shift.dispatcher.end("b")
    assert shift.dispatcher.next_task("c") is False
    stage.ask_all(shift.sweep_id)
    shift.tick()
    assert shift.dispatcher.next_task("c") is True
    assert shift.dispatcher.next_task("d") is False


def test_a_sweep_whose_workers_fit_nowhere_asks_for_one_so_that_a_cluster_can_grow(stage, shift):
    shift.cluster.cpus = 0.5
    rival(stage, wants=2)
    stage.ask_all(shift.sweep_id)
    shift.tick()
    assert shift.dispatcher.next_task("a") is True
    assert shift.dispatcher.next_task("b") is False


class Registered(OneRunJobs):
    """Jobs of a program: interrupted by a pause, returned when lost, three at first."""

    interrupts_at_pause = True
    first_runs = 3
    changed: str | None = None
    outdated = False
    lost = 0

    def note_loss(self, job: Job) -> int:
        self.lost += 1
        return self.lost

    @property
    def must_pause(self) -> str | None:
        return self.changed

    @property
    def is_outdated(self) -> bool:
        return self.outdated


@pytest.fixture
def registered(stage, shift) -> Shift:
    """A shift whose jobs are of a program."""
    source = Registered()
    shift.source = source
    shift.dispatcher = Dispatcher(
        stage.store,
        shift.sweep_id,
        shift.lease,
        source,
        needs=Resources(max_parallel=9),
        cluster=shift.cluster,
        tick_seconds=0.5,
        clock=shift.clock,
    )
    return shift


def at_work(stage, shift, *trials: str) -> list[ImmediateJob]:
    """Jobs of workers that waited for them."""
    for trial in trials:
        assert shift.dispatcher.next_task(trial) is True
        shift.dispatcher.take_in(trial, READY)
    stage.ask_all(shift.sweep_id)
    shift.tick()
    return [shift.job(trial) for trial in trials]


def test_a_pause_ends_programs_and_returns_their_runs(stage, registered):
    at_work(stage, registered, "a", "b")
    stage.store.sweeps.move(registered.sweep_id, SweepState.PAUSED)
    registered.tick()
    for trial in ("a'", "b'"):
        assert registered.dispatcher.is_wanted_back(trial)
        registered.dispatcher.end(trial)
    assert counts(stage, registered) == {RunState.PENDING: 5}
    assert sum("paused" in str(run.reason) for run in stage.runs(registered.sweep_id)) == 2
    registered.tick()
    assert registered.dispatcher.ending is Ending.IDLE, "another sweep may have its workers"


def test_no_more_than_three_jobs_begin_before_a_loss_is_seen(stage, registered):
    first, *_ = at_work(stage, registered, "a", "b", "c")
    assert registered.dispatcher.next_task("d") is True
    registered.dispatcher.take_in("a'", Report(fault="no module"))
    registered.dispatcher.end("a'")
    assert isinstance(registered.dispatcher.next_task("a''"), ImmediateJob)
    assert counts(stage, registered) == {RunState.FAILED: 1, RunState.RUNNING: 3, RunState.PENDING: 1}
    points = (LossPoint(curve=first.run_ids[0], step=1, tokens=8, loss=3.0),)
    registered.dispatcher.take_in("b'", Report(points=points))
    registered.tick()
    assert isinstance(registered.dispatcher.next_task("e"), ImmediateJob)


def test_the_first_jobs_of_a_program_are_the_last_planned_ones(stage, registered):
    jobs = at_work(stage, registered, "a", "b", "c")
    planned = [run.id for run in stage.runs(registered.sweep_id)]
    assert [job.run_ids for job in jobs] == [(planned[4],), (planned[3],), (planned[2],)]
    points = (LossPoint(curve=planned[4], step=1, tokens=8, loss=3.0),)
    registered.dispatcher.take_in("a'", Report(points=points))
    assert registered.dispatcher.next_task("d").run_ids == (planned[0],)


def test_a_worker_that_can_do_nothing_pauses_the_sweep_and_fails_no_run(stage, registered):
    at_work(stage, registered, "a")
    registered.dispatcher.take_in("a'", Report(fault="On node7: no folder /srv/gpt.", unfit=True))
    registered.dispatcher.end("a'")
    sweep = stage.store.sweeps.get(registered.sweep_id)
    assert sweep.state is SweepState.PAUSED
    assert "On node7: no folder /srv/gpt." in str(sweep.reason)
    assert counts(stage, registered) == {RunState.PENDING: 5}


def test_a_job_that_is_lost_again_and_again_fails_only_after_many_times(stage, registered):
    (job,) = at_work(stage, registered, "a")
    registered.dispatcher.lose("a'", "its node is gone")
    for time in range(MOST_LOSSES - 1):
        assert counts(stage, registered) == {RunState.PENDING: 5}
        again = registered.dispatcher.next_task(f"t{time}")
        assert isinstance(again, ImmediateJob)
        assert again.run_ids == job.run_ids
        registered.dispatcher.lose(f"t{time}", "its node is gone")
    assert stage.store.runs.get(job.run_ids[0]).state is RunState.FAILED


def test_a_changed_trainer_pauses_the_sweep_before_any_other_driver_is_tried(stage, registered):
    at_work(stage, registered, "a")
    registered.source.changed, registered.source.outdated = "It has changed.", True
    registered.tick(MEASURE_SECONDS)
    assert registered.dispatcher.ending is Ending.CHANGED
    assert stage.store.sweeps.get(registered.sweep_id).reason == "It has changed."
    registered.dispatcher.leave()
    assert counts(stage, registered) == {RunState.PENDING: 5}


def test_a_driver_with_an_old_registration_leaves_without_a_word(stage, registered):
    registered.source.outdated = True
    registered.tick(MEASURE_SECONDS)
    assert registered.dispatcher.ending is Ending.CHANGED
    assert stage.store.sweeps.get(registered.sweep_id).state is SweepState.RUNNING


def test_a_run_of_another_size_is_failed_and_its_worker_called_back(stage, registered):
    one, two = at_work(stage, registered, "a", "b")
    runs = {run.id: run for run in stage.runs(registered.sweep_id)}
    assert runs[one.run_ids[0]].cell == runs[two.run_ids[0]].cell
    registered.dispatcher.take_in("a'", Report(params={one.run_ids[0]: 1.01e6}))
    registered.tick(2)
    assert stage.store.sweeps.cells(registered.sweep_id)[runs[one.run_ids[0]].cell].params == 1.01e6
    registered.dispatcher.take_in("b'", replace(completed(two), params={two.run_ids[0]: 1.03e6}))
    registered.tick(2)
    assert stage.store.runs.get(two.run_ids[0]).state is RunState.FAILED
    assert "1030000" in str(stage.store.runs.get(two.run_ids[0]).reason)
    assert registered.dispatcher.is_wanted_back("b'")
    assert not registered.dispatcher.is_wanted_back("a'")


def test_the_newest_output_of_a_run_is_written(stage, registered):
    (job,) = at_work(stage, registered, "a")
    newest = OutputTail(text="step 1\x00 loss 3", end_byte=900)
    registered.dispatcher.take_in("a'", Report(logs={job.run_ids[0]: newest}, notices=("Few digits.",)))
    registered.dispatcher.take_in("a'", Report(notices=("Few digits.",)))
    registered.tick(2)
    assert stage.store.logs.get(job.run_ids[0]) == OutputTail(text="step 1 loss 3", end_byte=900)
    events = stage.store.events.after(0, sweep_id=registered.sweep_id)
    assert [event.data for event in events if event.kind == "notice"] == [{"message": "Few digits."}]


class Growing(OneRunJobs):
    """Jobs whose workers can carry out any grid."""

    seeds = 1

    def takes_up(self, grid, cells) -> bool:
        self.seeds = grid.seeds
        return True


def revised_to(stage, shift, **patch) -> None:
    """Patch the sweep, as far as a replay allows it: its table has one row for each rate."""
    sweep = stage.store.sweeps.get(shift.sweep_id)
    revision = Revision(
        spec=revised(sweep.spec, patch),
        cells=stage.store.sweeps.cells(sweep.id),
        changes=patch,
        runs_on=True,
        refits=False,
    )
    stage.store.revisions.revise(sweep, revision)


def test_live_jobs_end_before_a_driver_leaves_a_sweep_that_has_outgrown_it(stage, shift):
    shift.ready("a", "b")
    stage.ask_all(shift.sweep_id)
    shift.tick()
    job = shift.job("a")
    revised_to(stage, shift, resources={"max_parallel": 5})
    shift.tick()
    other = shift.job("b")  # it was handed out before
    shift.dispatcher.take_in("a'", completed(job))
    shift.dispatcher.end("a'")
    assert shift.dispatcher.next_task("c") is False
    shift.tick()
    assert shift.dispatcher.ending is None
    shift.dispatcher.take_in("b'", completed(other))
    shift.dispatcher.end("b'")
    shift.tick()
    assert shift.dispatcher.ending is Ending.CHANGED
    assert counts(stage, shift)[RunState.COMPLETED] == 2


def test_a_revision_that_its_workers_can_carry_out_is_taken_up_by_the_same_driver(stage, shift):
    shift.source = Growing()
    shift.dispatcher = Dispatcher(
        stage.store,
        shift.sweep_id,
        shift.lease,
        shift.source,
        needs=Resources(max_parallel=2),
        cluster=shift.cluster,
        tick_seconds=0.5,
        clock=shift.clock,
    )
    shift.ready("a")
    stage.ask_all(shift.sweep_id)
    revised_to(stage, shift, grid={"seeds": 2})
    shift.tick()
    assert shift.source.seeds == 2
    assert isinstance(shift.job("a"), ImmediateJob)
    assert shift.dispatcher.ending is None


def test_a_revision_before_the_first_tick_is_noticed(stage, shift):
    before = stage.store.sweeps.get(shift.sweep_id)
    revised_to(stage, shift, resources={"max_parallel": 5})
    dispatcher = Dispatcher(
        stage.store,
        shift.sweep_id,
        shift.lease,
        shift.source,
        needs=Resources(max_parallel=2),
        cluster=shift.cluster,
        tick_seconds=0.5,
        clock=shift.clock,
        sweep=before,
    )
    shift.clock.seconds += 1.0
    dispatcher.tick()
    assert dispatcher.ending is Ending.CHANGED


def test_a_retried_run_waits_for_the_job_that_still_holds_its_earlier_try(stage, shift):
    class Stacks(OneRunJobs):
        def jobs(self, pending, limits, workers):
            return (ImmediateJob(runs=tuple(pending)),) if pending else ()

    shift.dispatcher = Dispatcher(
        stage.store,
        shift.sweep_id,
        shift.lease,
        Stacks(),
        needs=Resources(max_parallel=2),
        cluster=shift.cluster,
        tick_seconds=0.5,
        clock=shift.clock,
    )
    shift.ready("a")
    stage.ask_all(shift.sweep_id)
    shift.tick()
    job = shift.job("a")
    shift.dispatcher.start("a'")
    first = job.run_ids[0]
    ended = RunResult(run_id=first, state=RunState.DIVERGED, flops=1.0)
    shift.dispatcher.take_in("a'", Report(results=(ended,)))
    shift.tick()
    stage.store.revisions.retry(first)
    assert shift.dispatcher.next_task("b") is True
    shift.dispatcher.take_in("b", READY)
    shift.tick()
    assert not shift.dispatcher.is_wanted_back("b")
    rest = ImmediateJob(runs=job.runs[1:])
    shift.dispatcher.take_in("a'", completed(rest))
    shift.dispatcher.end("a'")
    shift.tick()
    assert shift.job("b").run_ids == (first,)
