"""The commands of ``etalon`` and the functions they call."""

from __future__ import annotations

from typing import Annotated

import typer

import etalon
from etalon.cli import admin, changes, corpus, sweeps, trainers
from etalon.cli.compare import compare_command
from etalon.cli.demo import demo_command
from etalon.cli.fit import fit_command
from etalon.cli.log_lines import logs_command
from etalon.cli.rules import rules_command
from etalon.cli.run_list import runs_command
from etalon.cli.serve import serve_command
from etalon.cli.trainer_check import check_command

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"etalon {etalon.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The learning rate for a model that nobody can afford to sweep."""


app.command("serve")(serve_command)
app.command("demo")(demo_command)
app.command("fit")(fit_command)
app.command("compare")(compare_command)
app.command("rules")(rules_command)
app.command("plan")(sweeps.plan_command)
app.command("predict")(sweeps.predict_command)
app.add_typer(sweeps.app, name="sweep")
app.command("table")(sweeps.table_command)
sweeps.app.command("runs")(runs_command)
sweeps.app.command("extend")(changes.extend_command)
sweeps.app.command("clone")(changes.clone_command)
app.add_typer(changes.app, name="run")
sweeps.app.command("logs")(logs_command)
trainers.app.command("check")(check_command)
app.add_typer(trainers.app, name="trainer")
app.add_typer(corpus.app, name="corpus")
app.add_typer(admin.tokens, name="token")
app.add_typer(admin.database, name="db")
