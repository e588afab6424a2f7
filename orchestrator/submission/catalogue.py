"""What specifications may name here: uploaded tables, and the registered programs with their checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.answers.trainers import for_readers, shares_trunks
from orchestrator.cells import Cells, Point
from orchestrator.documents.events import ScheduleDocument, TrainerEvent
from orchestrator.documents.trainers import CheckDocument
from orchestrator.errors import BadInput
from orchestrator.knowledge import recorded_runs
from orchestrator.law.notices import Notice
from orchestrator.programs.definition import RATE_NOT_GIVEN
from orchestrator.programs.registry import Registration, read_trainers
from orchestrator.programs.run_values import check_cells
from orchestrator.settings import Settings
from orchestrator.spec import RecordedRows, SweepSpec
from orchestrator.store import Store
from orchestrator.tables.recorded_rates import recorded_rates


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedProgram:
    """A registered program, and the result of its check.

    Attributes:
        registration: of the program.
        check: its newest; None if this registration was never checked.
    """

    registration: Registration
    check: CheckDocument | None

    @property
    def kind(self) -> str:
        """As ``orchestrator.spec.command.Program``."""
        return self.registration.definition.kind

    @property
    def takes_seeds(self) -> bool:
        """As ``orchestrator.spec.command.Program``."""
        return self.registration.definition.seeds

    @property
    def shared_decay(self) -> float | None:
        """As ``orchestrator.spec.command.Program``: None too where the check did not find a fork to equal a direct run."""
        definition = self.registration.definition
        if definition.fork is None or definition.schedule is None or not self.forks:
            return None
        return definition.schedule.decay_fraction

    @property
    def forks(self) -> bool:
        """As ``orchestrator.answers.trainers.shares_trunks``."""
        return shares_trunks(self.registration.definition, self.check)

    def checked(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """As ``orchestrator.spec.command.Program``."""
        return self.registration.checked(given)

    @property
    def event(self) -> TrainerEvent:
        """The event that says which registration carries out the runs."""
        return TrainerEvent(
            name=self.registration.name,
            digest=self.registration.digest,
            checked=self.check is not None and self.check.passed,
            schedule=self.schedule,
        )

    @property
    def schedule(self) -> ScheduleDocument | None:
        """The schedule that it declares."""
        declared = self.registration.definition.schedule
        return None if declared is None else ScheduleDocument.model_validate(declared, from_attributes=True)


class ServiceCatalogue:
    """The tables of a store and the programs of the settings, as ``orchestrator.spec.Catalogue``.

    It reads a registration once: whatever one catalogue gives is of the same one, though the files change meanwhile.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._programs: dict[str, CheckedProgram] = {}

    def rates(self, source: RecordedRows, field: str) -> Mapping[Point, Mapping[float, int]]:
        """As ``orchestrator.spec.Catalogue``."""
        return recorded_rates(recorded_runs(self._store, source, field))

    def program(self, name: str) -> CheckedProgram:
        """As ``orchestrator.spec.Catalogue``; a fault is told in short, as its words reach everyone who submits."""
        if name not in self._programs:
            registration = read_trainers(self._settings.trainers).get_for_readers(name)
            check = self._store.trainer_checks.get(registration.digest)
            self._programs[name] = CheckedProgram(registration=registration, check=check)
        return self._programs[name]


def program_of(spec: SweepSpec, catalogue: ServiceCatalogue) -> CheckedProgram | None:
    """The program that a sweep names; None for other trainers.

    Raises:
        BadInput: at ``trainer.name``: it is not registered here.
    """
    named = spec.training.program
    return None if named is None else catalogue.program(named.name)


def check_program(spec: SweepSpec, cells: Cells, program: CheckedProgram) -> None:
    """Refuse cells whose arguments cannot be made, such as a batch that does not divide.

    Raises:
        BadInput: names the cell and the argument.
    """
    named = spec.training.program
    definition = program.registration.definition
    processes, gpus = definition.processes, spec.resources.gpus_per_run
    if definition.launch == "torchrun" and processes is None and gpus != int(gpus):
        raise BadInput.at(
            "resources.gpus_per_run",
            f"{gpus:g} is no whole number, and torchrun starts one process for each GPU",
        )
    check_cells(program.registration, {} if named is None else named.parameters, cells, gpus)


def program_notices(spec: SweepSpec, program: CheckedProgram | None) -> list[Notice]:
    """What a user should know of the program before the sweep runs."""
    if program is None:
        return []
    name, notices = program.registration.name, []
    if program.check is None:
        message = (
            f"{name} was never checked as it is registered now; `etalon trainer check {name}` takes minutes."
        )
        notices.append(Notice(code="trainer_unchecked", message=message))
    elif not program.check.passed:
        bad = "; ".join(for_readers(step).message for step in program.check.steps if step.finding == "bad")
        notices.append(Notice(code="trainer_check_failed", message=f"The check of {name} found: {bad}"))
    if not program.registration.definition.is_given_rate and (
        program.check is None or not program.check.passed
    ):
        notices.append(Notice(code="rate_not_given", message=f"{name} {RATE_NOT_GIVEN}"))
    if missing := program.registration.missing:
        message = f"{' and '.join(missing)} of {name} cannot be found on this machine; every worker must have what they name."
        notices.append(Notice(code="trainer_missing", message=message))
    if program.shared_decay is None and len(spec.grid.tokens) > 1:
        notices.append(Notice(code="no_forks", message=_without_forks(spec, program)))
    return notices


def _without_forks(spec: SweepSpec, program: CheckedProgram) -> str:
    """What forks would save: all horizons of a rate in one trunk, and a decay each."""
    schedule = program.registration.definition.schedule
    decay = 0.2 if schedule is None else schedule.decay_fraction
    horizons = sorted(set(spec.grid.tokens))
    shared = horizons[-1] + decay * sum(horizons[:-1])
    saved = 1 - shared / sum(horizons)
    why = (
        "does not declare fork"
        if program.registration.definition.fork is None
        else "has forks that its check did not find equal to direct runs, so they are off"
    )
    return (
        f"{program.registration.name} {why}: every run is trained from its first token. With a decay of {decay:.0%} of the "
        f"tokens, forks would save up to {saved:.0%} of the full grid's FLOPs."
    )
