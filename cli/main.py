"""The ``etalon`` command: parse, call one function, exit code."""

from __future__ import annotations

import sys

import typer

from cli import admin, sweeps
from cli.demo import demo_command
from cli.fit import fit_command
from cli.outcome import Exit, err
from cli.serve import serve_command
from orchestrator.errors import BadInput
from orchestrator.settings import check_environment

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="The learning rate for a model that nobody can afford to sweep.",
)
app.command("serve")(serve_command)
app.command("demo")(demo_command)
app.command("fit")(fit_command)
app.command("plan")(sweeps.plan_command)
app.command("predict")(sweeps.predict_command)
app.add_typer(sweeps.app, name="sweep")
app.command("table")(sweeps.table_command)
app.add_typer(admin.tokens, name="token")
app.add_typer(admin.database, name="db")


def main() -> None:
    """Run the command line."""
    try:
        check_environment()
    except BadInput as error:
        err.print(error.detail, markup=False, soft_wrap=True)
        sys.exit(Exit.BAD_INPUT)
    app()
