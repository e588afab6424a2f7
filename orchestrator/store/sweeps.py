"""Sweeps and their cells: created, moved from state to state, summed up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Select, case, func, insert, select, update

from orchestrator.cells import CLOSE, Cell, Cells
from orchestrator.documents.events import (
    EventPayload,
    ProgressEvent,
    SweepEvent,
    TrainerEvent,
    payload_of,
)
from orchestrator.errors import Conflict, NotFound
from orchestrator.planner.values import full_grid_flops
from orchestrator.spec import SweepSpec
from orchestrator.states import (
    RUN_MEASURED,
    RUN_OPEN,
    SWEEP_LIVE,
    SWEEP_RUNS_ON,
    RunState,
    SweepState,
    check_sweep_move,
)
from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.identity import new_id
from orchestrator.store.leases import LEADER, check_fence
from orchestrator.store.paging import page
from orchestrator.store.records import Sweep, Tally, read_row, row_of

_S, _R, _C, _E = schema.sweeps.c, schema.runs.c, schema.cells.c, schema.events.c

STANDING = frozenset({SweepState.PAUSED, SweepState.STOPPED, SweepState.COMPLETED, SweepState.QUEUED})
"""States in which the seconds of a budget do not pass."""

MOST_NAMED = 10
"""Most sweeps of one name that a message lists."""

_OF_CELL = (_C.sweep_id == _R.sweep_id) & (_C.number == _R.cell)


class _Sum(NamedTuple):
    """Sums over the runs of one state, either of the search or of the comparison."""

    state: RunState
    compared: bool
    runs: int
    jobs: int
    flops: float
    seconds: float | None


class Sweeps:
    """Sweeps by id, newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        spec: SweepSpec,
        *,
        cells: Collection[Cell],
        idempotency_key: str | None = None,
        submitted_by: str | None = None,
        program: TrainerEvent | None = None,
    ) -> tuple[Sweep, bool]:
        """Create a queued sweep with its cells.

        Args:
            spec: its specification.
            cells: with unique numbers.
            idempotency_key: the client's name for this request; each submitter has separate keys.
            submitted_by: name of the token that submits; None without tokens.
            program: the registration that its runs are planned for; None for other trainers.

        Returns:
            The sweep, and whether it is new: the same key and specification return the earlier sweep.

        Raises:
            Conflict: the key was used with another specification.
        """
        key = None if idempotency_key is None else _key(submitted_by, idempotency_key)
        with self._database.write() as connection:
            now = clock(connection)
            sweep = Sweep(
                id=new_id(),
                name=spec.name,
                state=SweepState.QUEUED,
                spec=spec,
                reason=None,
                batches=0,
                law_number=None,
                full_grid_flops=full_grid_flops(cells, spec.grid.seeds),
                submitted_by=submitted_by,
                created_at=now,
                updated_at=now,
            )
            measured_as = None if spec.trainer is None else spec.trainer.measured_as
            row = row_of(sweep) | {"trainer": measured_as, "idempotency_key": key}
            written = self._database.insert(schema.sweeps).values(row).on_conflict_do_nothing()
            if connection.execute(written.returning(_S.id)).one_or_none() is None:
                repeated = _repeated(connection, str(key), str(idempotency_key), spec)
                if repeated is None:
                    raise AssertionError(f"nothing was written, and no sweep has the key {key!r}")
                return repeated, False
            if cells:
                rows = [row_of(cell) | {"sweep_id": sweep.id} for cell in cells]
                connection.execute(insert(schema.cells), rows)
            event = SweepEvent(state=SweepState.QUEUED, reason=None, actor=submitted_by)
            events = [event] if program is None else [event, program]
            self._database.add_events(connection, sweep.id, events, now)
        return sweep, True

    def repeated(
        self, spec: SweepSpec, *, idempotency_key: str, submitted_by: str | None = None
    ) -> Sweep | None:
        """The sweep that an earlier request of this key has created; None if there was none.

        Raises:
            Conflict: the key was used with another specification.
        """
        with self._database.read() as connection:
            return _repeated(connection, _key(submitted_by, idempotency_key), idempotency_key, spec)

    def get(self, sweep_id: str) -> Sweep:
        """The sweep.

        Raises:
            NotFound: no such sweep.
        """
        with self._database.read() as connection:
            return _one(connection, sweep_id, select(schema.sweeps))

    def find(self, id_or_name: str) -> Sweep:
        """The sweep of this id, or else the only one of this name.

        Raises:
            NotFound: no such sweep.
            Conflict: several sweeps have the name; the message lists the newest.
        """
        if "\0" in id_or_name:  # PostgreSQL stores none
            raise _unknown(id_or_name)
        by_id = _S.id == id_or_name
        query = select(schema.sweeps).where(by_id | (_S.name == id_or_name))
        newest = query.order_by(case((by_id, 0), else_=1), _S.id.desc()).limit(MOST_NAMED + 1)
        with self._database.read() as connection:
            rows = connection.execute(newest).mappings().all()
        if not rows:
            raise _unknown(id_or_name)
        if len(rows) > 1 and rows[0]["id"] != id_or_name:
            listed = ", ".join(
                f"{row['id']} ({row['state']}, created {row['created_at']:%Y-%m-%d %H:%M} UTC)"
                for row in rows[:MOST_NAMED]
            )
            more = ", …" if len(rows) > MOST_NAMED else ""
            raise Conflict(f"Several sweeps have the name {id_or_name!r}; use an id: {listed}{more}.")
        return read_row(Sweep, rows[0])

    def cells(self, sweep_id: str) -> Cells:
        """The sweep's cells by number; none for an unknown sweep or one that only fits."""
        query = select(schema.cells).where(schema.cells.c.sweep_id == sweep_id)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return Cells(read_row(Cell, row) for row in rows)

    def page(
        self,
        *,
        state: SweepState | None = None,
        name: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[Sweep], str | None, int]:
        """One page, newest first: the sweeps, the next cursor (None at the end), and how many there are.

        Raises:
            BadInput: the cursor is malformed or the limit out of range.
        """
        query = select(schema.sweeps)
        if state is not None:
            query = query.where(_S.state == state)
        if name is not None:
            query = query.where(_S.name == name)
        with self._database.read() as connection:
            return page(connection, query, Sweep, limit=limit, cursor=cursor, newest_first=True)

    def live(self) -> list[Sweep]:
        """The live sweeps, oldest first."""
        query = select(schema.sweeps).where(_S.state.in_(SWEEP_LIVE)).order_by(_S.id)
        with self._database.read() as connection:
            return [read_row(Sweep, row) for row in connection.execute(query).mappings()]

    def to_refit(self) -> list[Sweep]:
        """Sweeps that have ended and whose law has not followed a change, such as the exclusion of a run."""
        ended = _S.state.not_in(SWEEP_LIVE)
        query = select(schema.sweeps).where(ended, _S.refits_done < _S.refits_asked).order_by(_S.id)
        with self._database.read() as connection:
            return [read_row(Sweep, row) for row in connection.execute(query).mappings()]

    def move(
        self,
        sweep_id: str,
        to: SweepState,
        *,
        actor: str | None = None,
        reason: str | None = None,
        fence: int | None = None,
        lease: str = LEADER,
    ) -> Sweep:
        """Move a sweep to another state and cancel the runs that it no longer needs.

        Stopping cancels the pending runs and lets the running ones end; a final state cancels every open run.

        Args:
            sweep_id: the sweep.
            to: the new state.
            actor: name of the token or process, for the event.
            reason: sentence for the user.
            fence: fence of ``lease`` if the leader or a driver moves it; None for a user.
            lease: name of the lease.

        Raises:
            NotFound: no such sweep.
            Conflict: its state does not allow the move (nor a move to the same state), or another process holds the
                lease.
        """
        with self._database.write() as connection:
            if fence is not None:
                check_fence(connection, lease, fence)
            return self._moved(connection, locked_sweep(connection, sweep_id), to, actor=actor, reason=reason)

    def stop(self, sweep_id: str, *, actor: str | None = None) -> Sweep:
        """Stop a sweep for a user: at once if it has not begun, else after its running runs.

        Raises:
            NotFound: no such sweep.
            Conflict: it is stopping already, or final.
        """
        with self._database.write() as connection:
            sweep = locked_sweep(connection, sweep_id)
            to = SweepState.STOPPED if sweep.state is SweepState.QUEUED else SweepState.STOPPING
            return self._moved(connection, sweep, to, actor=actor)

    def resume(
        self, sweep_id: str, *, actor: str | None = None, program: TrainerEvent | None = None
    ) -> Sweep:
        """Resume a paused sweep.

        Args:
            sweep_id: the sweep.
            actor: name of the token.
            program: the registration as it is now, which its further runs are carried out by; None for other trainers.

        Raises:
            NotFound: no such sweep.
            Conflict: it is not paused.
        """
        with self._database.write() as connection:
            sweep = locked_sweep(connection, sweep_id)
            if sweep.state is not SweepState.PAUSED:
                raise Conflict(f"Sweep {sweep_id} is {sweep.state}; only a paused sweep can be resumed.")
            to = SweepState.RUNNING if sweep.batches else SweepState.QUEUED
            if program is not None:
                self._database.add_events(connection, sweep.id, [program], clock(connection))
            return self._moved(connection, sweep, to, actor=actor)

    def measure_params(self, run_id: str, params: float, *, fence: int, lease: str) -> str | None:
        """Take over the N that a registered program reports, for all cells of the same scale.

        Args:
            run_id: of the run that reported it.
            params: without embeddings, near the declared one.
            fence: of ``lease``.
            lease: the driver's.

        Returns:
            None; or if an earlier run of the scale had reported another N, the reason why this one is refused.

        Raises:
            Conflict: another driver has the lease.
        """
        query = select(schema.cells).join(schema.runs, _OF_CELL).where(_R.id == run_id)
        with self._database.write() as connection:
            check_fence(connection, lease, fence)
            cell = connection.execute(query).mappings().one()
            known = cell["params_reported"]
            if known is None:
                alike = (_C.sweep_id == cell["sweep_id"], _C.params == cell["params"], _C.role.is_(None))
                values = {"params": params, "params_reported": params}
                connection.execute(update(schema.cells).where(*alike).values(values))
            elif abs(params / known - 1.0) > CLOSE:
                return (
                    f"It reported {params:.0f} parameters, and an earlier run of the same scale {known:.0f}: a scale is one "
                    "model."
                )
        return None

    def runs_on(self, connection: Connection, sweep: Sweep, *, actor: str | None) -> Sweep:
        """Let a sweep whose row is locked run on if it has ended or is stopping."""
        to = SWEEP_RUNS_ON.get(sweep.state)
        return sweep if to is None else self._moved(connection, sweep, to, actor=actor)

    def _moved(
        self,
        connection: Connection,
        sweep: Sweep,
        to: SweepState,
        *,
        actor: str | None,
        reason: str | None = None,
    ) -> Sweep:
        """Move a sweep whose row is locked, and write the event."""
        check_sweep_move(sweep.id, sweep.state, to)
        now = clock(connection)
        changed: dict[str, Any] = {"state": to, "reason": reason, "updated_at": now}
        unmoved = (_S.id == sweep.id, _S.state == sweep.state)
        check_changed(connection.execute(update(schema.sweeps).where(*unmoved).values(changed)), sweep.id)
        events: list[EventPayload] = [SweepEvent(state=to, reason=reason, actor=actor)]
        if dropped := _drop_runs(connection, sweep.id, to, now):
            events.append(ProgressEvent(cancelled=dropped, reason=f"the sweep is {to}"))
        self._database.add_events(connection, sweep.id, events, now)
        return replace(sweep, **changed)

    def progress(self, sweep_id: str) -> dict[RunState, int]:
        """Number of runs in each state, 0 included."""
        query = select(_R.state, func.count()).where(_R.sweep_id == sweep_id).group_by(_R.state)
        with self._database.read() as connection:
            counts = {state: int(count) for state, count in connection.execute(query)}
        return {state: counts.get(state, 0) for state in RunState}

    def tallies(self, sweep_ids: Sequence[str]) -> dict[str, Tally]:
        """Sums over the runs of each sweep, in two queries for all of them."""
        compared = _C.role.is_not(None)
        jobs = func.count(func.coalesce(_R.trunk_id, _R.id).distinct())
        amounts = (func.count(), jobs, func.sum(_R.flops), func.sum(_R.seconds))
        sums = select(_R.sweep_id, _R.state, compared, *amounts)
        asked = sums.join(schema.cells, _OF_CELL).where(_R.sweep_id.in_(sweep_ids))
        lattice = func.sum(func.json_array_length(_C.rates))
        with self._database.read() as connection:
            parts: dict[str, list[_Sum]] = {id_: [] for id_ in sweep_ids}
            for id_, state, *added in connection.execute(asked.group_by(_R.sweep_id, _R.state, compared)):
                parts[id_].append(_Sum(state, *added))
            found = select(_C.sweep_id, lattice).where(_C.sweep_id.in_(sweep_ids)).group_by(_C.sweep_id)
            rates = {id_: int(count) for id_, count in connection.execute(found)}
        return {id_: _tally(parts[id_], rates.get(id_, 0)) for id_ in sweep_ids}

    def results(self, sweep_id: str) -> int:
        """Number of runs that the law sees: of the search, completed or diverged, and not excluded."""
        query = (
            select(func.count())
            .select_from(schema.runs)
            .join(schema.cells, _OF_CELL)
            .where(
                _R.sweep_id == sweep_id, _C.role.is_(None), _R.state.in_(RUN_MEASURED), _R.excluded.is_(None)
            )
        )
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def spent_flops(self, sweep_id: str) -> float:
        """FLOPs of the sweep's ended runs; those of killed attempts are unknown."""
        query = select(func.sum(_R.flops)).where(_R.sweep_id == sweep_id)
        with self._database.read() as connection:
            return float(connection.execute(query).scalar_one() or 0.0)

    def span_seconds(self, sweep_id: str) -> float:
        """Wall seconds from the start of its first run to the end of its last, or to now while one runs.

        Without pauses, and without the time between its end and a revision by which it ran on.
        """
        query = select(
            func.min(_R.started_at),
            func.max(_R.ended_at),
            func.count(case((_R.state == RunState.RUNNING, 1))),
        ).where(_R.sweep_id == sweep_id, _R.started_at.is_not(None))
        with self._database.read() as connection:
            first, last, running = connection.execute(query).one()
            if first is None:
                return 0.0
            end = clock(connection) if running or last is None else last
            paused = _paused_seconds(connection, sweep_id, first, end)
        return max(0.0, float((end - first).total_seconds()) - paused)


def _tally(parts: Sequence[_Sum], rates: int) -> Tally:
    seconds = [part.seconds for part in parts if part.seconds is not None]
    return Tally(
        by_state={state: sum(part.runs for part in parts if part.state is state) for state in RunState},
        under_way=sum(part.jobs for part in parts if part.state is RunState.RUNNING),
        compared=sum(part.runs for part in parts if part.compared),
        spent_flops=float(sum(part.flops for part in parts if not part.compared)),
        compared_flops=float(sum(part.flops for part in parts if part.compared)),
        seconds=float(sum(seconds)) if seconds else None,
        rates=rates,
    )


def _paused_seconds(connection: Connection, sweep_id: str, first: datetime, end: datetime) -> float:
    """Seconds between ``first`` and ``end`` in which the sweep stood still, from the events of its states."""
    query = select(_E.at, _E.data).where(_E.sweep_id == sweep_id, _E.kind == SweepEvent.KIND).order_by(_E.id)
    moves = [
        (max(first, min(end, at)), event.state)
        for at, data in connection.execute(query)
        if isinstance(event := payload_of(SweepEvent.KIND, data), SweepEvent)
    ]
    after = [at for at, _ in moves[1:]] + [end]
    spans = zip(moves, after, strict=True)
    pauses = [upto - at for (at, state), upto in spans if state in STANDING]
    return float(sum(pause.total_seconds() for pause in pauses))


def check_changed(result: CursorResult[Any], sweep_id: str) -> None:
    """Refuse a guarded update of a sweep that found its row changed since it was read.

    Raises:
        Conflict: no row was updated; the transaction writes nothing.
    """
    if result.rowcount != 1:
        raise Conflict(f"Sweep {sweep_id} was changed at the same time; nothing was written. Try again.")


def _drop_runs(connection: Connection, sweep_id: str, to: SweepState, now: datetime) -> int:
    """Cancel the runs that a move to ``to`` cancels; how many."""
    states = _dropped_by(to)
    if not states:
        return 0
    changed = {
        "state": RunState.CANCELLED,
        "reason": f"the sweep is {to}",
        "ended_at": now,
        "fence": None,
    }
    open_ones = (_R.sweep_id == sweep_id, _R.state.in_(states))
    return connection.execute(update(schema.runs).where(*open_ones).values(changed)).rowcount


def _dropped_by(to: SweepState) -> frozenset[RunState]:
    if to not in SWEEP_LIVE:
        return RUN_OPEN
    return frozenset({RunState.PENDING}) if to is SweepState.STOPPING else frozenset()


def _key(submitted_by: str | None, idempotency_key: str) -> str:
    return f"{submitted_by or ''}/{idempotency_key}"


def _repeated(connection: Connection, key: str, shown: str, spec: SweepSpec) -> Sweep | None:
    row = connection.execute(select(schema.sweeps).where(_S.idempotency_key == key)).mappings().one_or_none()
    if row is None:
        return None
    earlier = read_row(Sweep, row)
    if earlier.spec != spec:
        raise Conflict(
            f"The idempotency key {shown!r} was already used for sweep {earlier.id} with another "
            "specification. Take a new key for a new sweep."
        )
    return earlier


def locked_sweep(connection: Connection, sweep_id: str) -> Sweep:
    """The sweep, locked until the transaction ends.

    The lock leaves the key free for references. Otherwise the event of a finishing run would wait for this transaction,
    which waits for the run.

    Raises:
        NotFound: no such sweep.
    """
    return _one(connection, sweep_id, select(schema.sweeps).with_for_update(key_share=True))


def _one(connection: Connection, sweep_id: str, sweeps: Select[Any]) -> Sweep:
    row = connection.execute(sweeps.where(_S.id == sweep_id)).mappings().one_or_none()
    if row is None:
        raise _unknown(sweep_id)
    return read_row(Sweep, row)


def _unknown(sweep_id: str) -> NotFound:
    return NotFound(f"There is no sweep {sweep_id!r}.")
