"""What a user should know of a run table before a law is fitted to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from orchestrator.law.notices import Notice
from orchestrator.tables.picking import PYTHON, ignoring, picking
from orchestrator.tables.pooled_columns import FEW_VALUES, confounded, pooled
from orchestrator.tables.repeated_runs import contradictions
from orchestrator.tables.run_table import RunTable, states_in_words
from orchestrator.tables.text_columns import listed

LARGE_LOSS: Final = 12.0
"""In nats: ln of the number of tokens of a large vocabulary, the loss of a model that knows nothing."""


def table_notices(table: RunTable, where: str = PYTHON) -> tuple[Notice, ...]:
    """The notices of a table of one recipe: rows left out or contradictory, columns renamed, ignored or pooled.

    Args:
        table: the runs.
        where: the option that picks rows, for messages (``orchestrator.tables.picking``).
    """
    settings = pooled(table)
    return (
        *_of_columns(table),
        *_of_rows_left_out(table),
        *_of_settings(settings, where),
        *_of_confounded(table, where),
        *_of_losses(table),
        *_of_contradictions(table, settings),
    )


def _of_columns(table: RunTable) -> Iterator[Notice]:
    """Columns that are read under another name, and those that are ignored."""
    if table.renamed:
        read = ", ".join(f"{name} as {known}" for name, known in table.renamed.items())
        yield Notice(code="column_renamed", message=f"Read under another name: {read}.")
    names = table.recipe_columns().ignored
    if names:
        yield Notice(
            code="ignored_column",
            message=f"Ignored as no part of the recipe: {', '.join(listed(names))}. Nearly every run has another value "
            "there, or a date.",
        )


def _of_rows_left_out(table: RunTable) -> Iterator[Notice]:
    failed = int(table.failed.sum())
    without_result = ({"failed": failed} if failed else {}) | dict(table.left_out)
    if without_result:
        yield Notice(
            code="rows_left_out",
            message=f"Rows of runs without a result are left out: {states_in_words(without_result)}.",
        )


def _of_settings(settings: Mapping[str, Sequence[str]], where: str) -> Iterator[Notice]:
    """Columns that a law pools; of many values the first and last are named."""
    for name, values in settings.items():
        named = ", ".join(values) if len(values) <= FEW_VALUES else f"{values[0]} to {values[-1]}"
        yield Notice(
            code="pooled_column",
            message=f"{name} takes {len(values)} values ({named}) within one size, horizon and batch: pick one with "
            f"{picking(where, name)} if it is part of the recipe, else {ignoring(where, name)}.",
        )


def _of_confounded(table: RunTable, where: str) -> Iterator[Notice]:
    """Settings that change with the size, the horizon or the batch: part of what the law takes for their effect."""
    for name, (values, axes) in confounded(table).items():
        named = ", ".join(values) if len(values) <= FEW_VALUES else f"{values[0]} to {values[-1]}"
        with_axes = f"with {' and with '.join(axes)}" if axes else "from cell to cell"
        yield Notice(
            code="confounded_column",
            message=f"{name} changes {with_axes} ({named}), never within one size, horizon and batch: the law takes its "
            f"effect for theirs. Pick one with {picking(where, name)}, else {ignoring(where, name)}.",
        )


def _of_losses(table: RunTable) -> Iterator[Notice]:
    losses = table.loss[np.isfinite(table.loss)]
    middle = float(np.median(losses)) if len(losses) else 0.0
    if middle > LARGE_LOSS:
        yield Notice(
            code="large_losses",
            message=f"Half of the losses are {middle:.4g} or more, and a cross-entropy in nats is seldom above "
            f"{LARGE_LOSS:g}. If they are perplexities, take their logarithm.",
        )


def _of_contradictions(table: RunTable, settings: Collection[str]) -> Iterator[Notice]:
    """Rows of one run with two losses; two of them are named."""
    found = contradictions(table, settings)
    if found is None:
        return
    (row, other), seed = found.first, table.numbers("seed")[found.first[0]]
    others = found.count - 1
    more = (
        f", and there {'is' if others == 1 else 'are'} {others} more such run{'s' * (others > 1)}"
        if others
        else ""
    )
    yield Notice(
        code="contradictory_rows",
        message=f"Rows {table.rows[row]} and {table.rows[other]} are of one size, horizon, batch, learning rate and seed "
        f"({seed:.10g}) but have the losses {table.loss[row]:.6g} and {table.loss[other]:.6g}{more}. Both count as "
        "repeated runs: delete the wrong ones, or give them seeds of their own.",
    )
