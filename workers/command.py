"""Sweeps of registered programs: what their workers need, and how pending runs become jobs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.documents.events import TrainerEvent
from orchestrator.errors import BadInput
from orchestrator.programs.registry import read_trainers
from orchestrator.settings import Settings
from orchestrator.spec import FIRST_RUNS, CommandTrainer
from orchestrator.states import RUN_MEASURED
from orchestrator.store import Store
from orchestrator.store.records import Run, Sweep
from workers.checkpoints import Checkpoints
from workers.command_jobs import ProgramJob, program_jobs
from workers.programs.leftovers import drop_leftovers
from workers.programs.lost_workers import note_loss
from workers.programs.program_runner import ProgramSetup
from workers.runner import JobFactory, MustPause

log = logging.getLogger(__name__)


class CommandJobFactory(JobFactory):
    """Forms jobs of a registered program."""

    interrupts_at_pause = True
    first_runs = FIRST_RUNS

    def __init__(self, trainer: CommandTrainer, sweep: Sweep, store: Store, settings: Settings) -> None:
        """Read the registration.

        Raises:
            MustPause: it is not there any more, or is faulty.
        """
        self._name, self._sweep_id, self._store, self._place = (
            trainer.name,
            sweep.id,
            store,
            settings.trainers,
        )
        self._cells = store.sweeps.cells(sweep.id)
        try:
            self._registration = read_trainers(settings.trainers).get_for_readers(trainer.name)
        except BadInput as error:
            raise MustPause(_put_back(error)) from error
        self._losses: Counter[str] = Counter()
        # A worker that saves an interrupted run waits so long for its program.
        self.silence_seconds += self._registration.definition.limits.stop
        self.setup = self._workers = ProgramSetup(
            registration=self._registration,
            parameters=trainer.parameters,
            cells=self._cells,
            folder=Checkpoints(settings.checkpoints, sweep.id).folder.absolute(),
            resources=sweep.spec.resources,
        )

    def jobs(
        self,
        pending: Sequence[Run],
        limits: Mapping[str, int],  # noqa: ARG002 - nothing is stacked
        workers: int,  # noqa: ARG002 - runs are not divided
    ) -> tuple[ProgramJob, ...]:
        """As ``JobFactory.jobs``."""
        return program_jobs(pending, self._cells)

    def ended(self, job: ProgramJob) -> None:
        """Remove what nobody reads any more: temporary files, and the own checkpoints of runs that gave a result.

        Checkpoints of a trunk stay, for horizons that are asked for later.
        """
        kept = frozenset() if job.trunk_id is None else self._workers.trunk(job.trunk_id).paths
        for run in job.runs:
            folder = self._workers.run_folder(run.run_id)
            has_result = self._store.runs.get(run.run_id).state in RUN_MEASURED
            drop_leftovers(self._registration, folder, checkpoint=has_result, kept=kept)

    def note_loss(self, job: ProgramJob) -> int:
        """As ``JobFactory.note_loss``: the number outlives the driver, where the folders of the runs can be written."""
        self._losses.update(job.run_ids)
        first = self._losses[job.run_ids[0]]
        try:
            return max(first, *map(note_loss, map(self._workers.run_folder, job.run_ids)))
        except OSError as error:
            log.warning("a loss is not recorded", extra={"run_ids": job.run_ids, "error": str(error)})
            return first

    @property
    def must_pause(self) -> str | None:
        """As ``JobFactory.must_pause``: the registration has changed since the sweep was submitted or resumed."""
        planned = self._planned
        try:
            found = read_trainers(self._place).get_for_readers(self._name)
        except BadInput as error:
            return _put_back(error)
        if planned in {None, found.digest}:
            return None
        return (
            f"The registration of the trainer {self._name} has changed: {planned} carried out the runs so far, and "
            f"{found.digest} is there now. Put the former one back, or resume the sweep to go on with the new one."
        )

    @property
    def is_outdated(self) -> bool:
        """As ``JobFactory.is_outdated``: the sweep was resumed with another registration."""
        return self._planned not in {None, self._registration.digest}

    @property
    def _planned(self) -> str | None:
        """Digest of the registration that the sweep was submitted or resumed with."""
        event = self._store.events.latest(self._sweep_id, TrainerEvent)
        return None if event is None else event.digest


def _put_back(error: BadInput) -> str:
    return f"{error.detail} Put the registration back, and resume the sweep."


job_factory = CommandJobFactory
