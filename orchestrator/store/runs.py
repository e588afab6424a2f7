"""Runs: requested in batches, claimed by a driver, finished once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, select, update

from orchestrator.documents.comparisons import ComparisonPlan
from orchestrator.documents.events import BatchEvent, ComparisonEvent, ProgressEvent, RunEvent, TrainerEvent
from orchestrator.errors import Conflict, NotFound
from orchestrator.states import RUN_OPEN, RUN_TRANSITIONS, ComparisonStage, RunState, SweepState
from orchestrator.store import schema
from orchestrator.store.comparisons import insert_comparison
from orchestrator.store.database import Database, clock
from orchestrator.store.identity import ID_PATTERN, new_id
from orchestrator.store.leases import LEADER, check_fence, driver_lease
from orchestrator.store.paging import page
from orchestrator.store.records import NewRun, Run, RunResult, read_row
from orchestrator.store.sweeps import check_changed, locked_sweep
from orchestrator.store.trunk_rows import make_trunks, trunk_key

_S, _R, _C, _E = schema.sweeps.c, schema.runs.c, schema.cells.c, schema.events.c

_JOBS = func.count(func.coalesce(_R.trunk_id, _R.id).distinct())
"""Jobs of a registered program: the runs of one trunk are one."""

LEAST_DIGITS: Final = 6
"""Digits of the beginning of an id by which a run is found."""

_BEGINNING: Final = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},32}}")

SPEED_SWEEPS = 20
"""Newest sweeps of a kind of trainer from whose runs its speed is measured."""

CLAIMABLE: Final = frozenset({SweepState.RUNNING, SweepState.STOPPING})
"""States of sweeps whose pending runs a driver may take. Stopping has cancelled the runs that never began."""


class Runs:
    """Runs in the order of creation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_batch(
        self,
        sweep_id: str,
        runs: Sequence[NewRun],
        *,
        fence: int,
        pruned: Sequence[NewRun] = (),
        ended: int = 0,
        comparison: ComparisonPlan | None = None,
    ) -> int:
        """Request runs, and record the rates that a law ruled out.

        A requested run that exists as pruned or cancelled becomes pending again; in any other state it stays as it is. A pruned rate
        that exists in any state stays as it is.

        Args:
            sweep_id: a running sweep.
            runs: the batch; without runs, only ``pruned`` is written and no batch is counted.
            fence: of the leader's lease.
            pruned: rates that the newest law drops, each with its reason.
            ended: number of runs that had ended when the batch was planned; part of its event.
            comparison: plan of the comparison that these runs belong to.

        Returns:
            Number of the batch, from 1.

        Raises:
            NotFound: no such sweep.
            Conflict: another orchestrator holds the lease, or the sweep is not running.
        """
        with self._database.write() as connection:
            check_fence(connection, LEADER, fence)
            sweep = locked_sweep(connection, sweep_id)
            if sweep.state is not SweepState.RUNNING:
                raise Conflict(
                    f"Sweep {sweep_id} is {sweep.state}; only a running sweep takes a batch of runs."
                )
            number = sweep.batches + bool(runs)
            now = clock(connection)
            trunks = make_trunks(self._database, connection, sweep_id, [*runs, *pruned])
            dropped = self._insert_pruned(connection, _new_rows(sweep_id, pruned, trunks, None, now))
            self._insert_pending(connection, _new_rows(sweep_id, runs, trunks, number, now))
            values = {"batches": number, "updated_at": now}
            running = (_S.id == sweep_id, _S.state == SweepState.RUNNING, _S.batches == sweep.batches)
            check_changed(connection.execute(update(schema.sweeps).where(*running).values(values)), sweep_id)
            if comparison is not None:
                insert_comparison(self._database, connection, sweep_id, comparison, now)
            if runs:
                batch = BatchEvent(batch=number, runs=len(runs), pruned=len(pruned), ended=ended)
                self._database.add_events(connection, sweep_id, [batch], now)
            elif dropped:
                self._database.add_events(connection, sweep_id, [ProgressEvent(pruned=dropped)], now)
            if comparison is not None:
                begun = ComparisonEvent(stage=ComparisonStage.RUNNING, search=comparison.search)
                self._database.add_events(connection, sweep_id, [begun], now)
        return number

    def claim(self, sweep_id: str, *, fence: int, run_ids: Sequence[str] | None = None) -> list[Run]:
        """Take pending runs for a driver: they become running, with one attempt more.

        Args:
            sweep_id: a running sweep, or a stopping one, whose pending runs were running when it began to stop and have
                lost their machine since. In any other state nothing is claimed.
            fence: of the lease ``driver:<sweep_id>``.
            run_ids: which runs; None takes all. Runs that are no longer pending are absent from the result.

        Raises:
            Conflict: another driver holds the lease.
        """
        wanted = [_R.sweep_id == sweep_id, _R.state == RunState.PENDING]
        if run_ids is not None:
            wanted.append(_R.id.in_(run_ids))
        with self._database.write() as connection:
            check_fence(connection, driver_lease(sweep_id), fence)
            if _sweep_state(connection, sweep_id) not in CLAIMABLE:
                return []
            changed = {
                "state": RunState.RUNNING,
                "attempt": _R.attempt + 1,
                "fence": fence,
                "started_at": clock(connection),
                "ended_at": None,
            }
            claimed = update(schema.runs).where(*wanted).values(changed).returning(schema.runs)
            rows = connection.execute(claimed).mappings().all()
            if rows:
                event = ProgressEvent(claimed=len(rows))
                self._database.add_events(connection, sweep_id, [event], clock(connection))
        return sorted((read_row(Run, row) for row in rows), key=lambda run: run.id)

    def pending(self, sweep_id: str) -> list[Run]:
        """The pending runs, in the order of creation."""
        query = select(schema.runs).where(_R.sweep_id == sweep_id, _R.state == RunState.PENDING)
        return self._list(query.order_by(_R.id))

    def of_sweep(self, sweep_id: str) -> list[Run]:
        """Every run of a sweep, in the order of creation."""
        return self._list(select(schema.runs).where(_R.sweep_id == sweep_id).order_by(_R.id))

    def of_comparison(self, sweep_id: str) -> list[Run]:
        """The runs of a sweep's comparison at a held-out scale, in the order of creation."""
        cells = select(_C.number).where(_C.sweep_id == sweep_id, _C.role.is_not(None))
        query = select(schema.runs).where(_R.sweep_id == sweep_id, _R.cell.in_(cells))
        return self._list(query.order_by(_R.id))

    def page(
        self,
        sweep_id: str,
        *,
        state: RunState | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[list[Run], str | None, int]:
        """One page in the order of creation: the runs, the next cursor (None at the end), and how many there are.

        Raises:
            BadInput: the cursor is malformed or the limit out of range.
        """
        query = select(schema.runs).where(_R.sweep_id == sweep_id)
        if state is not None:
            query = query.where(_R.state == state)
        with self._database.read() as connection:
            return page(connection, query, Run, limit=limit, cursor=cursor, newest_first=False)

    def get(self, run_id: str) -> Run:
        """The run.

        Raises:
            NotFound: no such run.
        """
        found = self._list(select(schema.runs).where(_R.id == run_id))
        if not found:
            raise NotFound(f"There is no run {run_id!r}.")
        return found[0]

    def find(self, id_or_beginning: str) -> Run:
        """The run of this id, or the only one whose id begins with it.

        Args:
            id_or_beginning: ``LEAST_DIGITS`` hexadecimal digits or more.

        Raises:
            NotFound: no such run.
            Conflict: several begin with it.
        """
        if ID_PATTERN.fullmatch(id_or_beginning):
            return self.get(id_or_beginning)
        if not _BEGINNING.fullmatch(id_or_beginning):
            raise NotFound(
                f"There is no run {id_or_beginning!r}: an id has 32 characters, 0 to 9 and a to f, of which the first "
                f"{LEAST_DIGITS} or more are enough if no other run begins with them."
            )
        within = (_R.id >= id_or_beginning) & (_R.id < f"{id_or_beginning}g")
        found = self._list(select(schema.runs).where(within).order_by(_R.id).limit(2))
        if not found:
            raise NotFound(f"There is no run whose id begins with {id_or_beginning!r}.")
        if len(found) > 1:
            pairs = zip(*(run.id for run in found), strict=True)
            alike = next(at for at, (one, other) in enumerate(pairs) if one != other)
            raise Conflict(
                f"Several runs have an id that begins with {id_or_beginning!r}, two of them alike for {alike} digits; give more."
            )
        return found[0]

    def finish(self, results: Sequence[RunResult], *, fence: int) -> int:
        """Write the ends of runs; runs that this driver no longer holds stay as they are.

        Args:
            results: at most one for each run.
            fence: the fence the runs were claimed with.

        Returns:
            Number of runs that changed. A repeated result changes none, nor does a result of a run that was cancelled or
            that another driver has claimed since.

        Raises:
            ValueError: a result's state is not an end, or does not agree with its loss.
        """
        for result in results:
            _check_result(result)
        with self._database.write() as connection:
            now = clock(connection)
            ordered = sorted(results, key=lambda result: result.run_id)
            ended = [run for result in ordered if (run := _finish(connection, result, fence, now))]
            by_sweep: dict[str, list[RunEvent]] = {}
            for run in ended:
                by_sweep.setdefault(run["sweep_id"], []).append(_event(run))
            for sweep_id, events in by_sweep.items():
                self._database.add_events(connection, sweep_id, events, now)
        return len(ended)

    def release(
        self,
        sweep_id: str,
        *,
        fence: int | None,
        reason: str,
        run_ids: Sequence[str] | None = None,
    ) -> int:
        """Return running runs to pending, because their machine was lost or taken away; this does not count as a failure.

        Args:
            sweep_id: the sweep.
            fence: only runs claimed with this fence or an older one; None for all.
            reason: sentence for the user.
            run_ids: only these runs; None for all.

        Returns:
            Number of runs that are pending again.
        """
        wanted = [_R.sweep_id == sweep_id, _R.state == RunState.RUNNING]
        if fence is not None:
            wanted.append(_R.fence <= fence)
        if run_ids is not None:
            wanted.append(_R.id.in_(run_ids))
        changed = {"state": RunState.PENDING, "fence": None, "started_at": None, "reason": reason}
        with self._database.write() as connection:
            released = update(schema.runs).where(*wanted).values(changed).returning(schema.runs)
            rows = connection.execute(released).mappings().all()
            events = [_event(row) for row in rows]
            self._database.add_events(connection, sweep_id, events, clock(connection))
        return len(rows)

    def drop(self, sweep_id: str, *, fence: int, reason: str, live: bool = False) -> int:
        """Cancel the pending runs because the budget is spent; with ``live``, the running ones too.

        Returns:
            Number of cancelled runs.

        Raises:
            Conflict: another orchestrator holds the lease.
        """
        states = RUN_OPEN if live else {RunState.PENDING}
        wanted = (_R.sweep_id == sweep_id, _R.state.in_(states))
        with self._database.write() as connection:
            check_fence(connection, LEADER, fence)
            now = clock(connection)
            changed = {"state": RunState.CANCELLED, "reason": reason, "ended_at": now, "fence": None}
            dropped = connection.execute(update(schema.runs).where(*wanted).values(changed)).rowcount
            if dropped:
                event = ProgressEvent(cancelled=dropped, reason=reason)
                self._database.add_events(connection, sweep_id, [event], now)
        return dropped

    def failed_since_begun(self, sweep_id: str) -> int:
        """Number of jobs that failed since the sweep's program was registered as it is, or the sweep was resumed.

        The runs of one trunk are one job: they fail together.
        """
        begun = select(func.max(_E.at)).where(_E.sweep_id == sweep_id, _E.kind == TrainerEvent.KIND)
        query = select(_JOBS).where(
            _R.sweep_id == sweep_id, _R.state == RunState.FAILED, _R.ended_at > begun.scalar_subquery()
        )
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def running_jobs(self, sweep_id: str) -> int:
        """Number of jobs whose runs are running, counted as in ``failed_since_begun``."""
        return self._jobs(sweep_id, RunState.RUNNING)

    def pending_jobs(self, sweep_id: str) -> int:
        """Most jobs that the pending runs can be, counted likewise: the horizons of a trunk are never divided."""
        return self._jobs(sweep_id, RunState.PENDING)

    def _jobs(self, sweep_id: str, state: RunState) -> int:
        query = select(_JOBS).where(_R.sweep_id == sweep_id, _R.state == state)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def flops_per_second(self, trainer: str) -> float | None:
        """Measured speed of one worker over recent runs of this kind of trainer.

        Returns:
            FLOPs per second; None if no such run has both measured.
        """
        recent = select(_S.id).where(_S.trainer == trainer).order_by(_S.id.desc()).limit(SPEED_SWEEPS)
        query = select(func.sum(_R.flops), func.sum(_R.seconds)).where(
            _R.sweep_id.in_(recent), _R.state == RunState.COMPLETED, _R.seconds > 0, _R.flops > 0
        )
        with self._database.read() as connection:
            flops, seconds = connection.execute(query).one()
        return flops / seconds if seconds else None

    def _list(self, query: Any) -> list[Run]:
        with self._database.read() as connection:
            return [read_row(Run, row) for row in connection.execute(query).mappings()]

    def _insert_pruned(self, connection: Connection, rows: list[dict[str, Any]]) -> int:
        """Record rates that are ruled out; the number of those that are new."""
        if not rows:
            return 0
        fresh = [row | {"state": RunState.PRUNED} for row in rows]
        counted = connection.execution_options(preserve_rowcount=True)
        return counted.execute(self._database.insert(schema.runs).on_conflict_do_nothing(), fresh).rowcount

    def _insert_pending(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        statement = self._database.insert(schema.runs)
        renewed = ("state", "trunk_id", "batch", "reason", "started_at", "ended_at", "seconds")
        taken_up = {name: statement.excluded[name] for name in renewed}
        statement = statement.on_conflict_do_update(
            index_elements=["sweep_id", "cell", "learning_rate", "seed", "module_rates"],
            set_=taken_up,
            where=(_R.state == RunState.PRUNED) | (_R.state == RunState.CANCELLED),
        )
        connection.execute(statement, [row | {"state": RunState.PENDING} for row in rows])


def _sweep_state(connection: Connection, sweep_id: str) -> SweepState:
    query = select(_S.state).where(_S.id == sweep_id).with_for_update(read=True)
    state: SweepState = connection.execute(query).scalar_one()
    return state


def _new_rows(
    sweep_id: str,
    runs: Sequence[NewRun],
    trunks: Mapping[tuple[str, float, int], str],
    batch: int | None,
    now: datetime,
) -> list[dict[str, Any]]:
    return [
        {
            "id": new_id(),
            "sweep_id": sweep_id,
            "cell": run.cell,
            "learning_rate": run.learning_rate,
            "seed": run.seed,
            "module_rates": run.module_rates,
            "trunk_id": None if run.trunk is None else trunks[trunk_key(run)],
            "batch": batch,
            "attempt": 0,
            "flops": 0.0,
            "reason": run.reason,
            **dict.fromkeys(("started_at", "ended_at", "seconds")),
            "created_at": now,
        }
        for run in runs
    ]


def _check_result(result: RunResult) -> None:
    ends = RUN_TRANSITIONS[RunState.RUNNING] - {RunState.PENDING, RunState.CANCELLED}
    if result.state not in ends:
        raise ValueError(
            f"run {result.run_id} cannot end as {result.state}; only as {', '.join(sorted(ends))}"
        )
    if (result.state is RunState.COMPLETED) != (result.loss is not None):
        raise ValueError(
            f"run {result.run_id} is {result.state} with loss {result.loss}: completed needs one"
        )
    for name in ("loss", "trunk_loss", "flops", "seconds"):
        value = getattr(result, name)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"run {result.run_id} has {name} {value}: only finite numbers are stored")


def _finish(connection: Connection, result: RunResult, fence: int, now: datetime) -> RowMapping | None:
    changed: dict[str, Any] = {
        "state": result.state,
        "loss": result.loss,
        "trunk_loss": result.trunk_loss,
        "diverged_tokens": result.diverged_tokens,
        "flops": _R.flops + result.flops,
        "seconds": result.seconds,
        "ended_at": now,
    }
    if result.reason is not None:
        changed["reason"] = result.reason
    mine = (_R.id == result.run_id, _R.state == RunState.RUNNING, _R.fence == fence)
    guarded = update(schema.runs).where(*mine).values(changed).returning(schema.runs)
    return connection.execute(guarded).mappings().one_or_none()


def _event(row: RowMapping) -> RunEvent:
    shown = {name: row[name] for name in ("cell", "learning_rate", "seed", "state", "loss")}
    return RunEvent(run_id=row["id"], **shown)
