"""``etalon compare``: strategies replayed on recorded runs, without a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from etalon.arguments import amount
from etalon.cli.options import AsJson, Ignore, TableFile, Where, read_recipe
from etalon.cli.outcome import err, out, print_json, reports_errors
from orchestrator.amounts import NONE, count, percent
from orchestrator.documents.strategies import StrategiesDocument, StrategyScore
from orchestrator.errors import BadInput
from orchestrator.extras import ExtraMissing, require, require_modules
from orchestrator.tables.picking import COMMAND

if TYPE_CHECKING:
    from orchestrator.law.notices import Notice
    from orchestrator.strategies.compared_strategies import ComparedStrategy
    from orchestrator.strategies.strategy_replay import StrategyReplay
    from orchestrator.strategies.strategy_scores import StrategyComparison

REPLICATES: Final = 5


@reports_errors
def compare_command(  # noqa: PLR0913, PLR0917 - the options of a command
    table: TableFile,
    where: Where = None,
    ignore: Ignore = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            help="law, four, grid, random, tpe or gp; may repeat. By default all that are installed."
        ),
    ] = None,
    share: Annotated[
        list[float] | None,
        typer.Option(
            metavar="PERCENT", help="Per cent of the full grid's FLOPs at which to judge; may repeat."
        ),
    ] = None,
    replicates: Annotated[
        int,
        typer.Option(
            min=1, max=1_000, help="Replays of each strategy, all but the first with a tenth missing."
        ),
    ] = REPLICATES,
    batch_tokens: Annotated[
        str | None, typer.Option(help="Only the runs with this batch: 131_072, 65k.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a picture of all replays to this HTML file (about 5 MB)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare strategies on finished runs: excess loss at the largest cells against FLOPs spent on the others."""
    if page is not None:
        require("server")  # Plotly draws the picture
    # SciPy and the planner take seconds to load.
    from orchestrator.strategies.compared_strategies import STRATEGIES, ComparedStrategy
    from orchestrator.strategies.recorded_world import recorded_world
    from orchestrator.strategies.strategy_replay import replays
    from orchestrator.strategies.strategy_scores import (
        TITLE,
        compared,
        default_shares,
        note,
        strategies_document,
    )
    from orchestrator.tables.table_notices import table_notices

    names, left_out = installed(strategy or [], STRATEGIES)
    contenders = [ComparedStrategy(strategy=name) for name in names]
    wanted = checked_shares(share or [])
    check_place(page)
    batch = [] if batch_tokens is None else [f"batch_tokens={amount('--batch-tokens', batch_tokens)!r}"]
    runs = read_recipe(table, [*(where or []), *batch], ignore or [])
    world = recorded_world(runs)
    worlds = [world.replicate(number) for number in range(replicates)]
    shares = wanted or default_shares(world)
    comparison = compared(worlds, _with_bar(replays(contenders, worlds, shares), contenders, replicates))
    summary = note(comparison, world)
    if page is not None:
        _write_page(page, TITLE, comparison, summary)
    notices = [*left_out, *table_notices(runs, COMMAND)]
    document = strategies_document(comparison, world, picture=page, notices=notices)
    if as_json:
        print_json(document.to_json())
    else:
        _show(document, summary, STRATEGIES)


def installed(chosen: Sequence[str], known: Iterable[str]) -> tuple[list[str], list[Notice]]:
    """The strategies to compare: the chosen ones, or all of which the libraries are installed.

    Returns:
        Their names, and a notice of each that is left out.

    Raises:
        ExtraMissing: the library of a chosen one is not installed.
    """
    from orchestrator.law.notices import Notice
    from orchestrator.planner.trials import NEEDED

    for name in chosen:
        require_modules(*NEEDED.get(name, ()))
    names, notices = list(dict.fromkeys(chosen or known)), []
    for name in [name for name in names if name in NEEDED]:
        try:
            require_modules(*NEEDED[name])
        except ExtraMissing as missing:
            names.remove(name)
            notices.append(Notice(code="strategy_left_out", message=f"{name} is left out. {missing.detail}"))
    return names, notices


def _write_page(file: Path, title: str, comparison: StrategyComparison, summary: str) -> None:
    from api.figures import comparison_figure, page

    write(file, page(title, comparison_figure(comparison, summary)))


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


def check_place(page: Path | None) -> None:
    """Refuse a file for the page that cannot be written, before the replays.

    Raises:
        BadInput: it is a folder, or its folder does not exist.
    """
    if page is not None and page.is_dir():
        raise BadInput(f"--page {page} is a folder; name a file in it.")
    if page is not None and not page.parent.is_dir():
        raise BadInput(f"--page {page}: there is no folder {page.parent}.")


def write(page: Path, text: str) -> None:
    """Write the page with the picture.

    Raises:
        BadInput: the file cannot be written.
    """
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"--page {page} cannot be written: {error.strerror}.") from error


def _with_bar(
    made: Iterator[StrategyReplay], contenders: Sequence[ComparedStrategy], replicates: int
) -> Iterator[StrategyReplay]:
    """The same replays, with a progress bar in a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("replays"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(contenders[0].name, total=len(contenders) * replicates)
        for done, replay in enumerate(made, start=1):
            following = contenders[min(done // replicates, len(contenders) - 1)]
            progress.update(task, description=following.name, completed=done)
            yield replay


def _show(document: StrategiesDocument, summary: str, meanings: dict[str, str]) -> None:
    out.print(summary, markup=False)
    out.print("Mean excess loss at the targets in % ± standard error, by share of the full grid's FLOPs:")
    out.print()
    out.print(_scores_table(document))
    out.print()
    for found in document.strategies:
        out.print(f"{found.strategy}: {meanings[found.strategy]}", markup=False)
    if document.picture is not None:
        out.print(f"Picture: {document.picture}", markup=False)
    for warning in document.warnings:
        out.print(f"[yellow]! {escape(warning)}[/]")


def _scores_table(document: StrategiesDocument) -> Table:
    shares = [score.share for score in document.strategies[0].scores]
    table = Table("strategy", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for share in shares:
        table.add_column(percent(share), justify="right", no_wrap=True)
    table.add_column("runs", justify="right")
    for found in document.strategies:
        table.add_row(found.strategy, *map(_score, found.scores), count(found.scores[-1].runs))
    table.add_row("no run", *[_per_cent(document.excess_loss_without_runs)] * len(shares), "0", style="dim")
    if document.excess_loss_of_full_grid is not None:
        table.add_row("all runs", *[_per_cent(document.excess_loss_of_full_grid)] * len(shares), style="dim")
    return table


def _score(score: StrategyScore) -> str:
    if score.standard_error is None:
        return _per_cent(score.excess_loss)
    return f"{_per_cent(score.excess_loss)} ±{_per_cent(score.standard_error)}"


def _per_cent(fraction: float | None) -> str:
    """Per cent without the sign: three decimals below 10, one above."""
    if fraction is None:
        return NONE
    return f"{100 * fraction:.3f}" if fraction < 0.1 else f"{100 * fraction:.1f}"
