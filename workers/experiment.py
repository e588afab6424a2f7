"""Carries out the runs of one sweep in one Ray Tune experiment."""

from __future__ import annotations

import logging
import os

from ray import tune

from orchestrator.allocation import room_in
from orchestrator.errors import BadInput
from orchestrator.loop.lease import RenewedLease
from orchestrator.private import close_folder
from orchestrator.settings import Settings
from orchestrator.spec import Resources
from orchestrator.store import Store
from orchestrator.store.records import Sweep
from orchestrator.submission.capacity import described
from workers.checkpoints import EXPERIMENT, Checkpoints
from workers.cluster import cluster_size, ray_cluster
from workers.dispatcher import Dispatcher, Ending
from workers.interruption import signals_to
from workers.runner import JobFactory
from workers.tune_plugins import JobSearcher, JobsFirstScheduler, RecallStopper, ReportCallback
from workers.worker import Worker

log = logging.getLogger(__name__)

RETRIES = 3
"""Retries of a job whose worker died; preempted machines do not count (Ray knows them)."""


def carry_out(
    sweep: Sweep,
    factory: JobFactory,
    store: Store,
    lease: RenewedLease,
    settings: Settings,
    checkpoints: Checkpoints,
) -> Ending | None:
    """Carry out runs until the dispatcher leaves; the reason why it did.

    Raises:
        BadInput: this machine has no room for a single worker.
        Unavailable: the operator's cluster cannot be reached.
        WorkersDie: the cluster starts no worker.
    """
    resources = sweep.spec.needs
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
        with signals_to(dispatcher):
            try:
                _experiment(dispatcher, factory, resources, workers, checkpoints).fit()
            finally:
                dispatcher.leave()
                checkpoints.drop_experiment()
    return dispatcher.ending


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
