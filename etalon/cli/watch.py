"""The progress of a live sweep: a bar in a terminal, a line per batch and law elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from etalon.cli.display import ended_runs, runs_text
from etalon.cli.outcome import err
from etalon.client import SweepHandle
from orchestrator.amounts import percent, rate
from orchestrator.documents.sweeps import SweepDocument


def watch(sweep: SweepHandle) -> None:
    """Show a sweep until its state is final."""
    states = sweep.follow()
    if err.is_terminal:
        _bar(states)
    else:
        _lines(states)


def _bar(states: Iterable[SweepDocument]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[law]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as progress:
        task = progress.add_task("", total=None, law="")
        waited = None
        for sweep in states:
            if sweep.waits_because != waited:
                _show_waiting(sweep)
            waited = sweep.waits_because
            ended, asked = ended_runs(sweep.progress)
            progress.update(
                task,
                description=f"batch {sweep.progress.batches} · {runs_text(sweep.progress)} runs",
                completed=ended,
                total=asked or None,
                law=_law_text(sweep, of="of the grid"),
            )


def _lines(states: Iterable[SweepDocument]) -> None:
    shown: tuple[object, ...] = ()
    for sweep in states:
        law = None if sweep.law is None else sweep.law.number
        now = (sweep.state, sweep.progress.batches, law, sweep.waits_because)
        if now != shown:
            err.print(
                f"{escape(sweep.name)} · {sweep.state} · batch {sweep.progress.batches} · "
                f"runs {runs_text(sweep.progress)} · {_law_text(sweep)}",
                soft_wrap=True,
            )
            _show_waiting(sweep)
            shown = now


def _show_waiting(sweep: SweepDocument) -> None:
    if sweep.waits_because is not None:
        err.print(f"waiting: {sweep.waits_because}", markup=False, soft_wrap=True)


def _law_text(sweep: SweepDocument, *, of: str = "of the grid's FLOPs spent") -> str:
    full = sweep.cost.full_grid_flops
    spent = f" · {percent(sweep.cost.spent_flops / full)} {of}" if full else ""
    prediction = sweep.prediction
    if prediction is None:
        return ("no law yet" if sweep.law is None else f"law {sweep.law.number}: no prediction yet") + spent
    interval = prediction.interval
    return (
        f"law {prediction.law_number}: {rate(prediction.learning_rate)} "
        f"({rate(interval.low)} … {rate(interval.high)}){spent}"
    )
