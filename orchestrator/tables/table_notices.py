"""What a user should know of a run table before a law is fitted to it."""

from __future__ import annotations

from orchestrator.law.notices import Notice
from orchestrator.tables.pooled_columns import pooled
from orchestrator.tables.run_table import RunTable, states_in_words


def table_notices(table: RunTable, where: str = "where") -> tuple[Notice, ...]:
    """The notices of a table of one recipe: rows left out, and columns that a law pools.

    Args:
        table: the runs.
        where: the option that picks rows, for messages.
    """
    left_out = (
        Notice(
            code="rows_left_out",
            message=f"Rows of runs that have not ended are left out: {states_in_words(table.left_out)}.",
        ),
    )
    pooling = (
        Notice(
            code="pooled_column",
            message=f"{name} takes {len(values)} values ({', '.join(values)}) within one size, horizon and batch: pick "
            f"one with {where} if it is part of the recipe.",
        )
        for name, values in pooled(table).items()
    )
    return (*(left_out if table.left_out else ()), *pooling)
