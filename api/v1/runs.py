"""Runs: listed, shown, their learning curves and lenses, and the export as a run table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.access import reads, submits
from api.context import Stored
from api.problems import NotYet, responses
from api.v1.queries import Cursor, Limit, MaxPoints, ThatRun, ThatSweep
from orchestrator.answers.runs import curve_document, lenses_document, run_document
from orchestrator.documents.document import Page
from orchestrator.documents.lenses import LensesDocument
from orchestrator.documents.runs import CurveDocument, RunDocument
from orchestrator.planner.values import Cells
from orchestrator.states import RunState
from orchestrator.store import Store
from orchestrator.store.records import Run

router = APIRouter(prefix="/v1", tags=["runs"])

EXPORTED: Final = frozenset({RunState.COMPLETED, RunState.DIVERGED})
"""What a run table takes. It reads an empty loss as "diverged", which a rate that was ruled out, a run that is
still open and a failed machine are not."""

COLUMNS: Final = (
    *("params", "tokens", "batch_tokens", "learning_rate", "loss", "seed", "state", "flops", "seconds"),
    *("trunk_loss", "cell", "batch", "params_total", "params_active"),
)
COMPARED: Final = ("arm", "module_rates")
"""Further columns of a sweep that compares both paradigms: runs of other arms are of another recipe."""

SEARCH: Final = "search"
"""What the column arm says of the search's own runs."""

EXPORT_ROWS: Final = 1000


@router.get(
    "/sweeps/{sweep_id}/runs",
    dependencies=[reads],
    summary="List a sweep's runs",
    responses=responses(404, 422),
)
def list_runs(
    store: Stored,
    sweep: ThatSweep,
    state: Annotated[RunState | None, Query(description="Only runs in this state.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[RunDocument]:
    """List runs in the order in which they were asked for."""
    runs, following, total = store.runs.page(sweep.id, state=state, limit=limit, cursor=cursor)
    cells = store.sweeps.cells(sweep.id)
    return Page(items=[run_document(run, cells) for run in runs], next_cursor=following, total=total)


@router.get(
    "/sweeps/{sweep_id}/runs.csv",
    dependencies=[reads],
    summary="Export the finished runs as a run table",
    response_class=StreamingResponse,
    responses=responses(404, success={"content": {"text/csv": {"schema": {"type": "string"}}}}),
)
def export_runs(store: Stored, sweep: ThatSweep) -> StreamingResponse:
    """Export completed and diverged runs; upload the file elsewhere to fit, replay or build on them."""
    return StreamingResponse(
        _table(store, sweep.id, COLUMNS if sweep.spec.comparison is None else COLUMNS + COMPARED),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{sweep.id}.csv"'},
    )


@router.get("/runs/{run_id}", dependencies=[reads], summary="Show a run", responses=responses(404))
def show_run(store: Stored, run: ThatRun) -> RunDocument:
    """Show a run."""
    return run_document(run, store.sweeps.cells(run.sweep_id))


@router.get(
    "/runs/{run_id}/losses",
    dependencies=[reads],
    summary="A run's learning curve",
    responses=responses(404, 422),
)
def show_losses(store: Stored, run: ThatRun, max_points: MaxPoints = 500) -> CurveDocument:
    """The learning curve, the shared trunk's part first."""
    return curve_document(run, store.losses.curve(run, max_points=max_points))


@router.get(
    "/runs/{run_id}/lenses",
    dependencies=[reads],
    summary="What was seen of a run besides its losses",
    responses=responses(404),
)
def show_lenses(store: Stored, run: ThatRun) -> LensesDocument:
    """How stable the training was and how much each part of the model learned, the shared trunk's part first."""
    return lenses_document(run, store.sweeps.get(run.sweep_id), store.lenses.curve(run))


@router.post(
    "/runs/{run_id}/retry",
    dependencies=[submits],
    summary="Run a failed run again (not in this version yet)",
    responses=responses(404, 501),
)
def retry_run(run: ThatRun) -> RunDocument:
    """Run a failed run again."""
    raise NotYet(
        f"Run {run.id} cannot be retried by hand in this version; what the machine broke is retried by itself."
    )


@router.post(
    "/runs/{run_id}/exclude",
    dependencies=[submits],
    summary="Leave a run out of the law (not in this version yet)",
    responses=responses(404, 501),
)
def exclude_run(run: ThatRun) -> RunDocument:
    """Leave a run out of every later fit."""
    raise NotYet(
        f"Run {run.id} cannot be excluded in this version. Export the sweep's runs.csv, drop the row and fit that table."
    )


def _table(store: Store, sweep_id: str, columns: Sequence[str]) -> Iterator[str]:
    cells = store.sweeps.cells(sweep_id)
    yield ",".join(columns) + "\r\n"
    cursor: str | None = None
    while True:
        runs, cursor, _ = store.runs.page(sweep_id, limit=EXPORT_ROWS, cursor=cursor)
        text = io.StringIO()
        csv.writer(text).writerows(_row(run, cells, columns) for run in runs if run.state in EXPORTED)
        yield text.getvalue()
        if cursor is None:
            return


def _row(run: Run, cells: Cells, columns: Sequence[str]) -> list[str]:
    cell = cells[run.cell]
    values = {
        "params": cell.params,
        "tokens": cell.tokens,
        "batch_tokens": cell.batch_tokens,
        "learning_rate": run.learning_rate,
        "loss": run.loss,
        "seed": run.seed,
        "state": run.state,
        "flops": run.flops,
        "seconds": run.seconds,
        "trunk_loss": run.trunk_loss,
        "cell": run.cell,
        "batch": run.batch,
        "arm": cell.arm or SEARCH,
        "module_rates": run.module_rates,
        "params_total": cell.params_total,
        "params_active": cell.params_active,
    }
    return [_text(values[name]) for name in columns]


def _text(value: float | str | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
