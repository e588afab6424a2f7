"""Many writers at once: every run is claimed once, every event is seen once, and the database is never locked."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from orchestrator.documents.events import ProgressEvent
from orchestrator.errors import Conflict
from orchestrator.spec import SweepSpec
from orchestrator.states import RunState, SweepState
from orchestrator.store import LEADER, Store, schema
from orchestrator.store.database import Database
from orchestrator.store.records import RunResult

WRITER = Path(__file__).with_name("writer_process.py")
RATES = [1e-3 * 1.1**n for n in range(20)]


def a_batch(bench: Any) -> str:
    """A running sweep with 40 pending runs."""
    sweep = bench.sweep()
    bench.ask(sweep.id, *((cell, rate) for cell in (0, 1) for rate in RATES))
    return sweep.id


def test_threads_claim_each_run_once(bench: Any) -> None:
    sweep_id = a_batch(bench)
    fence = bench.drive(sweep_id)
    pending = bench.store.runs.pending(sweep_id)
    with ThreadPoolExecutor(8) as threads:
        claims = threads.map(
            lambda _: bench.store.runs.claim(sweep_id, fence=fence, run_ids=[run.id for run in pending]),
            range(8),
        )
        claimed = [run.id for runs in claims for run in runs]
    assert sorted(claimed) == [run.id for run in pending]


def test_processes_claim_finish_and_report_each_run_once(bench: Any, database_url: str) -> None:
    """Two writer processes and a reader; the reader follows the events as an event stream does."""
    sweep_id = a_batch(bench)
    fence = bench.drive(sweep_id)
    last = bench.store.events.last_id()
    writers = [
        subprocess.Popen(
            [sys.executable, WRITER, database_url, sweep_id, str(fence), str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (0, 7)
    ]
    followed: list[str] = []
    pause = threading.Event()
    while any(writer.poll() is None for writer in writers) or bench.store.events.last_id() > last:
        pause.wait(0.01)
        for event in bench.store.events.after(last, limit=3):
            last = event.id
            if event.kind == "run":
                followed.append(event.data["run_id"])
    outputs = [writer.communicate(timeout=60) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], outputs
    claimed = [line for output, _ in outputs for line in output.split()]
    runs = bench.store.runs.of_sweep(sweep_id)
    assert sorted(claimed) == sorted(followed) == sorted(run.id for run in runs)
    assert {(run.state, run.attempt) for run in runs} == {(RunState.COMPLETED, 1)}
    assert all(len(bench.store.losses.curve(run)) == 20 for run in runs)


def test_a_reader_sees_events_in_order_while_threads_write_them(bench: Any) -> None:
    sweep = bench.sweep()
    before = bench.store.events.last_id()

    def write(writer: int) -> None:
        for number in range(25):
            bench.store.events.append(sweep.id, ProgressEvent(claimed=writer, points=number))

    seen, last = [], before
    with ThreadPoolExecutor(4) as threads:
        written = [threads.submit(write, writer) for writer in range(4)]
        while len(seen) < 100:
            fresh = bench.store.events.after(last)
            seen += [(event.data["claimed"], event.data["points"]) for event in fresh]
            last = fresh[-1].id if fresh else last
            if all(done.done() for done in written) and not bench.store.events.after(last):
                break
        for done in written:
            done.result()
    assert sorted(seen) == [(writer, number) for writer in range(4) for number in range(25)]


def test_one_of_many_rivals_gets_the_lease(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        leases = list(threads.map(lambda n: store.leases.acquire(LEADER, f"rival {n}", 60), range(8)))
    held = [lease for lease in leases if lease is not None]
    assert held == [store.leases.current(LEADER)]


def test_one_of_many_moves_wins_and_the_others_conflict(bench: Any) -> None:
    sweep = bench.sweep()
    conflicts = []

    def pause(_: int) -> None:
        try:
            bench.store.sweeps.move(sweep.id, SweepState.PAUSED)
        except Conflict as conflict:
            conflicts.append(conflict.detail)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(pause, range(6)))
    assert len(conflicts) == 5
    assert len([e for e in bench.store.events.after(0) if e.data.get("state") == "paused"]) == 1


def test_one_key_submitted_by_many_at_once_is_one_sweep(store: Store, spec: SweepSpec) -> None:
    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(lambda _: store.sweeps.create(spec, cells=(), idempotency_key="k"), range(6)))
    assert len({sweep.id for sweep, _ in made}) == 1
    assert sum(new for _, new in made) == 1


def test_a_reader_sees_one_moment_whatever_is_written_meanwhile(bench: Any, database_url: str) -> None:
    database = Database(database_url)
    with database.read() as connection:
        before = connection.execute(select(func.count()).select_from(schema.sweeps)).scalar_one()
        bench.sweep()
        assert connection.execute(select(func.count()).select_from(schema.sweeps)).scalar_one() == before
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(schema.sweeps)).scalar_one() == before + 1
    database.engine.dispose()


def test_a_cancel_and_a_finish_at_once_leave_one_truth(bench: Any) -> None:
    """Whichever write is first, no event contradicts a run's last state."""
    sweep_id = a_batch(bench)
    fence = bench.drive(sweep_id)
    runs = bench.store.runs.claim(sweep_id, fence=fence)
    start = threading.Barrier(2)

    def finish() -> int:
        start.wait()
        return sum(
            bench.store.runs.finish(
                [RunResult(run_id=run.id, state=RunState.COMPLETED, loss=3.0)], fence=fence
            )
            for run in runs
        )

    def cancel() -> None:
        start.wait()
        bench.store.sweeps.move(sweep_id, SweepState.CANCELLED)

    with ThreadPoolExecutor(2) as threads:
        finished, cancelled = threads.submit(finish), threads.submit(cancel)
        cancelled.result()
    counts = bench.store.sweeps.progress(sweep_id)
    assert counts[RunState.COMPLETED] == finished.result()
    assert counts[RunState.COMPLETED] + counts[RunState.CANCELLED] == len(runs)
    recorded = [event for event in bench.store.events.after(0, sweep_id=sweep_id) if event.kind == "run"]
    assert len(recorded) == finished.result()


@pytest.mark.parametrize("writers", [6])
def test_writers_and_readers_of_one_store_share_its_connections(bench: Any, writers: int) -> None:
    sweep_id = a_batch(bench)
    with ThreadPoolExecutor(2 * writers) as threads:
        reads = [threads.submit(bench.store.sweeps.progress, sweep_id) for _ in range(20 * writers)]
        writes = [
            threads.submit(bench.store.events.append, sweep_id, ProgressEvent(points=n))
            for n in range(writers)
        ]
        assert {sum(done.result().values()) for done in reads} == {40}
        for done in writes:
            done.result()
