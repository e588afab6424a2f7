"""Carries out the runs of one sweep, from the first to the last: on Ray, or in this process if they take no time."""

from __future__ import annotations

import logging
import time

from orchestrator.errors import BadInput, Conflict, EtalonError, NotFound
from orchestrator.loop.lease import RenewedLease, holder_name
from orchestrator.settings import Settings
from orchestrator.states import SWEEP_LIVE, SweepState
from orchestrator.store import Store, driver_lease
from orchestrator.store.records import Sweep
from workers.answering import answer_runs
from workers.checkpoints import Checkpoints
from workers.dispatcher import Dispatcher, Ending
from workers.interruption import signals_to
from workers.kinds import job_factory
from workers.runner import JobFactory, MustPause

log = logging.getLogger(__name__)


def drive(sweep_id: str, settings: Settings) -> None:
    """Drive a sweep until the sweep, the lease or the orchestrator ends, or a signal arrives.

    Raises:
        NotFound: there is no such sweep.
        Conflict: the sweep has a live driver.
        WorkersDie: the cluster starts no worker.
    """
    with Store.open(settings.database_url) as store:
        if store.sweeps.get(sweep_id).state not in SWEEP_LIVE:
            return
        with _acquired(store, sweep_id, settings.lease_seconds) as lease:
            store.runs.release(sweep_id, fence=lease.fence - 1, reason="Its driver was lost.")
            sweep = store.sweeps.get(sweep_id)
            try:
                _carry_out(sweep, job_factory(sweep, store, settings), store, lease, settings)
            except MustPause as pause:
                _pause(store, sweep, lease.fence, pause)
            except (BadInput, NotFound) as error:
                _give_up(store, sweep_id, lease.fence, error)


def _acquired(store: Store, sweep_id: str, seconds: float) -> RenewedLease:
    """The driver's lease, as soon as that of a killed driver has expired."""
    deadline, holder = time.monotonic() + 2 * seconds, holder_name()
    while (lease := RenewedLease.try_acquire(store, driver_lease(sweep_id), holder, seconds)) is None:
        if time.monotonic() > deadline:
            raise Conflict(f"Sweep {sweep_id} has a live driver.")
        time.sleep(seconds / 20)
    return lease


def _carry_out(
    sweep: Sweep, factory: JobFactory, store: Store, lease: RenewedLease, settings: Settings
) -> None:
    """Carry out the runs in this process if they take no time, which needs no cluster; else on Ray."""
    checkpoints = Checkpoints(settings.checkpoints, sweep.id)
    if sweep.spec.training.answers_at_once:
        ending = _answer(sweep, factory, store, lease, settings)
    else:
        from workers.experiment import carry_out  # noqa: PLC0415 - Ray takes seconds to load

        ending = carry_out(sweep, factory, store, lease, settings, checkpoints)
    log.info("driver leaves", extra={"sweep_id": sweep.id, "reason": ending})
    if ending in {Ending.FINAL, Ending.CANCELLED}:
        _tidy(store.sweeps.get(sweep.id).state, checkpoints)


def _answer(
    sweep: Sweep, factory: JobFactory, store: Store, lease: RenewedLease, settings: Settings
) -> Ending | None:
    dispatcher = Dispatcher(
        store,
        sweep.id,
        lease,
        factory,
        needs=sweep.spec.needs,
        cluster=None,
        tick_seconds=settings.tick_seconds,
        sweep=sweep,
    )
    with signals_to(dispatcher):
        try:
            answer_runs(dispatcher, factory.setup.open_runner(), settings.tick_seconds)
        finally:
            dispatcher.leave()
    return dispatcher.ending


def _tidy(state: SweepState, checkpoints: Checkpoints) -> None:
    """Remove the files of a finished sweep that are never read again."""
    if state in {SweepState.CANCELLED, SweepState.FAILED}:
        checkpoints.drop_all()
    else:
        checkpoints.drop_jobs()


def _pause(store: Store, sweep: Sweep, fence: int, pause: MustPause) -> None:
    """Pause a running sweep, with the reason for the user; one that is ending cannot wait for its trainer."""
    if sweep.state is not SweepState.RUNNING:
        _give_up(store, sweep.id, fence, pause)
        return
    log.error("the sweep is paused", extra={"sweep_id": sweep.id, "detail": pause.detail})
    try:
        store.sweeps.move(
            sweep.id,
            SweepState.PAUSED,
            actor="driver",
            reason=pause.detail,
            fence=fence,
            lease=driver_lease(sweep.id),
        )
    except Conflict as refused:
        log.warning("the sweep has changed", extra={"sweep_id": sweep.id, "detail": refused.detail})


def _give_up(store: Store, sweep_id: str, fence: int, error: EtalonError) -> None:
    """Fail the sweep, with the reason for the user."""
    log.error("the sweep cannot be carried out", extra={"sweep_id": sweep_id, "detail": error.detail})
    try:
        store.sweeps.move(
            sweep_id,
            SweepState.FAILED,
            actor="driver",
            reason=error.detail,
            fence=fence,
            lease=driver_lease(sweep_id),
        )
    except Conflict as refused:
        log.warning(
            "the sweep is over already, or has another driver",
            extra={"sweep_id": sweep_id, "detail": refused.detail},
        )
