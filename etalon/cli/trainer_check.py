"""``etalon trainer check``: a registered program tried by short runs on this machine, before money is spent."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer
from rich.markup import escape
from rich.status import Status
from rich.table import Column, Table

from etalon.arguments import amount
from etalon.cli.admin import open_store
from etalon.cli.options import AsJson, assignments
from etalon.cli.outcome import Exit, err, out, print_json, reports_errors
from etalon.cli.trainers import COLOURS
from etalon.spec_files import naming_lines, read_spec_file
from orchestrator.amounts import count
from orchestrator.documents.trainers import CheckDocument, CheckStep
from orchestrator.errors import BadInput
from orchestrator.extras import require
from orchestrator.programs.registry import Registration, read_trainers
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, parse_spec

if TYPE_CHECKING:
    from orchestrator.store import Store
    from workers.programs.check_case import CheckCase, CheckRequest
    from workers.programs.check_runs import MadeRun
    from workers.programs.checking import ExpectedPlan

NEXT_NAME: Final = re.compile(r",(?=\s*[A-Za-z_]\w*\s*=)")
"""The comma between two values; text may hold others."""


@reports_errors
def check_command(  # noqa: PLR0913, PLR0917 - one for each option
    name: Annotated[str, typer.Argument(metavar="NAME", help="The trainer, as it is registered.")],
    scale: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE,…", help="Values of its parameters, such as width=16,n_layer=2; may repeat."
        ),
    ] = None,
    sweep: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Check the smallest runs of this sweep, and price its plan by their speed."
        ),
    ] = None,
    params: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="N that a sweep would declare, such as 10.6M.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Tokens of a run; by default 40 steps.")
    ] = None,
    batch_tokens: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT", help="Tokens of a step; by default the fewest that fit its arguments."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="A peak rate that trains; by default 1e-3.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, max=1_024, help="GPUs of a run; by default none is visible.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Most time of the whole check.")] = 10.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show arguments, variables and config files, and start nothing.")
    ] = False,
    no_record: Annotated[
        bool, typer.Option("--no-record", help="Do not keep the result with the registration.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the runs' files, and say where.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a registered trainer by short runs on this machine: losses, speed, resume, forks, divergence, stop."""
    require("server")
    from workers.programs.check_case import CheckRequest

    request = CheckRequest(
        scale=assignments([item for items in scale or [] for item in NEXT_NAME.split(items)], "--scale"),
        params=_amount("--params", params),
        tokens=_amount("--tokens", tokens),
        batch_tokens=_amount("--batch-tokens", batch_tokens),
        learning_rate=_within("--learning-rate", learning_rate, 1e-12, 1e3),
        gpus=gpus,
    )
    _within("--minutes", minutes, 0.01, 1_440)
    settings = Settings()
    registration = _registered(name, settings)
    record = not (dry_run or no_record)
    with ExitStack() as opened:
        store = opened.enter_context(open_store(settings)) if record or sweep is not None else None
        case, plan = _case(registration, request, sweep, store, settings)
        folder = opened.enter_context(_private_folder(keep=keep))
        if dry_run:
            _prepare(case, folder, as_json=as_json)
            return
        document = _check(case, folder, 60.0 * minutes, plan, as_json=as_json)
        if store is not None and record:
            store.trainer_checks.write(registration.digest, document)
    if as_json:
        print_json(document.to_json())
    else:
        _show_end(document, name, recorded=record)
    if not document.passed:
        raise typer.Exit(Exit.FAILED)


def _amount(option: str, text: str | None) -> float | None:
    return None if text is None else amount(option, text)


def _within(option: str, value: float | None, least: float, most: float) -> float | None:
    if value is not None and not least <= value <= most:
        raise BadInput(f"{option} {value:g}: it must be from {least:g} to {most:g}.")
    return value


def _registered(name: str, settings: Settings) -> Registration:
    try:
        return read_trainers(settings.trainers).get(name)
    except BadInput as error:
        sentence = error.detail.removeprefix("trainer.name: ")
        raise BadInput(sentence[:1].upper() + sentence[1:]) from error


def _case(
    registration: Registration,
    request: CheckRequest,
    file: Path | None,
    store: Store | None,
    settings: Settings,
) -> tuple[CheckCase, ExpectedPlan | None]:
    """The run to try, and the plan to be priced."""
    from orchestrator.submission.preview import cells_of, preview
    from workers.programs.check_case import make_case
    from workers.programs.checking import ExpectedPlan

    if file is None or store is None:
        return make_case(registration, request), None
    with naming_lines(file):
        spec = parse_spec(read_spec_file(file))
        program = spec.training.program
        if program is None or program.name != registration.name:
            named = "no registered trainer" if program is None else f"the trainer {program.name}"
            raise BadInput(f"--sweep {file} names {named}, and {registration.name} is to be checked.")
        cells = cells_of(spec, store, settings)
        expected = preview(spec, store, settings).expected
    plan = ExpectedPlan(flops=expected.flops, runs=expected.runs, workers=_workers(spec))
    return make_case(registration, request, spec, cells), plan


def _workers(spec: SweepSpec) -> int:
    """Runs of a sweep at once on this machine, by its CPUs."""
    room = int((os.cpu_count() or 1) / spec.resources.cpus_per_run)
    return max(1, min(spec.resources.max_parallel, room))


@contextmanager
def _private_folder(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="etalon-check-"))
    try:
        yield folder
    finally:
        if keep:
            err.print(f"The runs' files are in {folder}", markup=False, soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _prepare(case: CheckCase, folder: Path, *, as_json: bool) -> None:
    from workers.programs.checking import prepare

    display = _StepDisplay(quiet=as_json)
    made = prepare(case, folder, display)
    if as_json:
        print_json({**asdict(made), "folder": str(made.folder)})
    else:
        display.show(made)


def _check(
    case: CheckCase, folder: Path, seconds: float, plan: ExpectedPlan | None, *, as_json: bool
) -> CheckDocument:
    from workers.programs.checking import check

    with _StepDisplay(quiet=as_json) as display, _ended_by_sigterm():
        return check(case, folder, seconds=seconds, watcher=display, plan=plan)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the check as Ctrl-C does, so that nothing is left of it."""

    def end(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _StepDisplay:
    """Shows a check while it runs: finished steps as lines, the present one as a status on a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._name = quiet, ""
        self._status = Status("", console=err)

    def __enter__(self) -> _StepDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def begin(self, name: str) -> None:
        self._name = name
        self._status.update(f"{name} …")
        if err.is_terminal:
            self._status.start()

    def advance(self, tokens: int, of: int) -> None:
        self._status.update(f"{self._name}: {count(tokens)} of {count(of)} tokens")

    def show(self, made: MadeRun) -> None:
        self._status.stop()
        if self._quiet:
            return
        own = {name: value for name, value in made.environment.items() if not name.startswith("ETALON_")}
        rows = [
            ("command", " ".join(made.argv)),
            ("in folder", str(made.folder)),
            *(
                ("variable" if not at else "", f"{name}={value}")
                for at, (name, value) in enumerate(own.items())
            ),
            ("", f"and {len(made.environment) - len(own)} of the run, ETALON_…"),
        ]
        for path, text in made.files.items():
            rows += [("file", path), ("", text.rstrip())]
        grid = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2))
        for name, value in rows:
            grid.add_row(name, f"[dim]{escape(value)}[/]")
        out.print(grid)

    def end(self, step: CheckStep, lines: tuple[str, ...]) -> None:
        self._status.stop()
        if self._quiet:
            return
        grid = Table.grid(Column(width=7), Column(width=10), Column(overflow="fold"), padding=(0, 2))
        colour = COLOURS[step.finding]
        grid.add_row(f"[{colour}]{step.finding}[/]", step.name, escape(step.message))
        if lines:
            grid.add_row("", "", "The last lines of its output:")
            grid.add_row("", "", f"[dim]{escape(chr(10).join(lines))}[/]")
        out.print(grid)


def _show_end(document: CheckDocument, name: str, *, recorded: bool) -> None:
    kept = "the result is kept with its registration" if recorded else "the result is not kept"
    word = "[green]passed[/]" if document.passed else "[bold red]has not passed[/]"
    out.print(f"{escape(name)} {word}; {kept}.", soft_wrap=True)
