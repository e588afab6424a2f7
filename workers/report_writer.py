"""Writes the reports of workers to the store, in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from orchestrator.documents.events import NoticeEvent, ProgressEvent
from orchestrator.states import RunState
from orchestrator.store import Store, driver_lease
from orchestrator.store.outputs import OutputTail
from orchestrator.store.records import LensPoint, LossPoint, RunResult
from workers.runner import Report

FLUSH_SECONDS = 1.0
"""Longest delay of the points of live runs."""

PROGRESS_SECONDS = 3.0
"""Least time between two events of new points: a page redraws all curves for each."""


class ReportWriter:
    """Collects reports for a moment and writes them together; ends of runs are written at once.

    A failed write is repeated later. Writing twice does no harm.
    """

    def __init__(
        self, store: Store, sweep_id: str, fence: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write for a driver.

        Args:
            store: where reports are written.
            sweep_id: the driver's sweep.
            fence: of the driver's lease; once another driver holds it, every write is refused.
            clock: monotonic seconds.
        """
        self._store, self._sweep_id, self._fence, self._clock = store, sweep_id, fence, clock
        self._lease = driver_lease(sweep_id)
        self._points: list[LossPoint] = []
        self._lenses: list[LensPoint] = []
        self._results: list[RunResult] = []
        self._logs: dict[str, OutputTail] = {}
        self._params: dict[str, float] = {}
        self._told_params: set[str] = set()
        self.refused: set[str] = set()
        """Runs that were failed because of their size, while their job goes on."""
        self._notices: list[str] = []
        self._noticed: set[str] = set()
        self._flushed_at = self._announced_at = self._clock()
        self._unannounced = 0

    def add(self, report: Report) -> None:
        """Add a report."""
        self._points += report.points
        self._lenses += report.lenses
        self._results += report.results
        self._logs |= report.logs
        self._params |= {run: params for run, params in report.params.items() if run not in self._told_params}
        self._told_params.update(report.params)
        self._notices += [text for text in report.notices if text not in self._noticed]
        self._noticed.update(report.notices)

    def fail(self, run_ids: Iterable[str], reason: str) -> None:
        """Fail these runs; those that have ended stay as they are."""
        self._results += [RunResult(run_id=one, state=RunState.FAILED, reason=reason) for one in run_ids]

    def flush_when_due(self) -> None:
        """Write if a run ended or points have waited long enough."""
        if self._results or self._clock() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write everything: a run's points before its end, so that an ended run always has its whole curve.

        Raises:
            Conflict: another driver has the lease.
            Unavailable: the database does not answer; nothing is lost.
        """
        if self._points:
            self._store.losses.append(self._points, fence=self._fence, lease=self._lease)
            self._unannounced += len(self._points)
            self._points = []
        if self._lenses:
            self._store.lenses.append(self._lenses, fence=self._fence, lease=self._lease)
            self._lenses = []
        self._store.logs.write(self._logs, fence=self._fence, lease=self._lease)
        self._logs = {}
        self._measure_params()
        if self._results:
            once = {result.run_id: result for result in reversed(self._results)}
            self._store.runs.finish(list(once.values()), fence=self._fence)
            self._results = []
        while self._notices:
            event = NoticeEvent(message=self._notices[0])
            self._store.events.append(self._sweep_id, event, fence=self._fence, lease=self._lease)
            del self._notices[0]
        self._announce_progress()
        self._flushed_at = self._clock()

    def _measure_params(self) -> None:
        """Take over reported sizes; a run whose size is not that of earlier ones fails."""
        while self._params:
            run_id, params = next(iter(self._params.items()))
            reason = self._store.sweeps.measure_params(run_id, params, fence=self._fence, lease=self._lease)
            if reason is not None:
                self._results.insert(0, RunResult(run_id=run_id, state=RunState.FAILED, reason=reason))
                self.refused.add(run_id)
            del self._params[run_id]

    def _announce_progress(self) -> None:
        """Record an event of the new points, at most every ``PROGRESS_SECONDS``."""
        if self._unannounced and self._clock() - self._announced_at >= PROGRESS_SECONDS:
            event = ProgressEvent(points=self._unannounced)
            self._store.events.append(self._sweep_id, event, fence=self._fence, lease=self._lease)
            self._unannounced, self._announced_at = 0, self._clock()
