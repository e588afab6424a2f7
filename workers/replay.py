"""Replays: runs answer with the losses recorded in a run table."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator import amounts
from orchestrator.cells import Cell, Cells
from orchestrator.errors import BadInput
from orchestrator.settings import Settings
from orchestrator.spec import ReplayTrainer
from orchestrator.states import RunState
from orchestrator.store import Store
from orchestrator.store.records import Run, RunResult, Sweep
from orchestrator.tables.formats import read_table
from orchestrator.tables.recorded_rates import recorded_rows
from orchestrator.tables.run_table import RunTable
from workers.immediate import ImmediateJobFactory, ImmediateRunner


def job_factory(
    trainer: ReplayTrainer,
    sweep: Sweep,
    store: Store,
    settings: Settings,  # noqa: ARG001 - as other kinds
) -> ImmediateJobFactory:
    """The factory of a replay's jobs.

    Raises:
        NotFound: the table does not exist.
    """
    table, cells = store.tables.get(trainer.table).data, store.sweeps.cells(sweep.id)
    return ImmediateJobFactory(
        ReplaySetup(table=table, where=trainer.where, ignore=trainer.ignore, cells=cells)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySetup:
    """The input of a worker to replay recorded runs: the table's file, the recipe picked from it, the cells."""

    table: bytes
    where: Mapping[str, str]
    cells: Cells
    ignore: Collection[str] = ()

    def open_runner(self) -> ReplayRunner:
        """Read the table.

        Raises:
            BadInput: the table mixes recipes.
        """
        return ReplayRunner(Recording(read_table(self.table).one_recipe(self.where, self.ignore)), self.cells)


class Recording:
    """The recorded losses by (N, D, B, η); seed n is the n-th of the ``recorded_rows`` of a cell and rate."""

    def __init__(self, table: RunTable) -> None:
        """Index the table.

        Args:
            table: runs of one recipe.
        """
        self._rows = {(point, rate): rows for point, rate, rows in recorded_rows(table)}
        self._loss = table.loss
        self._seconds = table.numbers("gpu_seconds")

    def answer(self, run: Run, cell: Cell) -> RunResult:
        """The end of a recorded run: completed with its loss, or diverged where none is recorded.

        It costs as much as if it had been trained: 6·N·D, and the recorded ``gpu_seconds`` where there are any.

        Raises:
            BadInput: nothing is recorded there.
        """
        rows = self._rows.get((cell.point, run.learning_rate), np.array([], dtype=np.intp))
        if run.seed >= len(rows):
            raise BadInput(
                f"The table holds {len(rows)} runs at {cell.point.in_words} and learning rate "
                f"{amounts.rate(run.learning_rate, 6)}; seed {run.seed} is not recorded."
            )
        row = rows[run.seed]
        loss, seconds = float(self._loss[row]), float(self._seconds[row])
        diverged = math.isnan(loss)
        return RunResult(
            run_id=run.id,
            state=RunState.DIVERGED if diverged else RunState.COMPLETED,
            loss=None if diverged else loss,
            flops=cell.flops,
            seconds=seconds if seconds > 0 and math.isfinite(seconds) else None,
            reason="recorded as diverged" if diverged else None,
        )


class ReplayRunner(ImmediateRunner):
    """Looks up recorded runs."""

    def __init__(self, recording: Recording, cells: Cells) -> None:
        self._recording, self._cells = recording, cells

    def answer(self, run: Run) -> RunResult:
        """The recorded end of a run; failed if nothing is recorded."""
        try:
            return self._recording.answer(run, self._cells[run.cell])
        except BadInput as error:
            return RunResult(run_id=run.id, state=RunState.FAILED, reason=error.detail)
