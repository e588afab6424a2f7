"""Carries out the runs of one sweep, from the first to the last, in one Ray Tune experiment."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ray import tune

from orchestrator.errors import BadInput, Conflict, EtalonError, NotFound
from orchestrator.loop.lease import RenewedLease, holder_name
from orchestrator.private import close_folder
from orchestrator.settings import Settings
from orchestrator.spec import Resources
from orchestrator.states import SWEEP_LIVE, SweepState
from orchestrator.store import Store, driver_lease
from orchestrator.store.records import Sweep
from orchestrator.submission.capacity import described, room_in
from workers.checkpoints import EXPERIMENT, Checkpoints
from workers.cluster import cluster_size, ray_cluster
from workers.dispatcher import Dispatcher, Ending
from workers.kinds import job_factory
from workers.runner import JobFactory, MustPause
from workers.tune_plugins import JobSearcher, JobsFirstScheduler, RecallStopper, ReportCallback
from workers.worker import Worker

log = logging.getLogger(__name__)

RETRIES = 3
"""Retries of a job whose worker died; preempted machines do not count (Ray knows them)."""


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
    resources = sweep.spec.needs
    checkpoints = Checkpoints(settings.checkpoints, sweep.id)
    close_folder(checkpoints.folder)
    with ray_cluster(settings.ray_address):
        log.info("attached to Ray", extra={"sweep_id": sweep.id, "address": settings.ray_address or "local"})
        workers = _workers(resources, settings)
        dispatcher = Dispatcher(
            store,
            sweep.id,
            lease,
            factory,
            needs=resources.model_copy(update={"max_parallel": workers}),
            cluster=cluster_size,
            tick_seconds=settings.tick_seconds,
            sweep=sweep,
        )
        with _signals_to(dispatcher):
            try:
                _experiment(dispatcher, factory, resources, workers, checkpoints).fit()
            finally:
                dispatcher.leave()
                checkpoints.drop_experiment()
    log.info("driver leaves", extra={"sweep_id": sweep.id, "reason": dispatcher.ending})
    if dispatcher.ending in {Ending.FINAL, Ending.CANCELLED}:
        _tidy(store.sweeps.get(sweep.id).state, checkpoints)


def _tidy(state: SweepState, checkpoints: Checkpoints) -> None:
    """Remove the files of a finished sweep that are never read again."""
    if state in {SweepState.CANCELLED, SweepState.FAILED}:
        checkpoints.drop_all()
    else:
        checkpoints.drop_jobs()


def _experiment(
    dispatcher: Dispatcher, factory: JobFactory, resources: Resources, workers: int, checkpoints: Checkpoints
) -> tune.Tuner:
    # By default Tune asks for one actor at a time. The first batch should find all of them.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(workers)
    trainable = tune.with_resources(
        tune.with_parameters(Worker, setup=factory.setup),
        {"cpu": resources.cpus_per_run, "gpu": resources.gpus_per_run},
    )
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=JobSearcher(dispatcher, workers),
            scheduler=JobsFirstScheduler(),  # type: ignore[no-untyped-call]
            num_samples=-1,
            max_concurrent_trials=workers,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=EXPERIMENT,
            storage_path=str(checkpoints.folder.absolute()),
            stop=RecallStopper(dispatcher),
            callbacks=[ReportCallback(dispatcher)],
            # Workers write checkpoints themselves, where a later driver finds them too.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            verbose=0,
        ),
    )


def _workers(resources: Resources, settings: Settings) -> int:
    """Number of workers to ask Ray for: a cluster may grow, a local Ray will not.

    Raises:
        BadInput: this machine has no room for a single one.
    """
    room, wanted = room_in(cluster_size(), resources), described(resources)
    if settings.ray_address is not None:
        if not room:  # the dispatcher records it for the user
            log.warning("no room on the Ray cluster: runs wait until it grows", extra={"wanted": wanted})
        return resources.max_parallel
    if not room:
        raise BadInput(
            f"resources: a run asks for {wanted}, which this machine does not have. Ask for less, or set "
            "ETALON_RAY_ADDRESS to a cluster that has them."
        )
    return min(resources.max_parallel, room)


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


@contextmanager
def _signals_to(dispatcher: Dispatcher) -> Iterator[None]:
    """End the experiment in order on SIGTERM and Ctrl-C."""
    before = {
        number: signal.signal(number, lambda *_: dispatcher.interrupt())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
