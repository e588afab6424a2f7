"""The progress of a live sweep: a bar in a terminal, a line per batch and law elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from etalon.cli.display import runs_text
from etalon.cli.outcome import err
from etalon.client import Client
from orchestrator.amounts import percent, rate

ENDED = ("completed", "diverged", "failed")
OPEN = ("pending", "running")


def watch(client: Client, sweep_id: str) -> dict[str, Any]:
    """Show a sweep until it is final, and return it as it ended."""
    states = client.follow(sweep_id)
    return _bar(states) if err.is_terminal else _lines(states)


def _bar(states: Iterable[dict[str, Any]]) -> dict[str, Any]:
    sweep: dict[str, Any] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[law]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as progress:
        told = None
        task = progress.add_task("", total=None, law="")
        for sweep in states:
            if sweep["waits_because"] not in {None, told}:
                err.print(f"waiting: {sweep['waits_because']}", markup=False, soft_wrap=True)
            told = sweep["waits_because"]
            by_state = sweep["progress"]["runs_by_state"]
            ended = sum(by_state.get(state, 0) for state in ENDED)
            total = ended + sum(by_state.get(state, 0) for state in OPEN)
            progress.update(
                task,
                description=f"batch {sweep['progress']['batches']} · {runs_text(sweep['progress'])} runs",
                completed=ended,
                total=total or None,
                law=_law_text(sweep, of="of the grid"),
            )
    return sweep


def _lines(states: Iterable[dict[str, Any]]) -> dict[str, Any]:
    sweep: dict[str, Any] = {}
    seen: tuple[object, ...] = ()
    for sweep in states:
        law = sweep["law"] and sweep["law"]["number"]
        now = (sweep["state"], sweep["progress"]["batches"], law, sweep["waits_because"])
        if now != seen:
            err.print(f"{_runs_text(sweep)} · {_law_text(sweep)}", soft_wrap=True)
            if sweep["waits_because"]:
                err.print(f"waiting: {sweep['waits_because']}", markup=False, soft_wrap=True)
            seen = now
    return sweep


def _runs_text(sweep: dict[str, Any]) -> str:
    batches = sweep["progress"]["batches"]
    return (
        f"{escape(sweep['name'])} · {sweep['state']} · batch {batches} · runs {runs_text(sweep['progress'])}"
    )


def _law_text(sweep: dict[str, Any], *, of: str = "of the grid's FLOPs spent") -> str:
    cost = sweep["cost"]
    full = cost["full_grid_flops"]
    spent = f" · {percent(cost['spent_flops'] / full)} {of}" if full else ""
    prediction = sweep["prediction"]
    if prediction is None:
        number = sweep["law"]["number"] if sweep["law"] else None
        return ("no law yet" if number is None else f"law {number}: no answer yet") + spent
    interval = prediction["interval"]
    return (
        f"law {prediction['law_number']}: {rate(prediction['learning_rate'])} "
        f"({rate(interval['low'])} … {rate(interval['high'])}){spent}"
    )
