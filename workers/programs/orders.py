"""From the values of a run to what its keeper starts: arguments, environment, files and limits."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.cells import Cell
from orchestrator.errors import BadInput
from orchestrator.private import restricted_umask
from orchestrator.programs.config_files import render
from orchestrator.programs.definition import NAMES
from orchestrator.programs.placeholders import Template, Value, spelt
from orchestrator.programs.registry import Registration
from orchestrator.programs.run_values import RunPlace, Start
from orchestrator.spec import Resources
from workers.program_path import make_program_path
from workers.programs.order import MARKER, KeeperOrder
from workers.programs.own_files import make_folders, write_new

PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "USER", "TZ")
"""Variables of a worker that every program gets, besides NCCL_… and those it asks for."""

SECRET: Final = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
"""Names of variables whose values are masked in the output."""

LEAST_SECRET: Final = 6
"""Shorter values are no secrets, and masking them would garble the output."""

SETTINGS: Final = {"ETALON_TOKEN", "ETALON_URL", "ETALON_HOME", "ETALON_DATABASE_URL"}
"""Variables that Etalon itself reads: no parameter is passed in them."""

RUN_FILE, REPORT_FILE, STOP_FILE, RANKS, TEMPORARY = "run.json", "report.jsonl", "stop", "ranks", "tmp"
PROGRAM_PATH: Final = "python"


def make_order(
    registration: Registration,
    values: Mapping[str, Value],
    cell: Cell,
    place: RunPlace,
    *,
    start: Start,
    resources: Resources,
    seconds_left: float,
) -> KeeperOrder:
    """Make a run's folder and files, and the order for its keeper.

    Args:
        registration: of the program.
        values: of its placeholders.
        cell: of the run.
        place: of its files.
        start: where this attempt begins.
        resources: of one run.
        seconds_left: for the whole run.

    Raises:
        BadInput: an argument or config file cannot be made.
        OSError: the folder cannot be written.
    """
    definition, folder = registration.definition, place.folder
    names = NAMES | values.keys()

    def filled(texts: Iterable[str], values: Mapping[str, Value] = values) -> tuple[str, ...]:
        return tuple(Template.parse(text, names).render(values) for text in texts)

    with restricted_umask():
        for made in (folder, place.trunk_folder, folder / TEMPORARY):
            make_folders(folder, made)
        (folder / STOP_FILE).unlink(missing_ok=True)
        for file in definition.files:
            target = path_of(registration, file.to, values)
            changes = {
                key: Template.parse(value, names).value(values) if isinstance(value, str) else value
                for key, value in file.set.items()
            }
            make_folders(folder, target.parent)
            write_new(target, render(registration.config_file(file.source), target, changes))
        typed = {name: values.get(name) for name in sorted(names)}
        write_new(folder / RUN_FILE, json.dumps(typed, indent=1))
        python_path = make_program_path(folder)
    added: tuple[str, ...] = ()
    if start.resumes and definition.resume is not None:
        added = filled(definition.resume.arguments)
    elif start.tokens and definition.fork is not None:
        of_saver = {} if start.trunk_folder is None else {"trunk_folder": start.trunk_folder}
        added = filled(definition.fork.arguments, {**values, **of_saver})
    if start.fork_steps and definition.fork is not None:
        added = (*filled(definition.fork.save), *added)
    environment = environment_of(registration, values, folder, python_path, resources)
    losses, limits = definition.losses, definition.limits
    return KeeperOrder(
        run_id=place.run_id,
        attempt=start.attempt,
        argv=_argv(
            registration, filled(definition.command), added, values, folder, filled(definition.prefix)
        ),
        cwd=registration.folder,
        environment=environment,
        folder=folder,
        marker=environment[MARKER],
        report=folder / REPORT_FILE,
        stop_file=folder / STOP_FILE,
        tokens=int(cell.tokens),
        batch_tokens=int(cell.batch_tokens),
        start_tokens=start.tokens,
        training=_source(losses.training, filled),
        validation=_source(losses.validation, filled),
        position=_source(losses.position, filled),
        diverged=definition.diverged.output,
        start_seconds=limits.start,
        silence_seconds=limits.silence,
        run_seconds=seconds_left,
        stop_seconds=limits.stop,
        log_bytes=limits.log,
        disk_bytes=limits.disk,
        stop_command=filled(definition.stop) or None,
        secrets=tuple(
            value for name, value in environment.items() if SECRET.search(name) and len(value) >= LEAST_SECRET
        ),
    )


def environment_of(
    registration: Registration,
    values: Mapping[str, Value],
    folder: Path,
    python_path: Path,
    resources: Resources,
) -> dict[str, str]:
    """The complete environment of a program: an allow-list, so that no secret of the service is in it.

    Args:
        registration: of the program.
        values: of its placeholders.
        folder: of the run.
        python_path: put first on the path of its interpreter.
        resources: of one run; without a GPU, none is visible.
    """
    definition, interpreter = registration.definition, registration.interpreter
    inherited = os.environ
    environment = {name: inherited[name] for name in PASSED if name in inherited}
    environment |= {name: value for name, value in inherited.items() if name.startswith("NCCL_")}
    environment |= {name: inherited[name] for name in definition.pass_environment if name in inherited}
    environment["CUDA_VISIBLE_DEVICES"] = (
        inherited.get("CUDA_VISIBLE_DEVICES", "") if resources.gpus_per_run else ""
    )
    environment["OMP_NUM_THREADS"] = str(max(1, int(resources.cpus_per_run)))
    environment["TMPDIR"] = str(folder / TEMPORARY)
    environment["PYTHONUNBUFFERED"] = "1"  # lines arrive when they are printed, through a pipe too
    if definition.python is not None and (interpreter.parent.parent / "pyvenv.cfg").exists():
        environment["VIRTUAL_ENV"] = str(interpreter.parent.parent)
        environment["PATH"] = os.pathsep.join((str(interpreter.parent), environment.get("PATH", os.defpath)))
    names = NAMES | values.keys()
    environment |= {
        name: Template.parse(text, names).render(values) for name, text in definition.environment.items()
    }
    own = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join((str(python_path), *([own] if own else [])))
    own_names = {f"ETALON_{name.upper()}": spelt(value) for name, value in values.items()}
    environment |= {name: value for name, value in own_names.items() if name not in SETTINGS}
    environment |= {
        MARKER: marker(folder),
        "ETALON_REPORT": str(folder / REPORT_FILE),
        "ETALON_STOP": str(folder / STOP_FILE),
    }
    return environment


def path_of(registration: Registration, text: str, values: Mapping[str, Value]) -> Path:
    """A path of the registration with a run's values; a relative one begins where the program runs."""
    return registration.folder / Template.parse(text, NAMES | values.keys()).render(values)


def marker(folder: Path) -> str:
    """The marker of all processes of the run in a folder."""
    return str(folder / RUN_FILE)


def own_checkpoint(registration: Registration, values: Mapping[str, Value]) -> bool:
    """Whether a run can go on from its own checkpoint, by what the registration declares."""
    resume = registration.definition.resume
    return resume is not None and path_of(registration, resume.when, values).exists()


def fork_checkpoint(registration: Registration, values: Mapping[str, Value], fork_step: int) -> Path:
    """The checkpoint that a trunk writes for a fork."""
    fork = registration.definition.fork
    if fork is None:
        raise BadInput(f"The trainer {registration.name} declares no fork.")
    return path_of(registration, fork.checkpoint, {**values, "fork_step": fork_step})


def _argv(
    registration: Registration,
    command: tuple[str, ...],
    added: tuple[str, ...],
    values: Mapping[str, Value],
    folder: Path,
    prefix: tuple[str, ...],
) -> tuple[str, ...]:
    definition, interpreter = registration.definition, str(registration.interpreter)
    if definition.entry is not None:
        own = (interpreter, "-m", "etalon.entry", definition.entry, *added)
    else:
        first = interpreter if command[0] == "python" else command[0]
        own = (first, *command[1:], *added)
    if definition.launch == "torchrun":
        launcher = (
            *(interpreter, "-m", "torch.distributed.run", "--standalone", "--max-restarts=0"),
            *(f"--nproc-per-node={values['processes']}", f"--log-dir={folder / RANKS}", "--tee=3"),
            *("--local-ranks-filter=0", "--no-python"),
        )
        own = (*launcher, *own)
    return (*prefix, *own)


def _source(source: Any, filled: Any) -> dict[str, Any] | None:
    """A loss source as the keeper takes it, with its path filled in."""
    if source is None:
        return None
    order: dict[str, Any] = source.to_order()
    for name in ("jsonl", "csv", "tensorboard"):
        if name in order:
            order[name] = filled((order[name],))[0]
    return {name: value for name, value in order.items() if value is not None}
