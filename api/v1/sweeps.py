"""Sweeps: submission, lists, single ones, and the commands that pause, resume, stop and cancel them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request, Response, status

from api.access import Submitter, reads, submits
from api.bodies import JSON_TYPES, YAML_TYPES, amount, body_of, media_type, sweep_spec
from api.context import Configured, Stored
from api.problem_details import NotYet, responses
from api.v1.queries import Cursor, Limit, ThatSweep
from orchestrator.answers.sweeps import sweep_document, sweep_summaries
from orchestrator.documents.document import Page
from orchestrator.documents.previews import PreviewDocument
from orchestrator.documents.sweeps import SweepDocument, SweepSummary
from orchestrator.spec import MAX_SWEEP_BYTES
from orchestrator.states import SweepState
from orchestrator.submission.preview import preview, submit
from orchestrator.submission.resumption import pause, resume

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"])

EXAMPLE: Final = {
    "name": "stdlib-dense",
    "trainer": {"kind": "proxy", "corpus": "stdlib"},
    "grid": {
        "scales": [{"width": 32, "depth": 2}, {"width": 64, "depth": 2}],
        "tokens": [400_000, 800_000],
        "batch_tokens": [2048],
        "learning_rates": {"min": 1e-4, "max": 1e-1, "per_octave": 2},
    },
    "search": {"strategy": "law", "budget": {"runs": 200}, "stop": {"interval_factor": 1.2}},
    "target": {"params": 1e9, "tokens": 2e10, "batch_tokens": 1048576},
}

_SPEC_SCHEMA: Final = {"$ref": "#/components/schemas/SweepSpec"}

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": f"A sweep in JSON or YAML, {amount(MAX_SWEEP_BYTES)} at most.",
        "content": {
            JSON_TYPES[0]: {"schema": _SPEC_SCHEMA, "example": EXAMPLE},
            YAML_TYPES[0]: {"schema": _SPEC_SCHEMA},
        },
    }
}

SweepBody = Annotated[bytes, Depends(body_of(*JSON_TYPES, *YAML_TYPES, limit=MAX_SWEEP_BYTES))]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        description="Your name for this request: repeating it returns the same sweep and creates no second one.",
    ),
]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=SweepDocument | PreviewDocument,
    summary="Submit a sweep",
    responses=responses(
        *(409, 413, 415, 422),
        success={
            "model": SweepDocument | PreviewDocument,
            "description": "The plan, with validate_only; or the sweep that this Idempotency-Key created before.",
        },
    ),
    openapi_extra=_BODY,
)
def submit_sweep(
    request: Request,
    response: Response,
    caller: Submitter,
    store: Stored,
    settings: Configured,
    body: SweepBody,
    idempotency_key: IdempotencyKey = None,
    validate_only: Annotated[bool, Query(description="Return the plan and its cost; write nothing.")] = False,
) -> SweepDocument | PreviewDocument:
    """Submit a sweep, or with `validate_only` return its cells and expected cost."""
    spec = sweep_spec(body, media_type(request))
    if validate_only:
        response.status_code = status.HTTP_200_OK
        return preview(spec, store, settings)
    sweep, new, notices = submit(
        spec, store, settings, idempotency_key=idempotency_key, submitted_by=caller.name
    )
    response.headers["Location"] = f"{router.prefix}/{sweep.id}"
    response.status_code = status.HTTP_201_CREATED if new else status.HTTP_200_OK
    return sweep_document(store, sweep, notices)


@router.get("", dependencies=[reads], summary="List sweeps, newest first", responses=responses(422))
def list_sweeps(
    store: Stored,
    state: Annotated[SweepState | None, Query(description="Only sweeps in this state.")] = None,
    name: Annotated[
        str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="Only sweeps of this name.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[SweepSummary]:
    """List sweeps with their progress, cost and prediction."""
    sweeps, following, total = store.sweeps.page(state=state, name=name, limit=limit, cursor=cursor)
    return Page(items=sweep_summaries(store, sweeps), next_cursor=following, total=total)


@router.get("/{sweep_id}", dependencies=[reads], summary="Show a sweep", responses=responses(404, 409))
def show_sweep(store: Stored, sweep: ThatSweep) -> SweepDocument:
    """Show a sweep: specification, state, progress, cost, the newest law and the prediction at the target."""
    return sweep_document(store, sweep)


@router.post(
    "/{sweep_id}/pause",
    summary="Pause: no new runs; proxies' runs continue, registered programs are ended",
    responses=responses(404, 409),
)
def pause_sweep(store: Stored, settings: Configured, caller: Submitter, sweep: ThatSweep) -> SweepDocument:
    """Start no further run. Running proxies continue; a registered program is asked to save, and ended.

    At resume it goes on from its checkpoint, or from its first token if its registration declares no ``resume``.
    """
    paused, notices = pause(sweep, store, settings, actor=caller.name)
    return sweep_document(store, paused, notices)


@router.post("/{sweep_id}/resume", summary="Resume a paused sweep", responses=responses(404, 409))
def resume_sweep(store: Stored, settings: Configured, caller: Submitter, sweep: ThatSweep) -> SweepDocument:
    """Continue a paused sweep. A registered program goes on as it is registered now, if it still makes the same runs."""
    resumed, notices = resume(sweep, store, settings, actor=caller.name)
    return sweep_document(store, resumed, notices)


@router.post("/{sweep_id}/stop", summary="Stop: live runs finish", responses=responses(404, 409))
def stop_sweep(store: Stored, caller: Submitter, sweep: ThatSweep) -> SweepDocument:
    """Ask for no more runs; the sweep is stopped once its live runs have finished."""
    return sweep_document(store, store.sweeps.stop(sweep.id, actor=caller.name))


@router.post("/{sweep_id}/cancel", summary="Cancel: live runs are killed", responses=responses(404, 409))
def cancel_sweep(store: Stored, caller: Submitter, sweep: ThatSweep) -> SweepDocument:
    """End the sweep now; finished runs are kept."""
    return sweep_document(store, store.sweeps.move(sweep.id, SweepState.CANCELLED, actor=caller.name))


@router.patch(
    "/{sweep_id}",
    dependencies=[submits],
    summary="Extend a sweep (not in this version yet)",
    responses=responses(404, 409, 501),
)
def extend_sweep(sweep: ThatSweep) -> SweepDocument:
    """Extend budget, target, tokens, scales or lattice of a live or completed sweep."""
    raise NotYet(
        f"Sweep {sweep.id} cannot be extended in this version. "
        "Submit a new sweep; its prior_runs can be this one's exported runs."
    )
