"""Uploading a run table."""

from __future__ import annotations

import numpy as np

from orchestrator.documents.tables import TableDocument
from orchestrator.store import Store
from orchestrator.tables.formats import read_table
from orchestrator.tables.text_columns import listed


def upload(store: Store, data: bytes) -> TableDocument:
    """Check a run table and keep it.

    Args:
        store: where it is kept; the same bytes again are the same table.
        data: the file, in one of ``FORMATS``.

    Raises:
        BadInput: it is not a run table.
    """
    runs = read_table(data)
    table = store.tables.add(data, rows=len(runs), cells=runs.cells)
    texts = runs.recipe_columns()
    return TableDocument.of(
        table,
        diverged=int((np.isnan(runs.loss) & ~runs.failed).sum()),
        failed=int(runs.failed.sum()),
        left_out=runs.left_out,
        recipes={name: listed(values) for name, values in texts.recipes.items()},
        ignored=listed(texts.ignored),
    )
