"""Stands in for the real drivers: answers the runs of a replay sweep, one transaction at a time."""

from __future__ import annotations

import math
import sys
import threading

from orchestrator.errors import Conflict
from orchestrator.loop.lease import holder_name
from orchestrator.settings import Settings
from orchestrator.spec import ReplayTrainer
from orchestrator.states import SWEEP_LIVE, RunState
from orchestrator.store import Store, driver_lease
from orchestrator.store.records import RunResult, Sweep
from orchestrator.tables.formats import read_table


def recorded(store: Store, sweep: Sweep) -> dict[tuple[float, ...], float]:
    """Losses by (N, D, B, η)."""
    assert isinstance(sweep.spec.trainer, ReplayTrainer)
    table = read_table(store.tables.get(sweep.spec.trainer.table).data)
    places = zip(table.params, table.tokens, table.batch_tokens, table.learning_rate, strict=True)
    return dict(zip(places, table.loss, strict=True))


def drive(store: Store, sweep_id: str, seconds: float) -> None:
    """Be the driver until the sweep is final or another has taken the lease."""
    idle = threading.Event()
    lease = None
    while lease is None:
        lease = store.leases.acquire(driver_lease(sweep_id), holder_name(), seconds)
        idle.wait(0.02)
    store.runs.release(sweep_id, fence=lease.fence - 1, reason="its driver was lost")
    sweep, cells = store.sweeps.get(sweep_id), store.sweeps.cells(sweep_id)
    losses = recorded(store, sweep)
    while store.sweeps.get(sweep_id).state in SWEEP_LIVE and lease is not None:
        waiting = [run.id for run in store.runs.pending(sweep_id)]
        for run in store.runs.claim(sweep_id, fence=lease.fence, run_ids=waiting[:1]):
            cell = cells[run.cell]
            loss = losses[cell.params, cell.tokens, cell.batch_tokens, run.learning_rate]
            state = RunState.COMPLETED if math.isfinite(loss) else RunState.DIVERGED
            found = float(loss) if state is RunState.COMPLETED else None
            result = RunResult(run_id=run.id, state=state, loss=found, flops=cell.flops, seconds=0.01)
            store.runs.finish([result], fence=lease.fence)
        lease = store.leases.renew(lease, seconds)
        idle.wait(0.005)


def main() -> int:
    settings = Settings()
    with Store.open(settings.database_url) as store:
        try:
            drive(store, sys.argv[1], settings.lease_seconds)
        except Conflict as conflict:
            print(conflict, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
