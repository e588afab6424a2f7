"""Where a driver's jobs come from: one source per kind of trainer turns pending runs into jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.corpora import BUILT_IN, find_corpus
from orchestrator.errors import BadInput
from orchestrator.heldout.setting import comparison_scales
from orchestrator.planner.values import Cells
from orchestrator.settings import Settings
from orchestrator.spec import CellRole, ProxyTrainer, ReplayTrainer, SweepSpec, base_of
from orchestrator.store import Store
from orchestrator.store.records import Run, Sweep
from orchestrator.submission.cells import trunk_scales
from workers.checkpoints import Checkpoints
from workers.jobs import Job, ProxyJob, proxy_jobs, replay_jobs
from workers.runner import Bench, Carried, ProxyBench, ReplayBench

REPLAYS_PER_JOB = 500
"""Runs of one replay job: many, because a trial costs more than a look-up; bounded, so that progress shows."""

CAUTIOUS_LIMIT = 8
"""Members of a stack where a worker could not say how many are best."""


class Source(Protocol):
    """Forms jobs of one kind.

    Attributes:
        bench: what every worker of the sweep needs.
    """

    bench: Bench

    def jobs(self, pending: Sequence[Run], limits: Mapping[str, int], workers: int) -> tuple[Job, ...]:
        """Jobs for these runs, in the order in which to start them."""
        ...

    def ended(self, job: Job) -> None:
        """The job's end is recorded: drop what was kept for its sake."""
        ...


class ProxySource:
    """Stacks of proxies; jobs that an earlier driver left under way come first."""

    def __init__(self, sweep: Sweep, trainer: ProxyTrainer, cells: Cells, settings: Settings) -> None:
        """Work out what the workers need.

        Raises:
            BadInput: the sweep's corpus is no longer there.
        """
        grid, resources = sweep.spec.grid, sweep.spec.resources
        corpus = find_corpus(trainer.corpus, settings)
        if corpus is None and trainer.corpus != BUILT_IN:
            raise BadInput(
                f"The corpus {trainer.corpus!r} is neither registered (ETALON_CORPORA) nor prepared "
                f"({settings.corpora_folder}) where the sweep's driver runs."
            )
        self._cells = cells
        self._checkpoints = Checkpoints(settings.checkpoints, sweep.id)
        self.bench: Bench = ProxyBench(
            trainer=trainer,
            corpus=corpus,
            scales=trunk_scales(grid, trainer) | comparison_scales(sweep.spec, cells),
            cells={cell.trunk: cell for cell in cells if cell.trunk is not None},
            checkpoints=settings.checkpoints.absolute(),
            sweep_id=sweep.id,
            device="cuda" if resources.gpus_per_run else "cpu",
            gpu_share=min(1.0, resources.gpus_per_run) or 1.0,
            threads=max(1, int(resources.cpus_per_run)),
            base=base_of(grid, trainer),
            carried=_carried(sweep.spec, cells),
        )

    def jobs(self, pending: Sequence[Run], limits: Mapping[str, int], workers: int) -> tuple[Job, ...]:
        """Left-over jobs first, then stacks of the rest, the longest first."""
        left_over = self._left_over({run.id for run in pending})
        taken = {run_id for job in left_over for run_id in job.run_ids}
        rest = [run for run in pending if run.id not in taken]
        stacks = proxy_jobs(
            rest,
            self._cells,
            positions={
                run.trunk_id: self._checkpoints.trunk_positions(run.trunk_id) for run in rest if run.trunk_id
            },
            limits={cell.trunk: limits.get(cell.trunk, CAUTIOUS_LIMIT) for cell in self._cells if cell.trunk},
            workers=workers,
        )
        return (*left_over, *stacks)

    def ended(self, job: Job) -> None:
        """Drop the job's checkpoint."""
        if isinstance(job, ProxyJob):
            self._checkpoints.drop_job(job)

    def _left_over(self, pending: set[str]) -> list[ProxyJob]:
        """Saved jobs with a run that still waits; runs of theirs that ended are told again, which does no harm."""
        return [job for job in self._checkpoints.unfinished_jobs() if pending & set(job.run_ids)]


def _carried(spec: SweepSpec, cells: Cells) -> dict[str, Carried]:
    """Transfer's recipe, by its trunk; nothing for a sweep that compares nothing."""
    if spec.comparison is None or not isinstance(spec.trainer, ProxyTrainer):
        return {}
    grid, trainer = spec.comparison.transferred(spec.grid, spec.trainer)
    base = base_of(grid, trainer)
    if base is None:
        return {}
    trunks = [cell.trunk for cell in cells if cell.arm == CellRole.TRANSFER and cell.trunk is not None]
    return {trunk: Carried(trainer=trainer, base=base) for trunk in trunks}


class ReplaySource:
    """Look-ups in a recorded table."""

    def __init__(self, trainer: ReplayTrainer, cells: Cells, store: Store) -> None:
        """Fetch the table.

        Raises:
            NotFound: there is no such table.
        """
        self.bench: Bench = ReplayBench(
            table=store.tables.get(trainer.table).data, where=trainer.where, cells=cells
        )

    def jobs(self, pending: Sequence[Run], limits: Mapping[str, int], workers: int) -> tuple[Job, ...]:  # noqa: ARG002
        """Equal parts for all workers."""
        return replay_jobs(pending, limit=REPLAYS_PER_JOB, workers=workers)

    def ended(self, job: Job) -> None:
        """A replay leaves nothing behind."""


def source_of(sweep: Sweep, store: Store, settings: Settings) -> Source:
    """The source for a sweep's trainer.

    Raises:
        BadInput: the sweep trains nothing, or by a trainer that has no runner.
    """
    trainer, cells = sweep.spec.trainer, store.sweeps.cells(sweep.id)
    if isinstance(trainer, ProxyTrainer):
        return ProxySource(sweep, trainer, cells, settings)
    if isinstance(trainer, ReplayTrainer):
        return ReplaySource(trainer, cells, store)
    kind = trainer.kind if trainer else "none"
    raise BadInput(f"Sweep {sweep.id} has the trainer {kind!r}; this driver carries out proxy and replay.")
