"""Runs: lists of them, single ones, their curves, lenses and export, and what users change of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.access import Submitter, reads
from api.context import Stored
from api.problem_details import responses
from api.v1.queries import After, Cursor, Limit, MaxPoints, Tail, ThatRun, ThatSweep
from orchestrator.answers.export import exported
from orchestrator.answers.run_logs import log_document
from orchestrator.answers.runs import curve_document, lenses_document, run_document
from orchestrator.documents.document import Page
from orchestrator.documents.lenses import LensesDocument
from orchestrator.documents.runs import CurveDocument, ExclusionRequest, LogDocument, RunDocument
from orchestrator.states import RunState
from orchestrator.store.records import Run

router = APIRouter(prefix="/v1", tags=["runs"])


@router.get(
    "/sweeps/{sweep_id}/runs",
    dependencies=[reads],
    summary="List a sweep's runs",
    responses=responses(404, 409, 422),
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
    responses=responses(404, 409, success={"content": {"text/csv": {"schema": {"type": "string"}}}}),
)
def export_runs(store: Stored, sweep: ThatSweep) -> StreamingResponse:
    """Export completed and diverged runs. The file can be uploaded as a run table."""
    return StreamingResponse(
        exported(store, sweep),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{sweep.id}.csv"'},
    )


@router.get("/runs/{run_id}", dependencies=[reads], summary="Show a run", responses=responses(404, 409))
def show_run(store: Stored, run: ThatRun) -> RunDocument:
    """Show a run."""
    return run_document(run, store.sweeps.cells(run.sweep_id))


@router.get(
    "/runs/{run_id}/losses",
    dependencies=[reads],
    summary="Show a learning curve",
    responses=responses(404, 409, 422),
)
def show_losses(store: Stored, run: ThatRun, max_points: MaxPoints = 500) -> CurveDocument:
    """Show a learning curve, the shared trunk's part first."""
    return curve_document(run, store.losses.curve(run), max_points=max_points)


@router.get(
    "/runs/{run_id}/log",
    dependencies=[reads],
    summary="Show the last lines of a run's output",
    responses=responses(404, 409, 422),
)
def show_log(store: Stored, run: ThatRun, tail: Tail = 200, after: After = 0) -> LogDocument:
    """Show what the program of a run printed last; proxies print nothing."""
    return log_document(run.id, store.logs.get(run.id), tail=tail, after=after)


@router.get(
    "/runs/{run_id}/lenses",
    dependencies=[reads],
    summary="Show what the lenses recorded",
    responses=responses(404, 409),
)
def show_lenses(store: Stored, run: ThatRun) -> LensesDocument:
    """Show the stability of the training and the feature learning by part of the model, the shared trunk's part first."""
    return lenses_document(run, store.sweeps.get(run.sweep_id), store.lenses.curve(run))


@router.post("/runs/{run_id}/retry", summary="Run a run again", responses=responses(404, 409))
def retry_run(store: Stored, caller: Submitter, run: ThatRun) -> RunDocument:
    """Run a run again that failed, diverged, was cancelled or is excluded; a sweep that has ended runs on."""
    return _document(store, store.revisions.retry(run.id, actor=caller.name))


@router.post(
    "/runs/{run_id}/exclude", summary="Leave a run out of the law", responses=responses(404, 409, 422)
)
def exclude_run(store: Stored, caller: Submitter, run: ThatRun, exclusion: ExclusionRequest) -> RunDocument:
    """Leave a run out of every later law, and fit a new one at once, also of a completed sweep.

    It stays visible, and is not run again unless it is retried.
    """
    return _document(store, store.revisions.exclude(run.id, exclusion.reason, actor=caller.name))


@router.post("/runs/{run_id}/include", summary="Take an excluded run back", responses=responses(404, 409))
def include_run(store: Stored, caller: Submitter, run: ThatRun) -> RunDocument:
    """Take an excluded run back into the law, which is fitted again at once."""
    return _document(store, store.revisions.include(run.id, actor=caller.name))


def _document(store: Stored, run: Run) -> RunDocument:
    return run_document(run, store.sweeps.cells(run.sweep_id))
