"""``etalon compare``: strategies replayed on a user's own recorded runs, without a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.figures import comparison_figure, page
from etalon.cli.options import amount
from etalon.cli.outcome import err, out, print_json, tells_errors
from etalon.cli.tables import TableFile, Where, read_recipe
from orchestrator.amounts import NONE, count, percent
from orchestrator.answers.prediction import target_document
from orchestrator.errors import BadInput
from orchestrator.law.notices import messages
from orchestrator.strategies import (
    STRATEGIES,
    TITLE,
    Comparison,
    Contender,
    Replay,
    Score,
    World,
    compared,
    default_shares,
    note,
    replays,
    world_of,
)
from orchestrator.tables.pooled_columns import pooling_notices

REPLICATES: Final = 5
PICTURE: Final = Path("comparison.html")


@tells_errors
def compare_command(
    table: TableFile,
    where: Where = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(STRATEGIES)}; may repeat. By default all.")
    ] = None,
    share: Annotated[
        list[float] | None,
        typer.Option(metavar="PERCENT", help="Per cent of the full grid's FLOPs to judge at; may repeat."),
    ] = None,
    replicates: Annotated[
        int, typer.Option(min=1, help="Replays of each strategy, all but the first with a tenth missing.")
    ] = REPLICATES,
    batch_tokens: Annotated[
        str | None, typer.Option(help="Only the runs with this batch: 131_072, 65k.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help=f"The picture; by default {PICTURE}.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON; a picture only with --plot.")
    ] = False,
) -> None:
    """Compare strategies on finished runs: excess loss at the largest cells against what was spent on the others."""
    contenders = [Contender(strategy=name) for name in dict.fromkeys(strategy or STRATEGIES)]
    wanted = checked_shares(share or [])
    picture = plot or (None if as_json else PICTURE)
    check_place(picture)
    batch = [] if batch_tokens is None else [f"batch_tokens={amount('--batch-tokens', batch_tokens)!r}"]
    runs = read_recipe(table, [*(where or []), *batch])
    notices = pooling_notices(runs)
    world = world_of(runs)
    worlds = [world.replicate(number) for number in range(replicates)]
    shares = wanted or default_shares(world)
    comparison = compared(worlds, _shown(replays(contenders, worlds, shares), contenders, replicates))
    if picture is not None:
        write(picture, page(TITLE, comparison_figure(comparison, note(comparison, world))))
    if as_json:
        print_json(
            document(comparison, world, picture)
            | {"warnings": list(messages(notices)), "notices": [notice.to_document() for notice in notices]}
        )
    else:
        _show(comparison, world, picture)
        for warning in messages(notices):
            out.print(f"[yellow]! {escape(warning)}[/]")


def checked_shares(percents: Sequence[float]) -> tuple[float, ...]:
    """Shares given in per cent as fractions, ascending.

    Raises:
        BadInput: one of them is not above 0 and at most 100.
    """
    for value in percents:
        if not 0 < value <= 100:
            raise BadInput(
                f"--share {value:g}: give per cent of the full grid's FLOPs, above 0 and at most 100."
            )
    return tuple(value / 100 for value in sorted(set(percents)))


def check_place(picture: Path | None) -> None:
    """Refuse a place for the picture before the work is done.

    Raises:
        BadInput: it is a folder, or lies in none.
    """
    if picture is not None and picture.is_dir():
        raise BadInput(f"--plot {picture} is a folder; name a file in it.")
    if picture is not None and not picture.parent.is_dir():
        raise BadInput(f"--plot {picture}: there is no folder {picture.parent}.")


def write(picture: Path, text: str) -> None:
    """Write the picture.

    Raises:
        BadInput: the file cannot be written.
    """
    try:
        picture.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{picture} cannot be written: {error.strerror}.") from error


def document(comparison: Comparison, world: World, picture: Path | None) -> dict[str, Any]:
    """The comparison for programs; losses and shares are fractions."""
    return {
        "targets": [target_document(target.target).model_dump() for target in world.targets],
        "full_grid": {"cells": len(world.cells), "runs": world.runs, "flops": world.flops},
        "replicates": comparison.replicates,
        "excess_loss_without_runs": comparison.middle,
        "excess_loss_of_full_grid": comparison.full_grid,
        "strategies": [
            {
                "strategy": contender.strategy,
                "scores": [
                    {
                        "share": score.share,
                        "excess_loss": score.excess_loss,
                        "standard_error": score.standard_error,
                        "spent_share": score.spent,
                        "runs": score.runs,
                    }
                    for score in scores
                ],
            }
            for contender, scores in comparison.scores.items()
        ],
        "picture": None if picture is None else str(picture),
    }


def _shown(found: Iterator[Replay], contenders: Sequence[Contender], replicates: int) -> Iterator[Replay]:
    """The same replays, with a bar where somebody watches."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("replays"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(contenders[0].name, total=len(contenders) * replicates)
        for done, replay in enumerate(found, start=1):
            following = contenders[min(done // replicates, len(contenders) - 1)]
            progress.update(task, description=following.name, completed=done)
            yield replay


def _show(comparison: Comparison, world: World, picture: Path | None) -> None:
    out.print(note(comparison, world), markup=False)
    out.print("Mean excess loss at the targets in % ± standard error, by share of the full grid's FLOPs:")
    out.print()
    out.print(_scores_table(comparison))
    out.print()
    for contender in comparison.scores:
        out.print(f"{contender.name}: {STRATEGIES[contender.strategy]}", markup=False)
    if picture is not None:
        out.print(f"Picture: {picture}", markup=False)


def _scores_table(comparison: Comparison) -> Table:
    shares = [score.share for score in next(iter(comparison.scores.values()))]
    table = Table("strategy", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for share in shares:
        table.add_column(percent(share), justify="right", no_wrap=True)
    table.add_column("runs", justify="right")
    for contender, scores in comparison.scores.items():
        table.add_row(contender.name, *map(_score, scores), count(scores[-1].runs))
    table.add_row("no run", *[_per_cent(comparison.middle)] * len(shares), "0", style="dim")
    if comparison.full_grid is not None:
        table.add_row("all runs", *[_per_cent(comparison.full_grid)] * len(shares), style="dim")
    return table


def _score(score: Score) -> str:
    if score.standard_error is None:
        return _per_cent(score.excess_loss)
    return f"{_per_cent(score.excess_loss)} ±{_per_cent(score.standard_error)}"


def _per_cent(fraction: float | None) -> str:
    """Per cent without the sign: three decimals below 10, one above."""
    if fraction is None:
        return NONE
    return f"{100 * fraction:.3f}" if fraction < 0.1 else f"{100 * fraction:.1f}"
