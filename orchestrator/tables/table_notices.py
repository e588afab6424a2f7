"""What a user should know of a run table before a law is fitted to it."""

from __future__ import annotations

from orchestrator.law.notices import Notice
from orchestrator.tables.picking import PYTHON, ignoring, picking
from orchestrator.tables.pooled_columns import pooled
from orchestrator.tables.run_table import RunTable, states_in_words
from orchestrator.tables.text_columns import listed


def table_notices(table: RunTable, where: str = PYTHON) -> tuple[Notice, ...]:
    """The notices of a table of one recipe: rows left out, columns ignored, and columns that a law pools.

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
    pooling = (
        Notice(
            code="pooled_column",
            message=f"{name} takes {len(values)} values ({', '.join(values)}) within one size, horizon and batch: pick "
            f"one with {picking(where, name)} if it is part of the recipe, else {ignoring(where, name)}.",
        )
        for name, values in pooled(table).items()
    )
    return (
        *((renamed,) if read else ()),
        *((left_out,) if without_result else ()),
        *((ignored,) if names else ()),
        *pooling,
    )
