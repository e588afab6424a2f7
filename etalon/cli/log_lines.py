"""``etalon sweep logs``: what the program of a run prints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Final

import typer

from etalon import operations
from etalon.cli.options import AsJson
from etalon.cli.outcome import err, print_json, reports_errors
from etalon.client import Client
from orchestrator.errors import BadInput
from orchestrator.states import RUN_OPEN

MOST_LINES: Final = 10_000
EVERY_SECONDS: Final = 1.0
GAP: Final = "…"
"""Stands for output that was printed between two looks and is not kept any more."""


@reports_errors
def logs_command(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    tail: Annotated[
        int, typer.Option(min=1, max=MOST_LINES, help="The last lines of what is kept.")
    ] = operations.LOG_LINES,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show what comes until the run has ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the last lines of a run's output."""
    if follow and as_json:
        raise BadInput("--follow and --json: give one of them.")
    with Client() as client, suppress(KeyboardInterrupt):
        if follow:
            for line in followed(client, run_id, tail):
                typer.echo(line)
            return
        log = client.runs.log(run_id, tail=tail)
        if as_json:
            print_json(log.to_json())
            return
        typer.echo(log.text, nl=not log.text.endswith("\n") and log.text != "")
        if not log.text:
            err.print("The run has printed nothing so far; proxies never print.")


def followed(client: Client, run_id: str, tail: int) -> Iterator[str]:
    """The last ``tail`` lines, and each line that comes until the run has ended; a service that is started again is waited for."""
    after: int | None = None
    while True:
        run = client.ask(operations.RUN.call(run_id=run_id), attempts=operations.PATIENT_ATTEMPTS)
        query = {"tail": MOST_LINES, "after": after or 0}
        log = client.ask(
            operations.LOG.call(run_id=run_id, query=query), attempts=operations.PATIENT_ATTEMPTS
        )
        ended = run.state not in RUN_OPEN
        lines = log.text.splitlines()
        if lines and not ended and not log.text.endswith("\n"):
            lines.pop()
        if after is None:
            lines = lines[-tail:]
        elif lines and log.start_byte != after:
            yield GAP
        yield from lines
        after = log.end_byte
        if ended:
            err.print(f"The run is {run.state}.")
            return
        time.sleep(EVERY_SECONDS)
