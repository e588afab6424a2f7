"""``etalon sweep extend`` and ``clone``, and ``etalon run``: changes of submitted sweeps and of their runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from etalon.arguments import amount, flops_amount
from etalon.cli.options import AsJson, assignments
from etalon.cli.outcome import out, print_json, reports_errors
from etalon.cli.sweeps import SweepId
from etalon.client import Client
from orchestrator.documents.runs import RunDocument
from orchestrator.errors import BadInput
from orchestrator.spec import SweepSpec

NONE = "none"
"""Lifts a budget, a target or the precision to stop at."""

RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id, or its first 6 digits or more.")]
Amounts = Annotated[list[str] | None, typer.Option(metavar="AMOUNT", help="A further one; may repeat.")]
Limit = Annotated[str | None, typer.Option(metavar="AMOUNT", help="The whole new limit; none lifts it.")]

app = typer.Typer(no_args_is_help=True, help="Retry runs, or leave them out of the law.")


@reports_errors
def extend_command(  # noqa: PLR0913, PLR0917 - one option per field
    sweep_id: SweepId,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE,…", help="A further size, as width=128,depth=2; may repeat."),
    ] = None,
    tokens: Amounts = None,
    batch_tokens: Amounts = None,
    learning_rate: Annotated[
        list[float] | None, typer.Option(help="A further rate of a list; may repeat.")
    ] = None,
    min_rate: Annotated[float | None, typer.Option(help="Extend the lattice down to this rate.")] = None,
    max_rate: Annotated[float | None, typer.Option(help="Extend the lattice up to this rate.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of seeds.")] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="params=…,tokens=…", help="Another target, or fields of it; none for no target."
        ),
    ] = None,
    budget_runs: Limit = None,
    budget_flops: Limit = None,
    budget_seconds: Limit = None,
    interval_factor: Annotated[
        str | None, typer.Option(metavar="FACTOR", help="The precision to stop at; none for no such stop.")
    ] = None,
    max_parallel: Annotated[int | None, typer.Option(help="Runs at once.")] = None,
    as_json: AsJson = False,
) -> None:
    """Extend a sweep's grid, budget or target; a completed or stopped sweep runs on."""
    with Client() as client:
        sweep = client.sweeps.get(sweep_id)
        spec = sweep.document.spec
        grid: dict[str, Any] = {
            "scales": _longer(spec, "scales", [_scale(spec, item) for item in scale or ()]),
            "tokens": _longer(spec, "tokens", [amount("--tokens", item) for item in tokens or ()]),
            "batch_tokens": _longer(
                spec, "batch_tokens", [amount("--batch-tokens", item) for item in batch_tokens or ()]
            ),
            "learning_rates": _rates(spec, learning_rate or [], min_rate, max_rate),
            "seeds": seeds,
        }
        budget = {
            "runs": _limit("--budget-runs", budget_runs),
            "flops": _limit("--budget-flops", budget_flops),
            "seconds": _limit("--budget-seconds", budget_seconds),
        }
        fields = {
            "grid": _given(grid),
            "target": _target(target),
            "search": _given(
                {
                    "budget": _given(budget),
                    "stop": _given({"interval_factor": _limit("--interval-factor", interval_factor)}),
                }
            ),
            "resources": _given({"max_parallel": max_parallel}),
        }
        patch = _lifted(_given(fields)) or {}
        if name is not None:
            patch["name"] = name
        if not patch:
            raise BadInput("Nothing to change: give an option such as --tokens 800M or --budget-runs 200.")
        sweep.extend(patch, revision=sweep.document.revision)
        document = sweep.document
    if as_json:
        print_json(document.to_json())
    else:
        for warning in document.warnings:
            out.print(f"! {warning}", markup=False, soft_wrap=True)
        out.print(f"{document.id} is {document.state}, revision {document.revision}")


@reports_errors
def clone_command(
    sweep_id: SweepId,
    changed: Annotated[
        str, typer.Option("--patch", metavar="JSON", help="A JSON merge patch of the specification.")
    ] = "{}",
    as_json: AsJson = False,
) -> None:
    """Submit a changed copy of a sweep; it has no runs of the first one."""
    try:
        patch = json.loads(changed)
    except ValueError as error:
        raise BadInput(f"--patch is not JSON: {error}.") from error
    if not isinstance(patch, dict):
        raise BadInput('--patch must be a JSON object, such as \'{"name": "copy"}\'.')
    with Client() as client:
        copy = client.sweeps.get(sweep_id).clone(patch)
    if as_json:
        print_json(copy.document.to_json())
    else:
        out.print(f"Submitted {copy.id}   {copy.url}")


@app.command("exclude")
@reports_errors
def exclude_command(
    run_id: RunId,
    reason: Annotated[str, typer.Option(help="Why, for those who see the run.")] = "excluded by hand",
    as_json: AsJson = False,
) -> None:
    """Leave a run out of the law, which is fitted again at once."""
    with Client() as client:
        _show(client.runs.exclude(run_id, reason), "excluded", as_json=as_json)


@app.command("include")
@reports_errors
def include_command(run_id: RunId, as_json: AsJson = False) -> None:
    """Take an excluded run back into the law."""
    with Client() as client:
        _show(client.runs.include(run_id), "included", as_json=as_json)


@app.command("retry")
@reports_errors
def retry_command(run_id: RunId, as_json: AsJson = False) -> None:
    """Run a run again that failed, diverged, was cancelled or is excluded."""
    with Client() as client:
        _show(client.runs.retry(run_id), "retried", as_json=as_json)


def _show(run: RunDocument, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(run.to_json())
    else:
        out.print(f"{run.id} is {done}; it is {run.state}")


def _given(fields: dict[str, Any]) -> dict[str, Any] | None:
    """The fields that are given; None if none is."""
    return {name: value for name, value in fields.items() if value is not None} or None


def _lifted(fields: Any) -> Any:
    """The fields with null for ``none``."""
    if isinstance(fields, dict):
        return {name: None if value == NONE else _lifted(value) for name, value in fields.items()}
    return fields


def _limit(option: str, text: str | None) -> float | str | None:
    if text is None or text == NONE:
        return text
    return flops_amount(option, text) if option == "--budget-flops" else amount(option, text)


def _longer(spec: SweepSpec, axis: str, more: Iterable[Any]) -> list[Any] | None:
    """The whole axis with further entries; None without any."""
    known = spec.model_dump(mode="json")["grid"][axis]
    further = [item for item in more if item not in known]
    return [*known, *further] if further else None


def _rates(spec: SweepSpec, more: list[float], low: float | None, high: float | None) -> Any:
    known = spec.model_dump(mode="json")["grid"]["learning_rates"]
    if isinstance(known, dict):
        if more:
            raise BadInput("--learning-rate: the sweep has a lattice; extend it by --min-rate or --max-rate.")
        return _given({"min": low, "max": high})
    if low is not None or high is not None:
        raise BadInput("--min-rate, --max-rate: the sweep has a list of rates; add to it by --learning-rate.")
    return [*known, *more] if more else None


def _scale(spec: SweepSpec, text: str) -> dict[str, Any]:
    """A scale of the trainer's kind: a program's has params, and its other fields are the values that make it."""
    fields = {name: _value(value) for name, value in assignments(text.split(","), "--scale").items()}
    if spec.training.program is None:
        return fields
    return {"params": fields.pop("params", None), "with": fields}


def _target(text: str | None) -> Any:
    if text is None or text == NONE:
        return text
    return {
        name: amount(f"--target {name}", value)
        for name, value in assignments(text.split(","), "--target").items()
    }


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
