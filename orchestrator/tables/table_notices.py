"""What a user should know of a run table before a law is fitted to it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.law.notices import Notice
from orchestrator.tables.picking import PYTHON, ignoring, picking
from orchestrator.tables.pooled_columns import FEW_VALUES, pooled
from orchestrator.tables.repeated_runs import Contradictions, contradictions
from orchestrator.tables.run_table import RunTable, states_in_words
from orchestrator.tables.text_columns import listed


def table_notices(table: RunTable, where: str = PYTHON) -> tuple[Notice, ...]:
    """The notices of a table of one recipe: rows left out or contradictory, columns ignored or pooled.

    Args:
        table: the runs.
        where: the option that picks rows, for messages (``orchestrator.tables.picking``).
    """
    failed = int(table.failed.sum())
    without_result = ({"failed": failed} if failed else {}) | dict(table.left_out)
    left_out = Notice(
        code="rows_left_out",
        message=f"Rows of runs without a result are left out: {states_in_words(without_result)}.",
    )
    read = ", ".join(f"{name} as {known}" for name, known in table.renamed.items())
    renamed = Notice(code="column_renamed", message=f"Read under another name: {read}.")
    names = table.recipe_columns().ignored
    ignored = Notice(
        code="ignored_column",
        message=f"Ignored as no part of the recipe: {', '.join(listed(names))}. Nearly every run has another value "
        "there, or a date.",
    )
    settings = pooled(table)
    pooling = (
        Notice(
            code="pooled_column",
            message=f"{name} takes {len(values)} values ({_in_words(values)}) within one size, horizon and batch: pick "
            f"one with {picking(where, name)} if it is part of the recipe, else {ignoring(where, name)}.",
        )
        for name, values in settings.items()
    )
    several = contradictions(table, settings)
    return (
        *((renamed,) if read else ()),
        *((left_out,) if without_result else ()),
        *((ignored,) if names else ()),
        *pooling,
        *((_contradiction(table, several),) if several else ()),
    )


def _in_words(values: Sequence[str]) -> str:
    """All of a few values, ascending, or the first and last of many."""
    return ", ".join(values) if len(values) <= FEW_VALUES else f"{values[0]} to {values[-1]}"


def _contradiction(table: RunTable, found: Contradictions) -> Notice:
    (row, other), seed = found.first, table.numbers("seed")[found.first[0]]
    more = f"; so have rows of {found.count - 1} more such runs" if found.count > 1 else ""
    return Notice(
        code="contradictory_rows",
        message=f"Rows {table.rows[row]} and {table.rows[other]} are of one size, horizon, batch, learning rate and seed "
        f"({seed:.10g}) but have the losses {table.loss[row]:.6g} and {table.loss[other]:.6g}{more}. Both count as "
        "repeated runs: delete the wrong ones, or give them seeds of their own.",
    )
