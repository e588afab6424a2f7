"""One of several processes that write to the same store at once: ``writer_process.py URL SWEEP_ID FENCE NUMBER``."""

from __future__ import annotations

import sys

from orchestrator.states import RunState
from orchestrator.store import Store
from orchestrator.store.records import LossPoint, RunResult

POINTS = 20


def main(url: str, sweep_id: str, fence: int, number: int) -> None:
    """Claim runs one by one until none is left; write each one's curve and end; print the ids claimed."""
    with Store.open(url) as store:
        while waiting := store.runs.pending(sweep_id):
            chosen = waiting[number % len(waiting)]
            for run in store.runs.claim(sweep_id, fence=fence, run_ids=[chosen.id]):
                for step in range(POINTS):
                    store.losses.append([LossPoint(curve=run.id, step=step, tokens=step, loss=3.0)])
                store.runs.finish([RunResult(run_id=run.id, state=RunState.COMPLETED, loss=3.0)], fence=fence)
                print(run.id)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
