"""The finished runs of a sweep as a run table in CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Final

from orchestrator.cells import Cells
from orchestrator.store import Store
from orchestrator.store.records import Run, Sweep, row_of

COLUMNS: Final = (
    *("params", "tokens", "batch_tokens", "learning_rate", "loss", "seed", "state", "flops", "gpu_seconds"),
    *("trunk", "trunk_loss", "cell", "batch", "params_total", "params_active"),
)
COMPARED: Final = ("arm", "module_rates")
"""Further columns of a sweep with a comparison at a held-out scale, whose runs are of other recipes."""

SEARCH: Final = "search"
"""Value of the column ``arm`` for runs of the search."""

ROWS_PER_PART: Final = 1000


def exported(store: Store, sweep: Sweep) -> Iterator[str]:
    """Yield the table in parts of whole lines, the header first. Excluded runs are left out, as they are of the law."""
    columns = COLUMNS if sweep.spec.comparison is None else COLUMNS + COMPARED
    cells = store.sweeps.cells(sweep.id)
    yield ",".join(columns) + "\r\n"
    cursor: str | None = None
    while True:
        runs, cursor, _ = store.runs.page(sweep.id, limit=ROWS_PER_PART, cursor=cursor)
        text = io.StringIO()
        # a run table reads an empty loss as a divergence
        csv.writer(text).writerows(_row(run, cells, columns) for run in runs if run.is_evidence)
        yield text.getvalue()
        if cursor is None:
            return


def _row(run: Run, cells: Cells, columns: Sequence[str]) -> list[str]:
    cell = cells[run.cell]
    extra = {"arm": cell.role or SEARCH, "gpu_seconds": run.seconds, "trunk": run.trunk_id}
    values = row_of(cell) | row_of(run) | extra
    return [_text(values[name]) for name in columns]


def _text(value: float | str | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
