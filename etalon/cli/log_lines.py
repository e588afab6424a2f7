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
    news = NewLines()
    while True:
        run = client.ask(operations.RUN.call(run_id=run_id), attempts=operations.PATIENT_ATTEMPTS)
        call = operations.LOG.call(run_id=run_id, query={"tail": MOST_LINES})
        log = client.ask(call, attempts=operations.PATIENT_ATTEMPTS)
        ended = run.state not in RUN_OPEN
        first, lines = news.is_first, news.of(log.text, ended=ended)
        yield from lines[-tail:] if first else lines
        if ended:
            err.print(f"The run is {run.state}.")
            return
        time.sleep(EVERY_SECONDS)


class NewLines:
    """Finds the lines of a growing text that were not there at the last look; its beginning may get lost.

    Attributes:
        is_first: whether nothing was looked at so far.
    """

    def __init__(self) -> None:
        self._seen: list[str] = []
        self.is_first = True

    def of(self, text: str, *, ended: bool) -> list[str]:
        """The new lines.

        Args:
            text: all that is kept.
            ended: whether nothing follows, so that a last line without its end is whole.
        """
        lines = text.splitlines()
        if lines and not ended and not text.endswith("\n"):
            lines.pop()
        seen, self._seen, self.is_first = self._seen, lines, False
        for lost in range(len(seen)):
            kept = len(seen) - lost
            if kept <= len(lines) and seen[lost] == lines[0] and seen[lost:] == lines[:kept]:
                return lines[kept:]
        return [GAP, *lines] if seen and lines else lines
