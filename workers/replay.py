"""Replays recorded runs: a run answers with the loss of its row in a run table."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestrator.errors import BadInput
from orchestrator.planner.values import Cell
from orchestrator.states import RunState
from orchestrator.store.records import RunResult
from orchestrator.tables.run_table import RunTable, parse_csv
from workers.jobs import Asked, ReplayJob
from workers.runner import ReplayBench, Report

_Place = tuple[float, float, float, float]


class Recording:
    """The recorded losses by (N, D, B, η), as `table_cells` tells them apart.

    Seed n is the n-th row of a place, in the order of the table.
    """

    def __init__(self, table: RunTable) -> None:
        """Index the table.

        Args:
            table: runs of one recipe.
        """
        self._rows: dict[_Place, list[int]] = {}
        self._loss = table.loss
        self._seconds = table.texts.get("gpu_seconds")
        table = table.grouped()
        columns = (table.params, table.tokens, table.batch_tokens, table.learning_rate)
        for row, place in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            self._rows.setdefault(place, []).append(row)

    def answer(self, asked: Asked, cell: Cell) -> RunResult:
        """How the recorded run ended: completed with its loss, or diverged where there is none.

        What it cost is counted as if it had run: 6·N·D, and the recorded ``gpu_seconds`` where there are any.

        Raises:
            BadInput: nothing is recorded there.
        """
        rows = self._rows.get((cell.params, cell.tokens, cell.batch_tokens, asked.learning_rate), [])
        if asked.seed >= len(rows):
            raise BadInput(
                f"The table holds {len(rows)} runs of params {cell.params:g}, tokens {cell.tokens:g}, batch_tokens "
                f"{cell.batch_tokens:g} at learning rate {asked.learning_rate:g}; seed {asked.seed} is not recorded."
            )
        loss = float(self._loss[rows[asked.seed]])
        diverged = math.isnan(loss)
        return RunResult(
            run_id=asked.run_id,
            state=RunState.DIVERGED if diverged else RunState.COMPLETED,
            loss=None if diverged else loss,
            flops=cell.flops,
            seconds=self._recorded_seconds(rows[asked.seed]),
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

    def __init__(self, bench: ReplayBench) -> None:
        """Read the table.

        Raises:
            BadInput: the table mixes recipes.
        """
        self._recording = Recording(parse_csv(bench.table).one_recipe(bench.where))
        self._cells = bench.cells
        self._job = ReplayJob(asked=())

    @property
    def limits(self) -> Mapping[str, int]:
        """Nothing is stacked in a replay."""
        return {}

    def begin(self, job: ReplayJob) -> None:
        """Take up a job."""
        self._job = job

    def advance(self, seconds: float) -> tuple[Report, bool]:  # noqa: ARG002 - a replay takes no time
        """Answer every run of the job."""
        return Report(results=tuple(self._answer(asked) for asked in self._job.asked)), True

    def save(self) -> None:
        """Nothing to save: a replay is over at once."""

    def _answer(self, asked: Asked) -> RunResult:
        try:
            return self._recording.answer(asked, self._cells[asked.cell])
        except BadInput as error:
            return RunResult(run_id=asked.run_id, state=RunState.FAILED, reason=error.detail)
