"""What users change of a sweep after its submission: its specification, and runs that they retry, exclude or include."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, insert, select, update

from orchestrator.cells import Cell, Cells
from orchestrator.documents.events import EventPayload, RevisionEvent, RunChangeEvent, TrainerEvent
from orchestrator.errors import Conflict, NotFound, Stale
from orchestrator.planner.values import full_grid_flops
from orchestrator.spec import SweepSpec
from orchestrator.states import RUN_MEASURED, SWEEP_CHANGEABLE, RunState
from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.records import Run, Sweep, read_row, row_of
from orchestrator.store.sweeps import Sweeps, locked_sweep

_S, _R, _C = schema.sweeps.c, schema.runs.c, schema.cells.c

RETRIED: Final = frozenset({RunState.FAILED, RunState.CANCELLED, RunState.DIVERGED})
"""States of runs that may be retried; an excluded run may be in any that has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A new specification of a sweep.

    Attributes:
        spec: the whole one.
        cells: all cells, those of a comparison included; each known one with its number.
        changes: the merge patch that made it.
        runs_on: whether an ended sweep runs on.
        refits: whether the law must be fitted again, as for another target.
        program: the registration that further runs are carried out by; None for other trainers.
    """

    spec: SweepSpec
    cells: Cells
    changes: Mapping[str, Any]
    runs_on: bool
    refits: bool
    program: TrainerEvent | None = None


class Revisions:
    """Changes of sweeps and of their runs, each with its event."""

    def __init__(self, database: Database, sweeps: Sweeps) -> None:
        self._database, self._sweeps = database, sweeps

    def revise(self, sweep: Sweep, revision: Revision, *, actor: str | None = None) -> Sweep:
        """Write a new specification; cells that are new are added, and known ones get further rates.

        Args:
            sweep: as it was when the revision was made.
            revision: made from it.
            actor: name of the token, for the event.

        Returns:
            The sweep, which runs on if it had ended.

        Raises:
            NotFound: no such sweep.
            Conflict: it is cancelled or has failed.
            Stale: it has been revised since.
        """
        with self._database.write() as connection:
            now_there = locked_sweep(connection, sweep.id)
            check_changeable(now_there)
            if now_there.revision != sweep.revision:
                raise stale(now_there)
            self._write_cells(connection, sweep.id, revision.cells)
            number = sweep.revision + 1
            changed = {
                "name": revision.spec.name,
                "spec": revision.spec,
                "full_grid_flops": full_grid_flops(revision.cells, revision.spec.grid.seeds),
                "revision": number,
                "refits_asked": now_there.refits_asked + revision.refits,
            }
            event = RevisionEvent(revision=number, changes=dict(revision.changes), actor=actor)
            events: list[EventPayload] = [event]
            if revision.program is not None:
                events.append(revision.program)
            return self._changed(connection, sweep.id, changed, events, runs_on=revision.runs_on, actor=actor)

    def exclude(self, run_id: str, reason: str, *, actor: str | None = None) -> Run:
        """Leave a run with a result out of every later law.

        Raises:
            NotFound: no such run.
            Conflict: it has no result, or belongs to a comparison.
        """
        with self._database.write() as connection:
            run, sweep = self._locked(connection, run_id)
            if run.state not in RUN_MEASURED:
                raise Conflict(
                    f"Run {run_id} is {run.state}; only a run with a result, completed or diverged, can be excluded from the law."
                )
            if _role(connection, run) is not None:
                raise Conflict(
                    f"Run {run_id} belongs to a comparison at a held-out scale, which no law sees."
                )
            return self._marked(connection, sweep, run, reason, actor=actor)

    def include(self, run_id: str, *, actor: str | None = None) -> Run:
        """Take an excluded run back into the law.

        Raises:
            NotFound: no such run.
            Conflict: it is not excluded.
        """
        with self._database.write() as connection:
            run, sweep = self._locked(connection, run_id)
            if run.excluded is None:
                raise Conflict(f"Run {run_id} is not excluded.")
            return self._marked(connection, sweep, run, None, actor=actor)

    def retry(self, run_id: str, *, actor: str | None = None) -> Run:
        """Run a run again; its result and its exclusion are dropped, and an ended sweep runs on.

        Raises:
            NotFound: no such run.
            Conflict: its state, or that of its sweep, does not allow it.
        """
        with self._database.write() as connection:
            run, sweep = self._locked(connection, run_id)
            check_changeable(sweep)
            if _role(connection, run) is not None:
                raise Conflict(
                    f"Run {run_id} belongs to a comparison at a held-out scale, which asks for its runs itself."
                )
            if run.state not in RETRIED and not (
                run.state is RunState.COMPLETED and run.excluded is not None
            ):
                raise Conflict(
                    f"Run {run_id} is {run.state}; a run that failed, diverged or was cancelled can be retried, and a completed "
                    "one after it has been excluded."
                )
            changed = {
                "state": RunState.PENDING,
                "excluded": None,
                "retries": run.retries + 1,
                **dict.fromkeys(
                    ("loss", "trunk_loss", "diverged_tokens", "seconds", "fence", "started_at", "ended_at")
                ),
                "reason": "retried by a user",
            }
            row = _updated(connection, run, changed)
            event = RunChangeEvent(run_id=run.id, change="retry", actor=actor)
            refits = sweep.refits_asked + (run.state in RUN_MEASURED)
            self._changed(connection, sweep.id, {"refits_asked": refits}, [event], runs_on=True, actor=actor)
        return row

    def _marked(
        self, connection: Connection, sweep: Sweep, run: Run, reason: str | None, *, actor: str | None
    ) -> Run:
        if run.excluded == reason:
            return run
        row = _updated(connection, run, {"excluded": reason})
        change: Literal["include", "exclude"] = "include" if reason is None else "exclude"
        event = RunChangeEvent(run_id=run.id, change=change, reason=reason, actor=actor)
        refits = sweep.refits_asked + ((run.excluded is None) != (reason is None))
        self._changed(connection, sweep.id, {"refits_asked": refits}, [event], runs_on=False, actor=actor)
        return row

    def _changed(
        self,
        connection: Connection,
        sweep_id: str,
        changed: Mapping[str, Any],
        events: list[EventPayload],
        *,
        runs_on: bool,
        actor: str | None,
    ) -> Sweep:
        """Write columns of a locked sweep and the events, then let it run on."""
        now = clock(connection)
        connection.execute(update(schema.sweeps).where(_S.id == sweep_id).values(**changed, updated_at=now))
        self._database.add_events(connection, sweep_id, events, now)
        sweep = locked_sweep(connection, sweep_id)
        return self._sweeps.runs_on(connection, sweep, actor=actor) if runs_on else sweep

    def _write_cells(self, connection: Connection, sweep_id: str, cells: Cells) -> None:
        query = select(schema.cells).where(_C.sweep_id == sweep_id)
        known = {row["number"]: read_row(Cell, row) for row in connection.execute(query).mappings()}
        new = [row_of(cell) | {"sweep_id": sweep_id} for cell in cells if cell.number not in known]
        if new:
            connection.execute(insert(schema.cells), new)
        for cell in cells:
            if cell.number in known and known[cell.number].rates != cell.rates:
                this = (_C.sweep_id == sweep_id, _C.number == cell.number)
                connection.execute(update(schema.cells).where(*this).values(rates=cell.rates))

    def _locked(self, connection: Connection, run_id: str) -> tuple[Run, Sweep]:
        """The run and its sweep, both locked: the sweep first, as everywhere.

        Raises:
            NotFound: no such run.
        """
        query = select(schema.runs).where(_R.id == run_id)
        row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no run {run_id!r}.")
        sweep = locked_sweep(connection, row["sweep_id"])
        return read_row(Run, connection.execute(query.with_for_update()).mappings().one()), sweep


def check_changeable(sweep: Sweep) -> None:
    """Refuse a change of a sweep that is cancelled or has failed.

    Raises:
        Conflict: it is.
    """
    if sweep.state not in SWEEP_CHANGEABLE:
        raise Conflict(
            f"Sweep {sweep.id} is {sweep.state} and cannot be changed any more. POST /v1/sweeps/{sweep.id}/clone makes a new one."
        )


def stale(sweep: Sweep) -> Stale:
    """The error of a request about an earlier revision."""
    return Stale(
        f"Sweep {sweep.id} is at revision {sweep.revision} now. Read it again, and send the change with If-Match: "
        f'"{sweep.revision}".'
    )


def _updated(connection: Connection, run: Run, changed: Mapping[str, Any]) -> Run:
    statement = update(schema.runs).where(_R.id == run.id).values(changed).returning(schema.runs)
    return read_row(Run, connection.execute(statement).mappings().one())


def _role(connection: Connection, run: Run) -> str | None:
    query = select(_C.role).where(_C.sweep_id == run.sweep_id, _C.number == run.cell)
    role: str | None = connection.execute(query).scalar_one()
    return role
