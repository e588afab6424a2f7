"""Forms jobs of registered programs: one run each, or all horizons of one trunk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.cells import Cells
from orchestrator.planner.trunk_groups import rate_flops
from orchestrator.store.records import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRun:
    """One run of a job; ``cell`` is its number, and ``retries`` how often a user has had it run again."""

    run_id: str
    cell: int
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramJob:
    """The runs of one rate and seed that share a trunk, longest horizon first; a single run if nothing is shared.

    Attributes:
        learning_rate, seed: of all runs.
        trunk_id: of the trunk; None for a run that shares none.
        runs: longest first, because its constant-rate part is the trunk of the others.
    """

    learning_rate: float
    seed: int
    trunk_id: str | None
    runs: tuple[ProgramRun, ...]

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that the job answers."""
        return tuple(run.run_id for run in self.runs)

    @property
    def name(self) -> str:
        """Equal for equal work."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:24]


def program_jobs(pending: Sequence[Run], cells: Cells) -> tuple[ProgramJob, ...]:
    """Jobs that hold every run exactly once, the most FLOPs first: the longest job decides when a batch ends.

    The first runs of a program are taken from the end: they show soonest and cheapest whether it trains.
    """
    groups: dict[tuple[float, int, str], list[Run]] = {}
    for run in pending:
        groups.setdefault((run.learning_rate, run.seed, run.trunk_id or run.id), []).append(run)
    jobs = []
    for (learning_rate, seed, _), runs in groups.items():
        ordered = sorted(runs, key=lambda run: (-cells[run.cell].tokens, run.id))
        job = ProgramJob(
            learning_rate=learning_rate,
            seed=seed,
            trunk_id=ordered[0].trunk_id,
            runs=tuple(ProgramRun(run_id=run.id, cell=run.cell, retries=run.retries) for run in ordered),
        )
        shortest_first = tuple(cells[run.cell] for run in reversed(ordered))
        jobs.append((-rate_flops(shortest_first, 0), job.runs[0].run_id, job))
    return tuple(job for *_, job in sorted(jobs, key=lambda item: item[:2]))
