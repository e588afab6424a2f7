"""Both paradigms at a held-out scale, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Column, Table

from etalon.cli.display import target_text
from orchestrator.amounts import multipliers, percent, rate, readable
from orchestrator.documents.comparisons import ComparisonDocument, ContenderDocument

NONE = "–"


def comparison_view(compared: ComparisonDocument) -> RenderableType:
    """The table of contenders with the verdict under it; before the scores, the state of the comparison."""
    where = f"Fitting and Transfer at {target_text(compared.held_out.model_dump())}, {_seeds(compared.seeds)}"
    reason = f": {escape(readable(compared.reason))}" if compared.reason else ""
    if compared.verdict is None:
        return f"{where}\n{compared.state}{reason}"
    parts: list[RenderableType] = [where, *([f"{compared.state}{reason}"] if reason else [])]
    parts.append(contenders_table(compared.contenders))
    search = compared.module_search
    if search is not None and search.multipliers is not None:
        found = multipliers(search.multipliers)
        parts.append(f"[dim]rates by module, the best of {search.ended} trials at the base: {found}[/]")
    parts += [
        f"[dim]not compared: {escape(left_out.name)}, {escape(left_out.reason)}[/]"
        for left_out in compared.left_out
    ]
    return Group(*parts, f"[bold]{escape(readable(compared.verdict))}[/]")


def _seeds(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def contenders_table(contenders: Sequence[ContenderDocument]) -> Table:
    """Excess loss of every contender with its standard error, and the paired difference to Fitting."""
    table = Table(
        Column("", no_wrap=True),
        *(
            Column(heading, no_wrap=True, justify="right")
            for heading in ("learning rate", "excess loss", "± se", "to Fitting", "± 95 %")
        ),
        box=None,
        padding=(0, 1, 0, 0),
    )
    for item in contenders:
        excess, apart = item.excess_loss, item.difference
        table.add_row(
            escape(item.name),
            rate(item.learning_rate, 3),
            "diverged" if item.diverged else NONE if excess is None else percent(excess.value),
            NONE if excess is None else percent(excess.standard_error),
            NONE if apart is None else percent(apart.value),
            NONE if apart is None else percent(apart.half_width),
        )
    return table
