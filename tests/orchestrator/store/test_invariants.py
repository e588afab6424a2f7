"""What the database itself refuses, whoever writes it, on both databases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.states import RUN_FINAL, RunState, SweepState
from orchestrator.store import LEADER, schema
from orchestrator.store.database import Database
from orchestrator.store.identity import new_id
from orchestrator.store.invariants import CHECKS
from orchestrator.store.records import LossPoint, RunResult

NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The same database without the store."""
    opened = Database(database_url)
    yield opened
    opened.engine.dispose()


def runs_in_every_state(bench: Any) -> dict[RunState, str]:
    """A sweep with a run in each state; their ids."""
    sweep = bench.sweep()
    rates = [1e-3 * 2**n for n in range(6)]
    bench.ask(sweep.id, *((0, rate) for rate in rates), pruned=[(1, 1e-3)])
    fence = bench.drive(sweep.id)
    pending = bench.store.runs.pending(sweep.id)
    cancelled, failed, diverged, completed, _running = bench.store.runs.claim(
        sweep.id, fence=fence, run_ids=[run.id for run in pending[:5]]
    )
    ends = {
        completed.id: (RunState.COMPLETED, 2.0),
        diverged.id: (RunState.DIVERGED, None),
        failed.id: (RunState.FAILED, None),
    }
    bench.store.runs.finish(
        [RunResult(run_id=run_id, state=state, loss=loss) for run_id, (state, loss) in ends.items()],
        fence=fence,
    )
    other = bench.sweep()
    bench.ask(other.id, (0, 1e-3))
    bench.store.sweeps.move(other.id, SweepState.CANCELLED)
    del cancelled
    found = [*bench.store.runs.of_sweep(sweep.id), *bench.store.runs.of_sweep(other.id)]
    return {run.state: run.id for run in found}


def test_every_constraint_of_the_code_is_in_the_database(database: Database) -> None:
    """Alembic compares no check constraints, so a revision could lack one."""
    inspector = inspect(database.engine)
    for table in schema.metadata.tables:
        found = {check["name"] for check in inspector.get_check_constraints(table)}
        assert found == {f"ck_{table}_{name}" for name in CHECKS.get(table, {})}, table


@pytest.mark.parametrize(
    ("state", "changes", "constraint"),
    [
        (RunState.PENDING, {"learning_rate": 0.0}, "rate"),
        (RunState.PENDING, {"learning_rate": math.inf}, "rate"),
        (RunState.PENDING, {"seed": -1}, "counts"),
        (RunState.PENDING, {"attempt": -1}, "counts"),
        (RunState.PENDING, {"batch": 0}, "counts"),
        (RunState.PENDING, {"batch": None}, "batch"),
        (RunState.PENDING, {"fence": 1}, "waiting"),
        (RunState.PENDING, {"ended_at": NOW}, "end"),
        (RunState.PENDING, {"loss": 2.0}, "loss"),
        (RunState.PRUNED, {"started_at": NOW}, "waiting"),
        (RunState.RUNNING, {"fence": None}, "holder"),
        (RunState.RUNNING, {"started_at": None}, "start"),
        (RunState.RUNNING, {"attempt": 0}, "start"),
        (RunState.COMPLETED, {"loss": None}, "loss"),
        (RunState.COMPLETED, {"loss": math.inf}, "losses"),
        (RunState.COMPLETED, {"trunk_loss": -math.inf}, "losses"),
        (RunState.COMPLETED, {"ended_at": None}, "end"),
        (RunState.COMPLETED, {"flops": -1.0}, "amounts"),
        (RunState.COMPLETED, {"flops": math.inf}, "amounts"),
        (RunState.COMPLETED, {"seconds": -1.0}, "amounts"),
        (RunState.COMPLETED, {"diverged_tokens": 5}, "divergence"),
        (RunState.DIVERGED, {"diverged_tokens": -5}, "amounts"),
        (RunState.DIVERGED, {"loss": 2.0}, "loss"),
        (RunState.FAILED, {"ended_at": None}, "end"),
        (RunState.CANCELLED, {"ended_at": None}, "end"),
    ],
)
def test_a_row_that_no_run_can_have_is_refused(
    bench: Any, database: Database, state: RunState, changes: dict[str, Any], constraint: str
) -> None:
    run_id = runs_in_every_state(bench)[state]
    before = bench.store.runs.get(run_id)
    wrong = update(schema.runs).where(schema.runs.c.id == run_id).values(changes)
    with pytest.raises(IntegrityError, match=f"ck_runs_{constraint}"), database.write() as connection:
        connection.execute(wrong)
    assert bench.store.runs.get(run_id) == before


def test_each_state_of_a_run_is_possible(bench: Any) -> None:
    assert set(runs_in_every_state(bench)) == set(RunState)


@pytest.mark.parametrize("table", ["runs", "sweeps"])
def test_a_state_that_does_not_exist_is_refused(bench: Any, database: Database, table: str) -> None:
    runs_in_every_state(bench)
    with pytest.raises(IntegrityError, match=f"ck_{table}_"), database.write() as connection:
        connection.exec_driver_sql(f"UPDATE {table} SET state = 'asleep'")


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE sweeps SET batches = -1", "ck_sweeps_counts"),
        ("UPDATE sweeps SET law_number = 0", "ck_sweeps_counts"),
        ("UPDATE sweeps SET full_grid_flops = -1", "ck_sweeps_full_grid_flops"),
        ("UPDATE cells SET tokens = 0", "ck_cells_size"),
        ("UPDATE cells SET params_reported = -1", "ck_cells_params"),
        ("UPDATE cells SET decay_fraction = 2", "ck_cells_decay_fraction"),
        ("UPDATE trunks SET learning_rate = -1", "ck_trunks_rate"),
        ("UPDATE trunks SET seed = -1", "ck_trunks_seed"),
        ("UPDATE losses SET tokens = -1", "ck_losses_amounts"),
        ("UPDATE leases SET fence = -1", "ck_leases_fence"),
        ("UPDATE tokens SET sha256 = 'short'", "ck_tokens_sha256"),
    ],
)
def test_an_impossible_amount_is_refused(
    bench: Any, database: Database, statement: str, constraint: str
) -> None:
    run_id = runs_in_every_state(bench)[RunState.RUNNING]
    bench.store.losses.append([LossPoint(curve=run_id, step=0, tokens=0, loss=3.0)])
    bench.store.tokens.create("somebody", {"read"})
    with pytest.raises(IntegrityError, match=constraint), database.write() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize("state", sorted(RunState))
def test_a_cell_rate_and_seed_have_one_run_in_whatever_state(
    bench: Any, database: Database, state: RunState
) -> None:
    """Stronger than one open run: a run is tried again in its own row."""
    run_id = runs_in_every_state(bench)[state]
    row = select(schema.runs).where(schema.runs.c.id == run_id)
    with database.read() as connection:
        again = dict(connection.execute(row).mappings().one()) | {"id": new_id()}
    with (
        pytest.raises(IntegrityError, match="uq_runs_|UNIQUE constraint"),
        database.write() as connection,
    ):
        connection.execute(insert(schema.runs), again)


def test_there_is_one_leader(bench: Any, database: Database) -> None:
    rival = {"name": LEADER, "holder": "rival", "fence": bench.fence + 1, "expires_at": NOW}
    with (
        pytest.raises(IntegrityError, match="pk_leases|UNIQUE constraint"),
        database.write() as connection,
    ):
        connection.execute(insert(schema.leases), rival)


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("loss", math.nan),
        ("loss", math.inf),
        ("trunk_loss", -math.inf),
        ("flops", math.inf),
        ("seconds", math.nan),
    ],
)
def test_a_result_that_is_not_a_number_is_refused_before_it_is_written(
    bench: Any, field: str, number: float
) -> None:
    run_id = runs_in_every_state(bench)[RunState.RUNNING]
    before = bench.store.runs.get(run_id)
    values: dict[str, Any] = {"loss": 2.0, field: number}
    with pytest.raises(ValueError, match=f"{run_id}.*{field}"):
        bench.store.runs.finish(
            [RunResult(run_id=run_id, state=RunState.COMPLETED, **values)],
            fence=bench.drive(before.sweep_id),
        )
    assert bench.store.runs.get(run_id) == before


def test_rates_that_are_ruled_out_alone_are_told(bench: Any) -> None:
    """An event stands in the transaction of every change of states."""
    sweep = bench.sweep()
    last = bench.store.events.last_id()
    bench.ask(sweep.id, pruned=[(0, 1e-3), (1, 1e-3)])
    (event,) = bench.store.events.after(last)
    assert (event.kind, event.data) == ("progress", {"pruned": 2})
    bench.ask(sweep.id, pruned=[(0, 1e-3), (1, 1e-3)])  # nothing new
    assert bench.store.events.last_id() == event.id


@pytest.mark.parametrize("to", [SweepState.STOPPING, SweepState.CANCELLED])
def test_runs_that_a_move_cancels_are_told(bench: Any, to: SweepState) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (1, 1e-3))
    last = bench.store.events.last_id()
    bench.store.sweeps.move(sweep.id, to)
    moved, progress = bench.store.events.after(last)
    assert moved.data["state"] == to
    assert progress.data == {"cancelled": 2, "reason": f"the sweep is {to}"}
    assert all(run.state in RUN_FINAL for run in bench.store.runs.of_sweep(sweep.id))
