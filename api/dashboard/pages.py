"""The pages' addresses."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from api.access import Reader, reads, submits
from api.bodies import YAML_TYPES, body_of, media_type, sweep_spec
from api.context import Configured, Stored
from api.dashboard.assets import static_file
from api.dashboard.error_pages import PageRoute
from api.dashboard.rendering import render
from api.dashboard.ruler import beside, extrapolations, ruler
from api.dashboard.views import LOG_TAILS, run_bar, run_view, submit_view, sweep_list, sweep_view
from api.figures import lens_figure, run_figure
from api.v1.figures import Columns
from api.v1.queries import MOST_LINES, ThatRun
from api.v1.trainers import documents_for
from orchestrator.answers.run_logs import log_document
from orchestrator.errors import BadInput
from orchestrator.spec import MAX_SWEEP_BYTES
from orchestrator.states import RunState, SweepState
from orchestrator.submission.preview import preview

SpecBody = Annotated[bytes, Depends(body_of(*YAML_TYPES, limit=MAX_SWEEP_BYTES))]

router = APIRouter(include_in_schema=False, route_class=PageRoute)
router.add_api_route("/static/{name}", static_file, methods=["GET"])


@router.get("/", dependencies=[reads])
def sweeps_page(request: Request, store: Stored, state: str = "", cursor: str | None = None) -> Response:
    """The list of sweeps."""
    chosen = SweepState(state) if state in set(SweepState) else None
    view = sweep_list(store, state=chosen, cursor=cursor or None)
    return render(request, "sweeps.html", view=view, states=list(SweepState), run_bar=run_bar)


@router.get("/sweeps/{sweep_id}", dependencies=[reads])
def sweep_page(request: Request, store: Stored, sweep_id: str) -> Response:
    """A sweep: state, prediction, figures, runs; with a target in the query, the prediction there."""
    return render(
        request,
        "sweep.html",
        view=sweep_view(store, sweep_id, dict(request.query_params)),
        run_states=list(RunState),
        ruler=ruler,
        extrapolations=extrapolations,
        beside=beside,
    )


@router.get("/runs/{run_id}", dependencies=[reads])
def run_page(request: Request, store: Stored, run_id: str, tail: str = "") -> Response:
    """A run with its learning curve and its output."""
    return render(request, "run.html", view=run_view(store, run_id, tail), tails=LOG_TAILS)


@router.get("/runs/{run_id}/log.txt", dependencies=[reads])
def run_log(store: Stored, run: ThatRun) -> Response:
    """All that is kept of a run's output, as a file."""
    text = log_document(run.id, store.logs.get(run.id), tail=MOST_LINES).text
    return PlainTextResponse(
        text,
        headers={"Content-Disposition": f'attachment; filename="{run.id}.log"', "Cache-Control": "no-store"},
    )


@router.get("/runs/{run_id}/figure.json", dependencies=[reads])
def run_curve(store: Stored, run_id: str) -> dict[str, Any]:
    """A run's learning curve as a figure."""
    return run_figure(store, run_id)


@router.get("/runs/{run_id}/lenses/{name}.json", dependencies=[reads])
def run_lens(store: Stored, run_id: str, name: str, columns: Columns = None) -> dict[str, Any]:
    """A lens's records of a run, as a figure."""
    return lens_figure(store, run_id, name, columns=columns)


@router.get("/submit")
def submit_page(
    request: Request, store: Stored, settings: Configured, caller: Reader, trainer: str = ""
) -> Response:
    """A form that checks, prices and submits a sweep in YAML, written for a registered trainer if one is chosen."""
    registered = documents_for(caller, store, settings)
    return render(request, "submit.html", view=submit_view(store, registered, trainer))


@router.post("/submit/plan", dependencies=[submits])
def plan_part(request: Request, store: Stored, settings: Configured, body: SpecBody) -> Response:
    """The plan and the cost of a sweep, as a part of the page; nothing is written."""
    try:
        plan = preview(sweep_spec(body, media_type(request)), store, settings)
    except BadInput as error:
        return render(request, "plan.html", status=HTTPStatus.UNPROCESSABLE_ENTITY, problem=error)
    return render(request, "plan.html", plan=plan, problem=None)


@router.get("/login")
def login_page(request: Request, store: Stored, refused: str = "") -> Response:
    """The form that takes a browser's token."""
    return render(
        request,
        "login.html",
        status=HTTPStatus.UNAUTHORIZED if refused else HTTPStatus.OK,
        refused=bool(refused),
        after=request.query_params.get("next", "/"),
        tokens_in_use=store.tokens.any(),
    )
