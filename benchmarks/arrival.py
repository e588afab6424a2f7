"""Savings of refits as results arrive: FLOPs and time to the same stop, in replays where a run takes as long as its FLOPs.

    ETALON_RECORDED_RUNS=<folder with steplaw_dense.csv> python -m benchmarks.arrival [--replicates 12] [--stop 1.3 …]

The largest size of the table is the target and never run; ``--stop 0`` leaves the end to the planner. In each replicate
but the first another random tenth of the cells is missing, and of the rates. A worker trains one run at a time, the
longest first. Modes:

batch     the next runs are asked for when none is open (refit: batch)
together  never more open than workers, results all at once (refit: arrival in a replay)
apart     a run is asked for whenever one has ended (refit: arrival where runs take time)
filled    a whole batch is asked for whenever a worker is free (refit: arrival of proxies)

Share: FLOPs of the runs in per cent of the full grid. Time: that of all workers until the end, in the same unit, so
that it equals the share where no worker ever waits.
"""

from __future__ import annotations

import argparse
import heapq
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from orchestrator.cells import Point
from orchestrator.law import Law
from orchestrator.planner import planner_of
from orchestrator.planner.values import KnownRun, PlanRequest, Proposal, RunHistory, RunOutcome
from orchestrator.strategies.recorded_world import RecordedWorld, recorded_world
from orchestrator.tables.formats import read_table

MODES: Final = ("batch", "together", "apart", "filled")
TARGET_TOKENS, TARGET_BATCH = 2.84e10, 262_144.0


@dataclass(kw_only=True)
class SimulatedSweep:
    """A sweep that runs on some workers; its clock counts FLOPs."""

    place: RecordedWorld
    mode: str
    request: PlanRequest
    ended: tuple[KnownRun, ...] = ()
    queue: list[Proposal] = field(default_factory=list)
    flying: list[tuple[float, int, Proposal]] = field(default_factory=list)
    now: float = 0.0
    started: int = 0
    law: Law | None = None
    waits: bool = False

    def run(self) -> tuple[int, float, float]:
        """Run to the end: runs, share and time in per cent of the full grid."""
        known, planned, flops = -1, -1, 0.0
        grid = self.place.flops
        while True:
            if self._is_due(planned):
                if known != len(self.ended):
                    self.law, known = self.place.law_of(self.ended), len(self.ended)
                plan = planner_of("law").plan(self._record(), self.law, self._asked())
                planned = known
                if plan.stop is not None:
                    time = self.now * self.request.max_parallel
                    return len(self.ended), 100 * flops / grid, 100 * time / grid
                self.waits = not plan.batch
                self.queue += sorted(plan.batch, key=lambda run: -run.flops)
                flops += sum(run.flops for run in plan.batch)
            self._start()
            self._end_one()

    def _is_due(self, planned: int) -> bool:
        if not self.flying and not self.queue:
            return True
        room = not self.waits and not self.queue and len(self.flying) < self.request.max_parallel
        return (
            self.mode in {"apart", "filled"} and room and self.law is not None and planned != len(self.ended)
        )

    def _asked(self) -> PlanRequest:
        if self.law is None or self.mode not in {"together", "apart"}:
            return self.request
        return replace(self.request, runs_per_batch=self.request.max_parallel)

    def _record(self) -> RunHistory:
        waiting = (*self.queue, *(run for _, _, run in self.flying))
        runs = tuple(
            KnownRun(cell=run.cell, learning_rate=run.learning_rate, seed=run.seed, outcome=RunOutcome.OPEN)
            for run in waiting
        )
        return RunHistory(cells=self.place.cells, runs=self.ended + runs)

    def _start(self) -> None:
        while self.queue and len(self.flying) < self.request.max_parallel:
            run = self.queue.pop(0)
            heapq.heappush(self.flying, (self.now + run.flops, self.started, run))
            self.started += 1

    def _end_one(self) -> None:
        if self.flying:
            self.now, _, run = heapq.heappop(self.flying)
            self.ended += (self.place.answered(run.cell, run.learning_rate, run.seed),)


def main() -> None:
    """Prints one row per stop, number of workers and mode."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--replicates", type=int, default=12)
    arguments.add_argument("--stop", nargs="*", type=float, default=(0.0, 1.4, 1.3))
    arguments.add_argument("--workers", nargs="*", type=int, default=(2, 8))
    options = arguments.parse_args()
    table = read_table((Path(os.environ["ETALON_RECORDED_RUNS"]) / "steplaw_dense.csv").read_bytes())
    whole = recorded_world(table)
    places = [whole.replicate(number) for number in range(options.replicates)]
    target = Point(params=float(table.params.max()), tokens=TARGET_TOKENS, batch_tokens=TARGET_BATCH)
    print("stop  workers  mode       runs   share %  (median)   time %   cheaper than batch in")
    for stop in options.stop:
        for workers in options.workers:
            request = PlanRequest(target=target, max_parallel=workers, interval_factor=stop or None)
            first: list[float] = []
            for mode in MODES:
                rows = np.array([SimulatedSweep(place=p, mode=mode, request=request).run() for p in places])
                first = first or rows[:, 1].tolist()
                runs, share, time = rows.mean(axis=0)
                wins = f"{int((rows[:, 1] < first).sum())} of {len(rows)}"
                print(
                    f"{stop or 'none':<5} {workers:>6}   {mode:<9} {runs:5.1f} {share:9.2f} "
                    f"({np.median(rows[:, 1]):.2f}) {time:11.2f}   {wins}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
