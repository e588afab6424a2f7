"""Sweeps of proxies: what their workers need, and how pending runs become stacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cells import Cell, Cells
from orchestrator.corpora import BUILT_IN, find_corpus
from orchestrator.errors import BadInput
from orchestrator.extras import require
from orchestrator.heldout.comparison_setup import comparison_scales
from orchestrator.settings import CorpusSource, Settings
from orchestrator.spec import Base, CellRole, GridOf, ProxyTrainer, Scale, SweepSpec
from orchestrator.store import Store
from orchestrator.store.records import Run, Sweep
from workers.checkpoints import Checkpoints
from workers.proxy_jobs import ProxyJob, proxy_jobs
from workers.runner import JobFactory

if TYPE_CHECKING:
    from workers.proxy_runner import ProxyRunner

CAUTIOUS_LIMIT: Final = 8
"""Members of a stack where no worker reported a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRecipe:
    """The recipe of trunks whose rate is transferred from a base, and that base."""

    trainer: ProxyTrainer
    base: Base


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySetup:
    """The input of a worker to train any proxy of one sweep.

    Attributes:
        trainer: the sweep's recipe.
        corpus: the file of the registered or prepared corpus; None for ``stdlib``.
        scales: the scale of each trunk, by the trunk's name.
        cells: one cell of each trunk, by the trunk's name, for its params and batch.
        checkpoints: folder of all sweeps' checkpoints, visible to every worker.
        sweep_id: the sweep's own folder in it.
        device: ``cpu`` or ``cuda``.
        gpu_share: part of a GPU that one worker has, at most 1.
        threads: of PyTorch, at least 1.
        base: the proxy at which the parametrization changes nothing; None for the standard one.
        transferred: the recipe of trunks in another parametrization than the sweep's (a comparison's Transfer), by name.
    """

    trainer: ProxyTrainer
    corpus: CorpusSource | None
    scales: Mapping[str, Scale]
    cells: Mapping[str, Cell]
    checkpoints: Path
    sweep_id: str
    device: str
    threads: int
    gpu_share: float = 1.0
    base: Base | None = None
    transferred: Mapping[str, TransferRecipe] = field(default_factory=dict)

    def open_runner(self) -> ProxyRunner:
        """Load the corpus and check the shapes."""
        from workers.proxy_runner import ProxyRunner  # noqa: PLC0415 - PyTorch stays in worker processes

        return ProxyRunner(self)


class ProxyJobFactory(JobFactory):
    """Forms stacks of proxies; jobs that an earlier driver left unfinished come first."""

    setup: ProxySetup
    silence_seconds: float = 600.0  # a first step may compile for minutes

    def __init__(self, trainer: ProxyTrainer, sweep: Sweep, store: Store, settings: Settings) -> None:
        """Collect what the workers need.

        Raises:
            BadInput: the sweep's corpus does not exist here, or the extra ``train`` is missing beside a local Ray.
        """
        if settings.ray_address is None:
            require("train")  # workers of a local Ray have this process's packages
        self._trainer = trainer
        grid, resources = sweep.spec.grid, sweep.spec.resources
        self._cells = store.sweeps.cells(sweep.id)
        self._checkpoints = Checkpoints(settings.checkpoints, sweep.id)
        self.setup = ProxySetup(
            trainer=trainer,
            corpus=_corpus(trainer.corpus, settings),
            scales=trainer.trunk_scales(grid) | comparison_scales(sweep.spec, self._cells),
            cells={cell.trunk: cell for cell in self._cells if cell.trunk is not None},
            checkpoints=settings.checkpoints.absolute(),
            sweep_id=sweep.id,
            device="cuda" if resources.gpus_per_run else "cpu",
            gpu_share=min(1.0, resources.gpus_per_run) or 1.0,
            threads=max(1, int(resources.cpus_per_run)),
            base=trainer.base(grid),
            transferred=_transferred(trainer, sweep.spec, self._cells),
        )

    def jobs(self, pending: Sequence[Run], limits: Mapping[str, int], workers: int) -> tuple[ProxyJob, ...]:
        """Unfinished jobs first, then stacks of the other runs, the longest first."""
        unfinished = self._unfinished({run.id: run.retries for run in pending})
        taken = {run_id for job in unfinished for run_id in job.run_ids}
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
        return (*unfinished, *stacks)

    def ended(self, job: ProxyJob) -> None:
        """Remove the job's checkpoint."""
        self._checkpoints.drop_job(job)

    def takes_up(self, grid: GridOf[Any], cells: Cells) -> bool:
        """As ``JobFactory.takes_up``: further horizons, rates and seeds of the trunks that the workers know."""
        known = self.setup.scales.keys()
        if self._trainer.base(grid) != self.setup.base or {cell.trunk for cell in cells} - known:
            return False
        self._cells = cells
        return True

    def _unfinished(self, pending: Mapping[str, int]) -> list[ProxyJob]:
        """Saved jobs with a pending run. Their ended runs are reported again, which does no harm.

        A job with a run that a user has had run again since is dropped: it would report the earlier result.
        """
        found = [job for job in self._checkpoints.unfinished_jobs() if pending.keys() & set(job.run_ids)]
        for job in found:
            branches = [branch for member in job.members for branch in member.branches]
            if any(pending.get(one.run_id, one.retries) != one.retries for one in branches):
                self._checkpoints.drop_job(job)
        return [job for job in found if self._checkpoints.has_job(job)]


def _corpus(name: str, settings: Settings) -> CorpusSource | None:
    source = find_corpus(name, settings)
    if source is None and name != BUILT_IN:
        raise BadInput(
            f"The corpus {name!r} is neither registered (ETALON_CORPORA) nor prepared ({settings.corpora_folder}) "
            "where the sweep's driver runs."
        )
    return source


def _transferred(trainer: ProxyTrainer, spec: SweepSpec, cells: Cells) -> dict[str, TransferRecipe]:
    """Transfer's recipe by its trunk; empty for a sweep without a comparison."""
    if spec.comparison is None:
        return {}
    there, recipe = spec.comparison.transferred(spec.grid, trainer)
    base = recipe.base(there)
    if base is None:
        return {}
    trunks = [cell.trunk for cell in cells if cell.role == CellRole.TRANSFER and cell.trunk is not None]
    return {trunk: TransferRecipe(trainer=recipe, base=base) for trunk in trunks}


job_factory: Final = ProxyJobFactory
