"""``etalon sweep …``, ``plan``, ``predict`` and ``table``: commands that ask a service."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from etalon.arguments import amount, flops_amount
from etalon.cli.display import comparison_view, plan_view, prediction_panel, sizes_view, sweeps_table
from etalon.cli.options import BUDGET_HELP, AsJson, TableFile
from etalon.cli.outcome import Exit, out, print_json, reports_errors
from etalon.cli.watch import watch
from etalon.client import Client, SweepHandle
from etalon.operations import CREATED
from orchestrator.amounts import duration, flops
from orchestrator.documents.sweeps import SweepDocument
from orchestrator.documents.tables import TableDocument
from orchestrator.errors import BadInput
from orchestrator.states import SweepState

SweepId = Annotated[
    str, typer.Argument(metavar="ID", help="The sweep's id, or a name that only one sweep has.")
]
SpecFile = Annotated[Path, typer.Argument(metavar="FILE", help="The sweep, as YAML or JSON.")]

app = typer.Typer(no_args_is_help=True, help="Submit, watch, pause and end sweeps.")


@app.command("submit")
@reports_errors
def submit(
    file: SpecFile,
    watching: Annotated[bool, typer.Option("--watch", help="Show its progress until it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a sweep."""
    with Client() as client:
        sweep = client.sweeps.submit(file)
        if not as_json:
            out.print(f"Submitted {sweep.id}   {sweep.url}")
            _show_warnings(_namesakes(client, sweep))
            _show_warnings(sweep.document.warnings)
        if watching:
            watch(sweep)
            _show(sweep, as_json=as_json)
            _exit_by_state(sweep.document)
        elif as_json:
            print_json(sweep.document.to_json())


@app.command("list")
@reports_errors
def list_sweeps(
    state: Annotated[str | None, typer.Option(help="Only sweeps in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Number of sweeps, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest sweeps."""
    with Client() as client:
        sweeps = list(islice(client.sweeps.list(state=state, page_items=limit), limit))
    if as_json:
        print_json([sweep.to_json() for sweep in sweeps])
    elif sweeps:
        out.print(sweeps_table(sweeps, out.width))
    else:
        out.print("No sweeps yet. Submit one with: etalon sweep submit FILE")


@app.command("show")
@reports_errors
def show(sweep_id: SweepId, as_json: AsJson = False) -> None:
    """Show one sweep: state, progress, cost, prediction."""
    with Client() as client:
        _show(client.sweeps.get(sweep_id), as_json=as_json)


@app.command("watch")
@reports_errors
def watch_command(sweep_id: SweepId, as_json: AsJson = False) -> None:
    """Follow a sweep until it ends."""
    with Client() as client:
        sweep = client.sweeps.get(sweep_id)
        watch(sweep)
        _show(sweep, as_json=as_json)
    _exit_by_state(sweep.document)


def _command(change: Callable[[SweepHandle], SweepHandle]) -> Callable[..., None]:
    @reports_errors
    def command(sweep_id: SweepId, as_json: AsJson = False) -> None:
        with Client() as client:
            sweep = change(client.sweeps.get(sweep_id))
        if as_json:
            print_json(sweep.document.to_json())
        else:
            _show_warnings(sweep.document.warnings)
            out.print(f"{sweep.id} is {sweep.state}")

    return command


for change in (SweepHandle.pause, SweepHandle.resume, SweepHandle.stop, SweepHandle.cancel):
    app.command(change.__name__, help=change.__doc__)(_command(change))


@reports_errors
def plan_command(file: SpecFile, as_json: AsJson = False) -> None:
    """Show the cells and the cost of a sweep without submitting it; a table given by its path is uploaded."""
    with Client() as client:
        plan = client.sweeps.plan(file)
    if as_json:
        print_json(plan.to_json())
        return
    _show_warnings(plan.warnings)
    for part in plan_view(plan):
        out.print(part)


@reports_errors
def predict_command(
    sweep_id: SweepId,
    params: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT",
            help="Parameters N of the target, without embeddings: 1B, 1.5e9; by default the sweep's own target.",
        ),
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Training tokens D of the target: 20B, 1.5T.")
    ] = None,
    batch_tokens: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT", help="Tokens per step B: 262k, 1_048_576; by default the best one there."
        ),
    ] = None,
    budget_flops: Annotated[str | None, typer.Option(metavar="FLOPS", help=BUDGET_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the learning rate at a target from a sweep's newest law."""
    if (params is None) != (tokens is None):
        raise BadInput("A target has --params and --tokens both, or neither for the sweep's own target.")
    asked = (
        None if params is None or tokens is None else (amount("--params", params), amount("--tokens", tokens))
    )
    batch = None if batch_tokens is None else amount("--batch-tokens", batch_tokens)
    budget = flops_amount("--budget-flops", budget_flops)
    with Client() as client:
        sweep = client.sweeps.get(sweep_id)
        n, d = _own_target(sweep) if asked is None else asked
        prediction = sweep.predict(params=n, tokens=d, batch_tokens=batch, budget_flops=budget)
    if as_json:
        print_json(prediction.to_json())
    else:
        out.print(prediction_panel(prediction))


def _own_target(sweep: SweepHandle) -> tuple[float, float]:
    """N and D of a sweep's own target: that of its newest law's prediction, or of its specification."""
    found = sweep.document.prediction
    if found is not None:
        return found.target.params, found.target.tokens
    target = sweep.document.spec.target
    if target is None:
        reason = sweep.document.prediction_refused or "It has no law yet."
        raise BadInput(f"Sweep {sweep.id} names no target. {reason} Say which with --params and --tokens.")
    return target.params, target.tokens


@reports_errors
def table_command(file: TableFile, as_json: AsJson = False) -> None:
    """Upload a run table, for a replay or as prior runs."""
    with Client() as client:
        table = client.tables.upload(file)
    if as_json:
        print_json(table.to_json())
    else:
        out.print(
            f"{table.id}: {table.rows} runs in {table.cells} cell{'s' if table.cells > 1 else ''}{_ends_text(table)}",
            soft_wrap=True,
        )


def _namesakes(client: Client, sweep: SweepHandle) -> list[str]:
    """A warning if other sweeps have the name of a new one."""
    newest = client.sweeps.list(name=sweep.name, page_items=2)
    others = [item for item in islice(newest, 2) if item.id != sweep.id]
    if not others:
        return []
    created = f"{others[0].created_at:{CREATED}}"
    return [
        f"Another sweep has the name {sweep.name!r}, the last one created {created}: commands find this one by its id."
    ]


def _ends_text(table: TableDocument) -> str:
    """The runs of a table without a loss, and the rows that are left out."""
    ends = [
        f"{rows} {state}" for state, rows in (("diverged", table.diverged), ("failed", table.failed)) if rows
    ]
    left_out = [f"{rows} {state}" for state, rows in table.left_out.items()]
    beside = f"; left out: {', '.join(left_out)}" if left_out else ""
    return (f", of which {', '.join(ends)}" if ends else "") + beside


def _show_warnings(warnings: Iterable[str]) -> None:
    for warning in warnings:
        out.print(f"[yellow]! {escape(warning)}[/]", soft_wrap=True)


def _show(sweep: SweepHandle, *, as_json: bool) -> None:
    """The sweep, with the comparison at its held-out scale if it has one."""
    compared = None if sweep.document.spec.comparison is None else sweep.comparison
    if as_json:
        more = {} if compared is None else {"comparison": compared.to_json()}
        print_json({**sweep.document.to_json(), **more})
        return
    _show_sweep(sweep.document)
    if compared is not None:
        out.print(comparison_view(compared))


def _show_sweep(sweep: SweepDocument) -> None:
    cost = sweep.cost
    out.print(sweeps_table([sweep], out.width))
    if sweep.reason:
        out.print(f"{sweep.state}: {sweep.reason}", markup=False)
    if sweep.waits_because:
        out.print(f"waiting: {sweep.waits_because}", markup=False)
    _show_warnings(sweep.warnings)
    if cost.full_grid_flops:
        seconds = "" if cost.seconds is None else f", {duration(cost.seconds)} of worker time"
        out.print(
            f"spent {flops(cost.spent_flops)} of the full grid's {flops(cost.full_grid_flops)}{seconds}"
        )
    if cost.comparison_flops:
        out.print(f"and {flops(cost.comparison_flops)} for the comparison at the held-out scale")
    if sweep.prediction is not None:
        out.print(prediction_panel(sweep.prediction))
    elif sweep.prediction_refused:
        out.print(f"No prediction at the target: {sweep.prediction_refused}", markup=False)
    if sweep.law is not None and sweep.law.sizes is not None:
        for part in sizes_view(sweep.law.sizes):
            out.print(part)


def _exit_by_state(sweep: SweepDocument) -> None:
    if sweep.state in {SweepState.FAILED, SweepState.CANCELLED}:
        raise typer.Exit(Exit.FAILED)
