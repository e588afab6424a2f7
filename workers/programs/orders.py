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
from orchestrator.programs.declared_losses import LossSource
from orchestrator.programs.definition import NAMES
from orchestrator.programs.placeholders import Template, Value, spelt
from orchestrator.programs.registry import Registration
from orchestrator.programs.run_values import RunPlace, Start, config_file, path_of
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
    python_path = _prepare(registration, values, place)
    environment = environment_of(registration, values, folder, python_path, resources)
    losses, limits = definition.losses, definition.limits
    return KeeperOrder(
        run_id=place.run_id,
        attempt=start.attempt,
        argv=_argv(registration, values, folder, start),
        cwd=registration.folder,
        environment=environment,
        folder=folder,
        marker=environment[MARKER],
        report=folder / REPORT_FILE,
        stop_file=folder / STOP_FILE,
        tokens=int(cell.tokens),
        batch_tokens=int(cell.batch_tokens),
        start_tokens=start.tokens,
        training=_source(losses.training, values),
        validation=_source(losses.validation, values),
        position=_source(losses.position, values),
        diverged=definition.diverged.output,
        start_seconds=limits.start,
        silence_seconds=limits.silence,
        run_seconds=seconds_left,
        stop_seconds=limits.stop,
        log_bytes=limits.log,
        disk_bytes=limits.disk,
        stop_command=_arguments(definition.stop, values) or None,
        secrets=tuple(
            value for name, value in environment.items() if SECRET.search(name) and len(value) >= LEAST_SECRET
        ),
    )


def _prepare(registration: Registration, values: Mapping[str, Value], place: RunPlace) -> Path:
    """Make the files that a run begins with: all private, and none through a link; returns what goes on Python's path."""
    folder = place.folder
    with restricted_umask():
        for made in (folder, place.trunk_folder, folder / TEMPORARY):
            make_folders(folder, made)
        (folder / STOP_FILE).unlink(missing_ok=True)
        for file in registration.definition.files:
            target, text = config_file(registration, file, values)
            make_folders(folder, target.parent)
            write_new(target, text)
        typed = {name: values.get(name) for name in sorted(NAMES | values.keys())}
        write_new(folder / RUN_FILE, json.dumps(typed, indent=1))
        return make_program_path(folder)


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


def marker(folder: Path) -> str:
    """The marker of all processes of the run in a folder."""
    return str(folder / RUN_FILE)


def own_checkpoint(registration: Registration, values: Mapping[str, Value]) -> bool:
    """Whether a run can go on from its own checkpoint, by what the registration declares."""
    path = own_path(registration, values)
    return path is not None and path.exists()


def own_path(registration: Registration, values: Mapping[str, Value]) -> Path | None:
    """Where a run's own checkpoint would be; None if the registration declares none."""
    resume = registration.definition.resume
    return None if resume is None else path_of(registration, resume.when, values)


def fork_checkpoint(registration: Registration, values: Mapping[str, Value], fork_step: int) -> Path:
    """The checkpoint that a trunk writes for a fork."""
    fork = registration.definition.fork
    if fork is None:
        raise BadInput(f"The trainer {registration.name} declares no fork.")
    return path_of(registration, fork.checkpoint, {**values, "fork_step": fork_step})


def _argv(
    registration: Registration, values: Mapping[str, Value], folder: Path, start: Start
) -> tuple[str, ...]:
    definition, interpreter = registration.definition, str(registration.interpreter)
    added = _added(registration, values, start)
    if definition.entry is not None:
        own = (interpreter, "-m", "etalon.entry", definition.entry, *added)
    else:
        first, *others = _arguments(definition.command, values)
        own = (interpreter if first == "python" else first, *others, *added)
    if definition.launch == "torchrun":
        launcher = (
            *(interpreter, "-m", "torch.distributed.run", "--standalone", "--max-restarts=0"),
            *(f"--nproc-per-node={values['processes']}", f"--log-dir={folder / RANKS}", "--tee=3"),
            *("--local-ranks-filter=0", "--no-python"),
        )
        own = (*launcher, *own)
    return (*_arguments(definition.prefix, values), *own)


def _added(registration: Registration, values: Mapping[str, Value], start: Start) -> tuple[str, ...]:
    """The arguments of one start: to save for forks, and to go on from the run's own or the trunk's checkpoint."""
    definition = registration.definition
    added: tuple[str, ...] = ()
    if start.resumes and definition.resume is not None:
        added = _arguments(definition.resume.arguments, values)
    elif start.tokens and definition.fork is not None:
        of_saver = {} if start.trunk_folder is None else {"trunk_folder": start.trunk_folder}
        added = _arguments(definition.fork.arguments, {**values, **of_saver})
    if start.fork_steps and definition.fork is not None:
        added = (*_arguments(definition.fork.save, values), *added)
    return added


def _arguments(texts: Iterable[str], values: Mapping[str, Value]) -> tuple[str, ...]:
    names = NAMES | values.keys()
    return tuple(Template.parse(text, names).argument(values) for text in texts)


def _source(source: LossSource | None, values: Mapping[str, Value]) -> dict[str, Any] | None:
    """A loss source as the keeper takes it, with its path filled in."""
    if source is None:
        return None
    names = NAMES | values.keys()
    order: dict[str, Any] = source.to_order()
    for name in ("jsonl", "csv", "tensorboard"):
        if name in order:
            order[name] = Template.parse(order[name], names).render(values)
    return {name: value for name, value in order.items() if value is not None}
