"""Pause of a sweep, and its resumption, before which its program may have been registered anew."""

from __future__ import annotations

from orchestrator.cells import Cells
from orchestrator.documents.events import ScheduleDocument, TrainerEvent
from orchestrator.errors import BadInput, Conflict
from orchestrator.law.notices import Notice
from orchestrator.settings import Settings
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import Sweep
from orchestrator.submission.catalogue import (
    CheckedProgram,
    ServiceCatalogue,
    check_program,
    program_notices,
    program_of,
)


def pause(
    sweep: Sweep, store: Store, settings: Settings, *, actor: str | None = None
) -> tuple[Sweep, list[Notice]]:
    """Pause a sweep. Running proxies go on; registered programs are ended.

    Returns:
        The sweep, and what its user should know of the runs that are ended.

    Raises:
        Conflict: it cannot be paused in its state. Nothing is changed.
    """
    running = store.sweeps.progress(sweep.id).get(RunState.RUNNING, 0)
    paused = store.sweeps.move(sweep.id, SweepState.PAUSED, actor=actor)
    try:
        program = program_of(sweep.spec, ServiceCatalogue(store, settings)) if running else None
    except BadInput:
        return paused, []
    if program is None or program.registration.definition.resume is not None:
        return paused, []
    message = (
        f"The registration of {program.registration.name} declares no resume: its {running} running "
        f"{'run begins' if running == 1 else 'runs begin'} again from the first token when the sweep resumes."
    )
    return paused, [Notice(code="runs_begin_again", message=message)]


def resume(
    sweep: Sweep, store: Store, settings: Settings, *, actor: str | None = None
) -> tuple[Sweep, list[Notice]]:
    """Resume a paused sweep; a registered program goes on as it is registered now.

    Returns:
        The sweep, and what its user should know of the program.

    Raises:
        Conflict: it is not paused, or the program cannot carry out its other runs like the earlier ones; says what
            differs. Nothing is changed.
    """
    program = program_of_sweep(sweep, store, settings) if sweep.state is SweepState.PAUSED else None
    event = None if program is None else program.event
    resumed = store.sweeps.resume(sweep.id, actor=actor, program=event)
    return resumed, program_notices(sweep.spec, program)


def program_of_sweep(sweep: Sweep, store: Store, settings: Settings) -> CheckedProgram | None:
    """The program as it is registered now; None for other trainers.

    Raises:
        Conflict: it cannot carry out the sweep's other runs like the earlier ones; says what differs.
    """
    catalogue, cells = ServiceCatalogue(store, settings), store.sweeps.cells(sweep.id)
    try:
        program = program_of(sweep.spec, catalogue)
        if program is None:
            return None
        sweep.spec.training.cells(sweep.spec.grid, catalogue)
        check_program(sweep.spec, cells, program)
    except BadInput as error:
        raise Conflict(
            f"Sweep {sweep.id} cannot go on with the trainer as it is registered now. {error.detail}",
            fields=error.fields,
        ) from error
    differs = _decay_differs(cells, program) or _schedule_differs(
        store.events.latest(sweep.id, TrainerEvent), program
    )
    if differs is not None:
        raise Conflict(
            f"Sweep {sweep.id} cannot go on with the trainer {program.registration.name} as it is registered now: {differs}. "
            "Put the former registration back, or submit a new sweep."
        )
    return program


def _decay_differs(cells: Cells, program: CheckedProgram) -> str | None:
    """What a trunk that the cells share is to the program. Cells without one are trained alike with and without forks."""
    planned = {cell.decay_fraction for cell in cells if cell.trunk is not None} - {program.shared_decay}
    if not planned:
        return None
    now = "no trunk now" if program.shared_decay is None else f"a decay of {program.shared_decay:g} now"
    return f"its horizons share trunks with a decay of {planned.pop():g} of the tokens, and {now}"


def _schedule_differs(planned: TrainerEvent | None, program: CheckedProgram) -> str | None:
    now = program.event
    if planned is None or planned.digest == now.digest or planned.schedule == now.schedule:
        return None
    return f"its schedule was {_in_words(planned.schedule)} and is {_in_words(now.schedule)}"


def _in_words(schedule: ScheduleDocument | None) -> str:
    if schedule is None:
        return "not declared"
    fields = schedule.model_dump()
    return "{" + ", ".join(f"{name}: {value:g}" for name, value in fields.items()) + "}"
