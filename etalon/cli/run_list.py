"""``etalon sweep runs``: the runs of a sweep with their ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.markup import escape
from rich.table import Column, Table

from etalon.cli.options import AsJson
from etalon.cli.outcome import err, out, print_json, reports_errors
from etalon.cli.sweeps import SweepId
from etalon.client import Client
from orchestrator.amounts import count, loss, rate
from orchestrator.documents.runs import RunDocument
from orchestrator.states import RunState

MOST_REASON: Final = 60
"""Characters of a reason in a line."""


@reports_errors
def runs_command(
    sweep_id: SweepId,
    state: Annotated[
        RunState | None, typer.Option(help="Only runs in this state; by default all but the pruned.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List a sweep's runs: id, cell, rate, seed, state, loss and why."""
    with Client() as client:
        found = client.sweeps.get(sweep_id).runs.list(state=state)
        runs = [run for run in found if state is not None or run.state is not RunState.PRUNED]
    if as_json:
        print_json([run.to_json() for run in runs])
    elif runs:
        out.print(runs_table(runs))
    else:
        err.print("No run was requested so far." if state is None else f"No run is {state}.")


def runs_table(runs: Sequence[RunDocument]) -> Table:
    """One line for each run; its id is never cut."""
    table = Table(
        Column("id", no_wrap=True, min_width=32),
        *(Column(name, justify="right", no_wrap=True) for name in ("N", "D", "B", "rate", "seed")),
        Column("state", no_wrap=True),
        Column("loss", justify="right", no_wrap=True),
        Column("why", no_wrap=True, overflow="ellipsis"),
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for run in runs:
        cell = (count(run.params), count(run.tokens), count(run.batch_tokens))
        rated = (rate(run.learning_rate, 3), str(run.seed), run.state, loss(run.loss))
        table.add_row(run.id, *cell, *rated, escape(_in_short(run.reason or "")))
    return table


def _in_short(reason: str) -> str:
    last = reason.rstrip().rpartition("\n")[2].strip()  # of a traceback, the error's own message
    return last if len(last) <= MOST_REASON else last[: MOST_REASON - 1] + "…"
