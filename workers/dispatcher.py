"""Decides what the workers of one sweep do next: claims runs, hands out jobs and receives reports."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from orchestrator.allocation import Cluster, room_in
from orchestrator.errors import Conflict, Unavailable
from orchestrator.loop.lease import RenewedLease
from orchestrator.spec import Resources
from orchestrator.states import SWEEP_LIVE, RunState, SweepState
from orchestrator.store import LEADER, Store, driver_lease
from orchestrator.store.records import Sweep
from orchestrator.submission.capacity import workers_event
from workers.carried_revision import CarriedRevision
from workers.report_writer import ReportWriter
from workers.runner import Job, JobFactory, Report
from workers.shares import WorkerShare
from workers.silence import SilenceWatch

log = logging.getLogger(__name__)

WARM_SECONDS = 60.0
"""Seconds for which idle workers of a running sweep keep their resources: longer than a refit takes."""

OVER_SECONDS = 2.0
"""Seconds for which an idle worker above the sweep's share stays: a refit takes about as long."""

START_SECONDS = 1.0
"""Seconds for which a job may look for a worker before a waiting worker makes room for it."""

MEASURE_SECONDS = 5.0
"""Seconds between two measurements of the cluster's size."""

MOST_LOSSES = 5
"""Times that a job whose runs return is given up, each after all retries, before its runs fail."""

LEADERLESS_SECONDS = 30.0
"""Seconds for which a driver without work waits for an orchestrator to return."""


class Ending(StrEnum):
    """The reason why a driver ends."""

    FINAL = "the sweep is over"
    CANCELLED = "the sweep was cancelled"
    LOST = "another driver has the lease"
    CHANGED = "the sweep or the registration of its trainer has changed"
    INTERRUPTED = "the driver was interrupted"
    IDLE = "the sweep does not run and no job is unfinished"
    LEADERLESS = "there is no orchestrator and nothing to do"


class Dispatcher:
    """Gives the workers of one sweep their tasks.

    A free worker gets a job, waits for one with everything loaded, or ends. Ray Tune calls a task a trial; each
    has an id.
    """

    def __init__(  # noqa: PLR0913 - all that a driver has at hand
        self,
        store: Store,
        sweep_id: str,
        lease: RenewedLease,
        factory: JobFactory,
        *,
        needs: Resources,
        cluster: Callable[[], Cluster] | None,
        tick_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sweep: Sweep | None = None,
    ) -> None:
        """Begin with no worker.

        Args:
            store: where runs are claimed and reports are written.
            sweep_id: the sweep.
            lease: the driver's.
            factory: forms jobs.
            needs: what a worker takes, and how many there are at most.
            cluster: measures the cluster's size; None if the driver answers the runs itself.
            tick_seconds: pause between two looks at the database.
            clock: monotonic seconds.
            sweep: as the factory was made for it; None for as it is now.
        """
        self._store, self._sweep_id, self._lease, self._factory = store, sweep_id, lease, factory
        self._needs, self._cluster = needs, cluster
        self._tick_seconds, self._clock = tick_seconds, clock
        self._writer = ReportWriter(store, sweep_id, lease.fence, clock)
        self._silence = SilenceWatch(factory.silence_seconds, clock)
        now_there = store.sweeps.get(sweep_id)
        self._state = now_there.state
        self._carried = CarriedRevision(sweep or now_there, store, factory)
        self._working = self._has_work()
        self._planned: list[Job] = []
        self._handed: deque[Job] = deque()
        self._live: dict[str, Job] = {}
        self._unstarted: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._ready: set[str] = set()
        self._sent_away: set[str] = set()
        self._recalled: set[str] = set()
        self._proven = factory.first_runs is None or store.sweeps.results(sweep_id) > 0
        self._limits: dict[str, int] | None = None
        self._share = None if cluster is None else WorkerShare(store, sweep_id, lease.fence, needs)
        self._allowed = needs.max_parallel
        self._over_since: float | None = None
        self._has_freed = False
        self._busy_at = self._led_at = self._clock()
        self._read_at = -math.inf
        self._measured: Cluster | None = None
        self._measured_at = -math.inf
        self.ending: Ending | None = None

    def interrupt(self) -> None:
        """Leave as soon as the workers have stopped. Safe in a signal handler."""
        self.ending = self.ending or Ending.INTERRUPTED

    def tick(self) -> None:
        """If a tick has passed, read the sweep's state, write reports, and claim runs for waiting workers."""
        if self._lease.lost:
            self.ending = Ending.LOST
        if self.ending is not None or self._clock() - self._read_at < self._tick_seconds:
            return
        with self._database():
            self._read_state()
            if self.ending is None:
                self._look_around()
                self._read_share()
                self._writer.flush_when_due()
                idle = len(self._ready - self._sent_away) - len(self._handed)
                self._handed.extend(
                    self._take(min(idle, self._allowed - len(self._live) - len(self._handed)))
                )
        self._read_at = self._clock()

    def next_task(self, trial_id: str) -> Job | bool:
        """The next task of a free worker: a job; True to wait for one; False if no worker is needed now."""
        self.tick()
        if self.ending is not None:
            return False
        freed, self._has_freed = self._has_freed, False
        # While others share the cluster, a new worker may wait for long, and a run that it had claimed with it.
        finds_worker = freed or self._allowed == self._needs.max_parallel
        job = self._handed.popleft() if self._handed else self._next_job() if finds_worker else None
        if job is not None:
            self._live[trial_id] = job
            self._unstarted[trial_id] = self._clock()
            return job
        if self._keeps_warm() and self._may_hold_more:
            self._waiting.add(trial_id)
            return True
        return False

    def is_wanted_back(self, trial_id: str) -> bool:
        """Whether a worker should end its trial.

        A waiting one should if there is a job for it, if it has waited too long, or if the sweep holds more than its share;
        one with a job, if the sweep is paused and its kind of trainer is interrupted then, or if a run of the job was
        refused.
        """
        if trial_id in self._sent_away:
            return True  # its process died on the way out and was started again
        if trial_id in self._live and self._is_interrupted:
            self._recalled.add(trial_id)
            return True
        if trial_id in self._live and self._writer.refused & {*self._live[trial_id].run_ids}:
            return True
        if trial_id not in self._waiting:
            return False
        now = self._clock()
        stranded = sum(now - since > START_SECONDS for since in self._unstarted.values())
        called = len(self._handed) + stranded > len(self._sent_away)
        if called or not self._keeps_warm() or self._is_over_for_long:
            self._sent_away.add(trial_id)
            return True
        return False

    def start(self, trial_id: str) -> None:
        """A trial has a worker."""
        self._unstarted.pop(trial_id, None)
        self._silence.heard(trial_id)

    def restart(self, trial_id: str) -> None:
        """A trial has lost its worker and is restarted on another."""
        self._silence.forget(trial_id)
        if trial_id in self._live:
            self._unstarted[trial_id] = self._clock()

    def hung(self) -> frozenset[str]:
        """The trials whose worker hangs: it has not reported for longer than its kind of trainer ever takes."""
        found = self._silence.silent()
        for trial_id in found:
            runs = self._live[trial_id].run_ids if trial_id in self._live else ()
            facts = {"sweep_id": self._sweep_id, "trial": trial_id, "run_ids": runs}
            log.warning("a worker hangs and is killed", extra=facts)
        return found

    def take_in(self, trial_id: str, report: Report) -> None:
        """Receive a worker's report."""
        self._silence.heard(trial_id)
        if trial_id in self._waiting:
            if self._limits is None:
                log.info("the first worker is ready", extra={"sweep_id": self._sweep_id})
            self._ready.add(trial_id)
            self._limits = dict(report.limits)
            return
        self._writer.add(report)
        learned = bool(report.points) or any(one.state is not RunState.FAILED for one in report.results)
        self._proven = self._proven or learned
        job = self._live.get(trial_id)
        if job is None or report.fault is None:
            return
        if report.unfit and self._factory.interrupts_at_pause:
            self._recalled.add(trial_id)
            with self._database():
                self._pause(
                    f"A worker cannot carry out its runs. {report.fault} Mend it, then resume the sweep."
                )
        else:
            self._writer.fail(job.run_ids, report.fault)

    def end(self, trial_id: str) -> None:
        """A trial has ended in order: its worker is free, until the next task is asked for."""
        self._has_freed = True
        recalled = trial_id in self._recalled
        self._forget(trial_id)
        job = self._live.pop(trial_id, None)
        if job is None:
            return
        if recalled:
            self._return(job, "Stopped: the sweep is paused.")
        else:
            self._conclude(job)

    def lose(self, trial_id: str, reason: str) -> None:
        """A trial is given up after its last retry: its workers died.

        Raises:
            WorkersDie: the worker was only waiting, so no worker can be started at all.
        """
        self._forget(trial_id)
        job = self._live.pop(trial_id, None)
        if job is None:
            raise WorkersDie(
                f"Workers of sweep {self._sweep_id} die before they have anything to do: {reason}"
            )
        losses = self._factory.note_loss(job)
        if losses is not None and losses < MOST_LOSSES:
            self._return(job, reason)
        else:
            self._writer.fail(job.run_ids, reason)
            self._conclude(job)

    def leave(self) -> None:
        """Write what is left and release the runs that did not end, unless another driver has the sweep."""
        if self.ending in {Ending.LOST, Ending.CANCELLED}:
            return
        self._writer.flush()
        reason = self.ending or "its driver failed"
        self._store.runs.release(self._sweep_id, fence=self._lease.fence, reason=f"Stopped: {reason}.")

    def _conclude(self, job: Job) -> None:
        with self._database():
            self._writer.flush()
            self._writer.refused.difference_update(job.run_ids)
            self._factory.ended(job)

    def _read_state(self) -> None:
        now = self._clock()
        sweep = self._store.sweeps.get(self._sweep_id)
        before, self._state = self._state, sweep.state
        if self._carried.has_grown(sweep):
            self._planned = []
        self._working = self._has_work()
        busy = bool(self._live or self._handed)
        if busy or before is not self._state:
            self._busy_at = now
        if busy or self._store.leases.current(LEADER) is not None:
            self._led_at = now
        if self._state is SweepState.CANCELLED:
            self.ending = Ending.CANCELLED
        elif self._state not in SWEEP_LIVE:
            self.ending = Ending.FINAL
        elif self._carried.outgrown and not busy:
            self.ending = Ending.CHANGED
        elif self._is_interrupted and not busy:
            self.ending = Ending.IDLE  # its programs have ended, and another sweep may have their workers
        elif not self._working and now - self._busy_at > WARM_SECONDS:
            self.ending = Ending.IDLE  # the orchestrator starts another when the sweep goes on
        elif now - self._led_at > LEADERLESS_SECONDS:
            self.ending = Ending.LEADERLESS

    def _return(self, job: Job, reason: str) -> None:
        """Make the runs of a job that did not end pending again."""
        with self._database():
            self._writer.flush()
            self._store.runs.release(
                self._sweep_id, fence=self._lease.fence, reason=reason, run_ids=job.run_ids
            )

    @property
    def _is_interrupted(self) -> bool:
        return self._state is SweepState.PAUSED and self._factory.interrupts_at_pause

    def _look_around(self) -> None:
        """From time to time, look whether the cluster or the trainer has changed."""
        if self._clock() - self._measured_at < MEASURE_SECONDS:
            return
        if self._cluster is not None:
            self._record_cluster(self._cluster)
        self._measured_at = self._clock()
        if self._state is SweepState.RUNNING and (reason := self._factory.must_pause) is not None:
            self._pause(reason)
            self.ending = Ending.CHANGED
        elif self._factory.is_outdated:
            self.ending = Ending.CHANGED

    def _pause(self, reason: str) -> None:
        """Pause a running sweep, whose user must do something first."""
        if self._state is SweepState.RUNNING:
            fence, lease = self._lease.fence, driver_lease(self._sweep_id)
            self._store.sweeps.move(
                self._sweep_id, SweepState.PAUSED, actor="driver", reason=reason, fence=fence, lease=lease
            )
            self._state = SweepState.PAUSED

    def _read_share(self) -> None:
        """Record what the sweep asks for, and read how many workers it may hold: above it, they go as their jobs end."""
        if self._share is None or self._measured is None:
            return
        at_work = len(self._live.keys() - self._unstarted.keys())
        self._allowed = self._share.read(
            self._measured, wants=self._wanted(), holds=at_work + len(self._ready)
        )
        over = self._held - len(self._sent_away) > self._allowed
        self._over_since = (self._over_since or self._clock()) if over else None

    def _wanted(self) -> int:
        """Number of workers that have something to do, or could have."""
        under_way = len(self._live) + len(self._handed)
        if not self._working or self._carried.outgrown:
            return under_way
        most = self._needs.max_parallel
        if not self._proven and self._factory.first_runs is not None:
            most = min(most, self._factory.first_runs)
        return max(under_way, min(most, under_way + self._store.runs.pending_jobs(self._sweep_id)))

    @property
    def _held(self) -> int:
        return len(self._live) + len(self._waiting)

    @property
    def _may_hold_more(self) -> bool:
        return self._held < self._allowed

    @property
    def _is_over_for_long(self) -> bool:
        if self._over_since is None or self._clock() - self._over_since < OVER_SECONDS:
            return False
        return self._held - len(self._sent_away) > self._allowed

    def _record_cluster(self, measure: Callable[[], Cluster]) -> None:
        """Record the cluster's size when it has changed: users see why runs wait."""
        cluster = measure()
        if cluster != self._measured:
            event, lease = workers_event(cluster, self._needs), driver_lease(self._sweep_id)
            self._store.events.append(self._sweep_id, event, fence=self._lease.fence, lease=lease)
        self._measured = cluster

    @property
    def _workers(self) -> int:
        """Number of workers that can run now, at least 1."""
        room = self._needs.max_parallel if self._measured is None else room_in(self._measured, self._needs)
        return max(1, min(self._needs.max_parallel, room, self._allowed))

    def _has_work(self) -> bool:
        """Whether there may be runs to claim: a stopping sweep has some if an earlier driver was lost."""
        if self._state is SweepState.STOPPING:
            return bool(self._store.runs.pending(self._sweep_id))
        return self._state is SweepState.RUNNING

    def _keeps_warm(self) -> bool:
        return self._working and not self._carried.outgrown and self._clock() - self._busy_at < WARM_SECONDS

    @contextmanager
    def _database(self) -> Iterator[None]:
        """Wait out a database that does not answer; leave if it refuses, because another driver has the lease."""
        try:
            yield
        except Unavailable as error:
            log.warning("the database does not answer", extra={"detail": error.detail})
        except Conflict as error:
            log.warning("another driver is in charge", extra={"detail": error.detail})
            self.ending = Ending.LOST

    def _next_job(self) -> Job | None:
        """A job for a worker that has just ended another, so that it need not wait."""
        taken: list[Job] = []
        with self._database():
            taken = self._take(min(1, self._allowed - self._held))
        return taken[0] if taken else None

    def _take(self, count: int) -> list[Job]:
        """Claim the runs of up to ``count`` jobs."""
        if not self._proven and self._factory.first_runs is not None:
            count = min(count, self._factory.first_runs - len(self._live) - len(self._handed))
        if count <= 0 or self._limits is None or not self._working or self._carried.outgrown:
            return []
        under_way = {run_id for job in (*self._live.values(), *self._handed) for run_id in job.run_ids}
        # A run that is retried while a job holds its earlier try waits for the end of that job.
        pending = [run for run in self._store.runs.pending(self._sweep_id) if run.id not in under_way]
        waiting = {run.id for run in pending}
        if not waiting <= {run_id for job in self._planned for run_id in job.run_ids}:
            self._planned = list(self._factory.jobs(pending, self._limits, self._workers))
        taken: list[Job] = []
        while self._planned and len(taken) < count:
            job = self._planned.pop(0 if self._proven else -1)
            wanted = [run_id for run_id in job.run_ids if run_id in waiting]
            if not wanted:
                continue
            if self._store.runs.claim(self._sweep_id, fence=self._lease.fence, run_ids=wanted):
                taken.append(job)
        if taken:
            self._busy_at = self._clock()
        return taken

    def _forget(self, trial_id: str) -> None:
        self._unstarted.pop(trial_id, None)
        self._silence.forget(trial_id)
        for kept in (self._waiting, self._ready, self._sent_away, self._recalled):
            kept.discard(trial_id)


class WorkersDie(Exception):
    """No worker can be started: the cluster or its installation is broken."""
