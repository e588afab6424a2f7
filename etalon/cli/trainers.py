"""``etalon trainer …``: the programs that a service has registered, and the first lines of a registration."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape
from rich.table import Column, Table

from etalon.cli.options import AsJson
from etalon.cli.outcome import err, out, print_json, reports_errors
from etalon.client import Client
from orchestrator.amounts import NONE, age
from orchestrator.documents.trainers import CheckDocument, Finding, ParameterDocument, TrainerDocument
from orchestrator.errors import BadInput
from orchestrator.private import FILE, make_folder
from orchestrator.programs.placeholders import spelt
from orchestrator.programs.registry import ENDINGS, NAME, read_trainers
from orchestrator.settings import Settings
from orchestrator.spec.yaml_reader import YamlText

REGISTRATIONS: Final = Path(__file__).parent / "registrations"
"""The texts of ``etalon trainer init``, one for each preset."""

COLOURS: Final = {
    Finding.GOOD: "green",
    Finding.WARNING: "yellow",
    Finding.BAD: "red",
    Finding.SKIPPED: "dim",
}

TrainerName = Annotated[str, typer.Argument(metavar="NAME", help="The trainer's name.")]

app = typer.Typer(no_args_is_help=True, help="Your own training programs, registered with the service.")


@app.command("list")
@reports_errors
def list_trainers(as_json: AsJson = False) -> None:
    """List the registered trainers."""
    with Client() as client:
        trainers = list(client.trainers.list())
    if as_json:
        print_json([trainer.to_json() for trainer in trainers])
        return
    if not trainers:
        out.print(
            "No trainers are registered with the service. Write a registration with: etalon trainer init plain"
        )
        return
    out.print(_trainers_table(trainers))
    for trainer in trainers:
        if trainer.fault is not None:
            out.print(f"[red]{escape(trainer.name)}:[/] {escape(trainer.fault)}", soft_wrap=True)


@app.command("show")
@reports_errors
def show(name: TrainerName, as_json: AsJson = False) -> None:
    """Show what a sweep may set of a trainer, and its last check."""
    with Client() as client:
        trainer = client.trainers.get(name)
    if as_json:
        print_json(trainer.to_json())
        return
    out.print(f"[bold]{escape(trainer.name)}[/]  {escape(trainer.description)}", soft_wrap=True)
    if trainer.fault is not None:
        out.print(f"[red]It cannot be used:[/] {escape(trainer.fault)}", soft_wrap=True)
        return
    out.print(f"kind {trainer.kind}, registration {trainer.digest}")
    if trainer.command is not None:
        out.print(f"command {shlex.join(trainer.command)}", markup=False, soft_wrap=True)
    out.print("; ".join(_abilities(trainer)), soft_wrap=True)
    out.print()
    if trainer.parameters:
        out.print(_parameters_table(trainer.parameters))
    else:
        out.print("It has no parameters: all scales of a sweep would train alike.")
    out.print()
    _show_check(trainer)


@app.command("init")
@reports_errors
def init(
    preset: Annotated[
        str, typer.Argument(metavar="PRESET", help="plain, any program; or hf, Hugging Face's Trainer.")
    ],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="The trainer's name, as sweeps give it.")
    ] = "mine",
    file: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="By default NAME.yaml where the service reads registrations."
        ),
    ] = None,
) -> None:
    """Write a commented registration to edit; needs no service."""
    place = Settings().trainers
    text = _template(preset)
    if not NAME.fullmatch(name):
        raise BadInput(f"--name {name}: take up to 100 letters, digits, dots, dashes and underscores.")
    if name in (known := read_trainers(place)).registered or name in known.faults:
        raise BadInput(
            f"--name {name}: {place} has a trainer of this name, and each name may be registered once."
        )
    if file is None:
        if place.is_file():
            raise BadInput(
                f"ETALON_TRAINERS is one file, {place}: give --out FILE, and copy what it says into {place}."
            )
        is_file = place.suffix in ENDINGS and not place.exists()
        make_folder(place.parent if is_file else place)
        file = place if is_file else place / f"{name}.yaml"
    filled = {"NAME": _as_yaml(name), "FOLDER": _folder(file)}
    _write(file, re.sub(r"\b(?:NAME|FOLDER)\b", lambda found: filled[found[0]], text))
    _say_what_to_do(name, file, place)


def _template(preset: str) -> str:
    path = REGISTRATIONS / f"{preset}.yaml"
    known = sorted(each.stem for each in REGISTRATIONS.glob("*.yaml"))
    if preset not in known:
        raise BadInput(
            f"PRESET {preset!r}: must be {' or '.join(known)}. What other trainers print is known to the field `preset` of a "
            "registration: see docs/own_trainers.md."
        )
    return path.read_text(encoding="utf-8")


def _as_yaml(name: str) -> str:
    """A name as YAML text: in quotes where YAML would read a number, a date or a word of its own."""
    try:
        is_text = YamlText(f"{name}: ").fields == {name: None}
    except BadInput:
        is_text = False
    return name if is_text else json.dumps(name)


def _folder(file: Path) -> str:
    """The folder that the command is typed in, as YAML text, relative where the registration lies in it."""
    here = Path.cwd()
    return "." if file.absolute().parent == here else json.dumps(str(here), ensure_ascii=False)


def _write(file: Path, text: str) -> None:
    """Write a new file that its owner alone may read.

    Raises:
        BadInput: it exists, or cannot be written.
    """
    try:
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE)
    except FileExistsError:
        raise BadInput(f"{file} exists and stays as it is; give --out another file.") from None
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}.") from error
    with os.fdopen(opened, "w", encoding="utf-8") as written:
        written.write(text)


def _say_what_to_do(name: str, file: Path, place: Path) -> None:
    out.print(f"{file} is written.", markup=False, soft_wrap=True)
    written = read_trainers(file)
    for fault in written.faults.values():
        err.print(f"[yellow]A service would refuse it:[/] {escape(fault.detail)}", soft_wrap=True)
    out.print("1. Edit it: command, folder, parameters, losses.")
    if place not in {file.absolute(), file.absolute().parent}:
        out.print(
            f"2. Let the service read it: export ETALON_TRAINERS={file.absolute()}",
            markup=False,
            soft_wrap=True,
        )
    else:
        out.print("2. A running service reads it when it is needed; nothing is to be started again.")
    out.print(f"3. See what a sweep may set: etalon trainer show {name}", markup=False)
    parameters = written.registered[name].definition.parameters if name in written.registered else {}
    scale = " --scale " + ",".join(f"{each}=…" for each in parameters) if parameters else ""
    out.print(
        f"4. Try it for minutes before it costs much: etalon trainer check {name}{scale}",
        markup=False,
        soft_wrap=True,
    )
    out.print(
        f"5. Submit a sweep with trainer: {{kind: command, name: {_as_yaml(name)}}}; the page Submit writes one.",
        markup=False,
        soft_wrap=True,
    )


def _trainers_table(trainers: Iterable[TrainerDocument]) -> Table:
    table = Table(
        Column("name", overflow="fold", min_width=8),
        Column("kind", no_wrap=True),
        Column("check", no_wrap=True),
        Column("parameters", overflow="fold"),
        Column("description", overflow="ellipsis", no_wrap=True),
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    for trainer in trainers:
        table.add_row(
            escape(trainer.name),
            trainer.kind or "[red]faulty[/]",
            NONE if trainer.fault is not None else _check_word(trainer.check),
            escape(", ".join(parameter.name for parameter in trainer.parameters)),
            escape(trainer.description),
        )
    return table


def _check_word(check: CheckDocument | None) -> str:
    if check is None:
        return "[yellow]never[/]"
    return "[green]passed[/]" if check.passed else "[red]failed[/]"


def _abilities(trainer: TrainerDocument) -> list[str]:
    return [
        "takes seeds" if trainer.takes_seeds else "takes no seed, so a sweep has one",
        "an interrupted run goes on from its checkpoint"
        if trainer.resumes
        else "an interrupted run starts again at its first token",
        "horizons share a trunk" if trainer.forks else "every horizon is trained from its first token",
    ]


def _parameters_table(parameters: Iterable[ParameterDocument]) -> Table:
    table = Table(
        Column("parameter", no_wrap=True),
        Column("allowed", overflow="fold"),
        Column("default", overflow="fold"),
        Column("", overflow="fold"),
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    for parameter in parameters:
        default = "[yellow]to be given[/]" if parameter.default is None else escape(spelt(parameter.default))
        table.add_row(
            escape(parameter.name), escape(parameter.allowed), default, escape(parameter.description)
        )
    return table


def _show_check(trainer: TrainerDocument) -> None:
    check = trainer.check
    if check is None:
        out.print(
            f"never checked as it is registered now; `etalon trainer check {trainer.name}` takes minutes",
            markup=False,
        )
        return
    out.print(f"check {_check_word(check)} {age(check.checked_at, datetime.now(UTC))}")
    for step in check.steps:
        colour = COLOURS[step.finding]
        out.print(
            f"  [{colour}]{step.finding}[/] {escape(step.name)}: {escape(step.message)}", soft_wrap=True
        )
