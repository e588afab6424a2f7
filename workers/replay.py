"""Replays: runs answer with the losses recorded in a run table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator import amounts
from orchestrator.cells import Cell, Cells, Point
from orchestrator.errors import BadInput
from orchestrator.settings import Settings
from orchestrator.spec import ReplayTrainer
from orchestrator.states import RunState
from orchestrator.store import Store
from orchestrator.store.records import Run, RunResult, Sweep
from orchestrator.tables.formats import read_table
from orchestrator.tables.run_table import RunTable
from workers.runner import Report, WorkerKind

LOOKUPS_PER_JOB: Final = 500
"""Most runs of one job: many, because a trial costs more than a look-up; bounded, so that progress is visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySetup:
    """The input of a worker to replay recorded runs: the table's file, the recipe picked from it, the cells."""

    table: bytes
    where: Mapping[str, str]
    cells: Cells
    kind: str = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """One run to look up in the table."""

    run_id: str
    cell: int
    learning_rate: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayJob:
    """Runs to look up together."""

    lookups: tuple[Lookup, ...]

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that the job answers."""
        return tuple(lookup.run_id for lookup in self.lookups)


def replay_jobs(runs: Sequence[Run], *, limit: int, workers: int) -> tuple[ReplayJob, ...]:
    """Divide pending runs into as many equal jobs as there are workers, none longer than ``limit``."""
    size = max(1, min(limit, -(-len(runs) // workers)))
    lookups = [
        Lookup(run_id=run.id, cell=run.cell, learning_rate=run.learning_rate, seed=run.seed) for run in runs
    ]
    return tuple(ReplayJob(lookups=tuple(lookups[i : i + size])) for i in range(0, len(lookups), size))


class ReplayJobFactory:
    """Forms jobs of look-ups in a recorded table."""

    def __init__(
        self,
        trainer: ReplayTrainer,
        sweep: Sweep,
        store: Store,
        settings: Settings,  # noqa: ARG002 - as other kinds
    ) -> None:
        """Fetch the table.

        Raises:
            NotFound: the table does not exist.
        """
        self.setup = ReplaySetup(
            table=store.tables.get(trainer.table).data,
            where=trainer.where,
            cells=store.sweeps.cells(sweep.id),
        )

    def jobs(
        self,
        pending: Sequence[Run],
        limits: Mapping[str, int],  # noqa: ARG002 - nothing is stacked
        workers: int,
    ) -> tuple[ReplayJob, ...]:
        """Equal parts for all workers."""
        return replay_jobs(pending, limit=LOOKUPS_PER_JOB, workers=workers)

    def ended(self, job: ReplayJob) -> None:
        """Nothing to remove: a replay writes no files."""


class Recording:
    """The recorded losses by (N, D, B, η), grouped as in ``recorded_rates``; seed n is the n-th row of a group."""

    def __init__(self, table: RunTable) -> None:
        """Index the table.

        Args:
            table: runs of one recipe.
        """
        self._rows: dict[tuple[Point, float], list[int]] = {}
        self._loss = table.loss
        self._seconds = table.texts.get("gpu_seconds")
        table = table.grouped()
        columns = (table.params, table.tokens, table.batch_tokens, table.learning_rate)
        for row, (n, d, b, rate) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            self._rows.setdefault((Point(params=n, tokens=d, batch_tokens=b), rate), []).append(row)

    def answer(self, lookup: Lookup, cell: Cell) -> RunResult:
        """The end of a recorded run: completed with its loss, or diverged where none is recorded.

        It costs as much as if it had been trained: 6·N·D, and the recorded ``gpu_seconds`` where there are any.

        Raises:
            BadInput: nothing is recorded there.
        """
        rows = self._rows.get((cell.point, lookup.learning_rate), [])
        if lookup.seed >= len(rows):
            raise BadInput(
                f"The table holds {len(rows)} runs at {cell.point.in_words} and learning rate "
                f"{amounts.rate(lookup.learning_rate, 6)}; seed {lookup.seed} is not recorded."
            )
        loss = float(self._loss[rows[lookup.seed]])
        diverged = math.isnan(loss)
        return RunResult(
            run_id=lookup.run_id,
            state=RunState.DIVERGED if diverged else RunState.COMPLETED,
            loss=None if diverged else loss,
            flops=cell.flops,
            seconds=self._recorded_seconds(rows[lookup.seed]),
            reason="recorded as diverged or failed" if diverged else None,
        )

    def _recorded_seconds(self, row: int) -> float | None:
        try:
            seconds = float(self._seconds[row]) if self._seconds else math.nan
        except ValueError:
            return None
        return seconds if seconds > 0 and math.isfinite(seconds) else None


class ReplayRunner:
    """Answers all runs of a job at once."""

    machine_faults: tuple[type[Exception], ...] = (OSError, MemoryError)

    def __init__(self, setup: ReplaySetup) -> None:
        """Read the table.

        Raises:
            BadInput: the table mixes recipes.
        """
        self._recording = Recording(read_table(setup.table).one_recipe(setup.where))
        self._cells = setup.cells
        self._job = ReplayJob(lookups=())

    @property
    def limits(self) -> Mapping[str, int]:
        """Empty: nothing is stacked."""
        return {}

    def begin(self, job: ReplayJob) -> None:
        """Take up a job."""
        self._job = job

    def advance(self, seconds: float) -> tuple[Report, bool]:  # noqa: ARG002 - a replay takes no time
        """Answer every run of the job."""
        return Report(results=tuple(self._answer(lookup) for lookup in self._job.lookups)), True

    def save(self) -> None:
        """Nothing to save: a replay is over at once."""

    def _answer(self, lookup: Lookup) -> RunResult:
        try:
            return self._recording.answer(lookup, self._cells[lookup.cell])
        except BadInput as error:
            return RunResult(run_id=lookup.run_id, state=RunState.FAILED, reason=error.detail)


KIND: Final = WorkerKind(jobs=ReplayJobFactory, runner=("workers.replay", "ReplayRunner"))
