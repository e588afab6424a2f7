"""The values of one run of a program: of its placeholders, and of the JSON file that the program can read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.cells import Cell
from orchestrator.errors import BadInput
from orchestrator.programs.config_files import render
from orchestrator.programs.definition import ARGUMENTS, NAMES, ProgramDefinition, RenderedFile
from orchestrator.programs.placeholders import Template, Value
from orchestrator.programs.registry import Registration
from orchestrator.spec.fields import BadField


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The optimizer steps of one horizon.

    Attributes:
        total: of the whole run.
        warmup, stable, decay: of its phases; zero without a declared schedule, but for ``stable``.
    """

    total: int
    warmup: int
    stable: int
    decay: int

    @property
    def fork(self) -> int:
        """Steps before the decay."""
        return self.total - self.decay


def steps_of(definition: ProgramDefinition, cell: Cell) -> Steps:
    """The steps of a cell, counted as for proxies (``orchestrator.spec.optimization.Schedule``)."""
    batch, total = int(cell.batch_tokens), int(cell.tokens) // int(cell.batch_tokens)
    schedule = definition.schedule
    if schedule is None:
        return Steps(total=total, warmup=0, stable=total, decay=0)
    warmup = math.ceil(schedule.warmup_tokens / batch)
    decay = max(1, round(schedule.decay_fraction * total))
    return Steps(total=total, warmup=warmup, stable=max(0, total - warmup - decay), decay=decay)


def processes_of(definition: ProgramDefinition, gpus: float) -> int:
    """Processes of one run: with torchrun as declared, or one for each GPU; otherwise one."""
    if definition.launch == "one":
        return 1
    return definition.processes or max(1, int(gpus))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlace:
    """Where a run has its files.

    Attributes:
        run_id: of the run.
        folder: its own.
        trunk_folder: where it saves checkpoints of a trunk; nobody else does.
    """

    run_id: str
    folder: Path
    trunk_folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where one start of a run begins.

    Attributes:
        tokens: trained before; 0 begins at the first token.
        checkpoint: of the trunk, or the last one that the program reported; None where there is none.
        trunk_folder: of the run that saved the trunk's checkpoint; None where there is none.
        fork_steps: steps at which the trunk must save, ascending.
        resumes: whether the run goes on from its own checkpoint.
        attempt: number of the start, from 1.
    """

    tokens: int = 0
    checkpoint: str | None = None
    trunk_folder: str | None = None
    fork_steps: tuple[int, ...] = ()
    resumes: bool = False
    attempt: int = 1


def values_of(
    registration: Registration,
    given: Mapping[str, Any],
    cell: Cell,
    place: RunPlace,
    *,
    learning_rate: float,
    seed: int,
    gpus: float,
    start: Start,
) -> dict[str, Value]:
    """The value of every placeholder that has one.

    Args:
        registration: of the program.
        given: the sweep's parameters; those of the cell's scale go before them.
        cell: of the run.
        place: of its files.
        learning_rate: peak η.
        seed: of the run.
        gpus: of one run.
        start: where it begins.
    """
    definition, steps = registration.definition, steps_of(registration.definition, cell)
    values: dict[str, Value] = {
        **parameters_of(registration, given, cell),
        "learning_rate": float(learning_rate),
        "params": round(cell.params),
        "tokens": int(cell.tokens),
        "batch_tokens": int(cell.batch_tokens),
        "steps": steps.total,
        "seed": seed,
        "run_id": place.run_id,
        "run_folder": str(place.folder),
        "processes": processes_of(definition, gpus),
        "report": str(place.folder / "report.jsonl"),
        "start_tokens": start.tokens,
        "start_step": start.tokens // int(cell.batch_tokens),
    }
    if definition.schedule is not None:
        values |= {
            "final_learning_rate": float(learning_rate * definition.schedule.final_fraction),
            "warmup_steps": steps.warmup,
            "decay_steps": steps.decay,
            "stable_steps": steps.stable,
        }
    if definition.fork is not None:
        values |= {
            "trunk_folder": str(place.trunk_folder),
            "fork_step": steps.fork,
            "fork_steps": ",".join(map(str, start.fork_steps or (steps.fork,))),
        }
    if start.checkpoint is not None:
        values["checkpoint"] = start.checkpoint
    return values


def parameters_of(registration: Registration, given: Mapping[str, Any], cell: Cell) -> dict[str, Value]:
    """The value of every parameter of the program.

    Args:
        registration: of the program.
        given: the sweep's; those of the cell's scale go before them.
        cell: of the run.

    Raises:
        BadInput: one is unknown, missing or not allowed; the sentence names it.
    """
    of_scale: dict[str, Any] = json.loads(cell.with_values or "{}")
    try:
        return registration.checked({**given, **of_scale})
    except BadField as error:
        raise BadInput(f"The parameter {error.path} of the trainer {registration.name} {error}.") from error


def check_cells(
    registration: Registration, given: Mapping[str, Any], cells: Iterable[Cell], gpus: float
) -> None:
    """Refuse cells for which the arguments cannot be made, or a registration whose config files cannot.

    Raises:
        BadInput: names the cell and the text at fault, or the config file.
    """
    templates = [
        (field, Template.parse(text, known)) for field, text, known in registration.definition.templates()
    ]
    for at, cell in enumerate(cells):
        _check_steps(registration.definition, cell)
        values = _trial_values(registration, given, cell, gpus)
        for field, template in templates:
            try:
                check_text(field, template, values)
            except BadInput as error:
                raise BadInput(
                    f"grid: at {cell.point.in_words}, {field} of the trainer {registration.name} cannot be made: {error.detail}"
                ) from error
        if at == 0:
            _check_files(registration, values)


def check_text(field: str, template: Template, values: Mapping[str, Value]) -> None:
    """Refuse values of which a text of a registration cannot be made.

    Raises:
        BadInput: as ``Template.argument`` or ``Template.render``, by what the field is.
    """
    if field.startswith(ARGUMENTS):
        template.argument(values)
    else:
        template.render(values)


def _check_steps(definition: ProgramDefinition, cell: Cell) -> None:
    steps = steps_of(definition, cell)
    if definition.schedule is not None and steps.fork < max(1, steps.warmup):
        raise BadInput.at(
            "grid.tokens",
            f"{cell.tokens:.0f} in steps of {cell.batch_tokens:.0f} tokens decays before the warmup of "
            f"{definition.schedule.warmup_tokens} tokens has ended; take more tokens, or a smaller batch",
        )


def _trial_values(
    registration: Registration, given: Mapping[str, Any], cell: Cell, gpus: float
) -> dict[str, Value]:
    return values_of(
        registration,
        given,
        cell,
        RunPlace(run_id="0" * 32, folder=Path("/run"), trunk_folder=Path("/trunk")),
        learning_rate=cell.rates[0],
        seed=0,
        gpus=gpus,
        start=Start(checkpoint="/trunk/checkpoint"),
    )


def path_of(registration: Registration, text: str, values: Mapping[str, Value]) -> Path:
    """A path of the registration with a run's values; a relative one begins where the program runs."""
    return registration.folder / Template.parse(text, NAMES | values.keys()).render(values)


def config_file(
    registration: Registration, file: RenderedFile, values: Mapping[str, Value]
) -> tuple[Path, str]:
    """Where a config file of a run is written, and its text.

    Raises:
        BadInput: it cannot be made.
    """
    names = NAMES | values.keys()
    changes = {
        key: Template.parse(value, names).value(values) if isinstance(value, str) else value
        for key, value in file.set.items()
    }
    target = path_of(registration, file.to, values)
    return target, render(registration.config_file(file.source), target, changes)


def _check_files(registration: Registration, values: Mapping[str, Value]) -> None:
    """Refuse config files that cannot be made; what is in them is the operator's, so the sentence names the field alone."""
    for at, file in enumerate(registration.definition.files):
        try:
            config_file(registration, file, values)
        except BadInput as error:
            raise BadInput.at(
                "trainer.name",
                f"files.{at} of the trainer {registration.name} cannot be made; `etalon trainer check "
                f"{registration.name}` says why",
            ) from error
