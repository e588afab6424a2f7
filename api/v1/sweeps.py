"""Sweeps: submission, lists, single ones, the commands that pause, resume, stop and cancel them, and their changes."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request, Response, status

from api.access import Submitter, reads
from api.bodies import (
    JSON_TYPES,
    PATCH_TYPES,
    YAML_TYPES,
    amount,
    body_of,
    media_type,
    merge_patch,
    sweep_spec,
)
from api.context import Configured, Stored
from api.problem_details import responses
from api.v1.queries import Cursor, Limit, ThatSweep
from orchestrator.answers.sweeps import sweep_document, sweep_summaries
from orchestrator.documents.document import Page
from orchestrator.documents.previews import PreviewDocument
from orchestrator.documents.sweeps import SweepDocument, SweepSummary
from orchestrator.spec import MAX_SWEEP_BYTES
from orchestrator.states import SweepState
from orchestrator.submission.preview import preview, submit
from orchestrator.submission.resumption import pause, resume
from orchestrator.submission.revision import clone, revise

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

_PATCH: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": f"A JSON merge patch (RFC 7396) of the specification, {amount(MAX_SWEEP_BYTES)} at most: null removes "
        "a field, a list replaces the whole one, so growth repeats the old entries.",
        "content": {
            kind: {
                "schema": {"type": "object", "title": "SweepPatch", "additionalProperties": True},
                "example": {"search": {"budget": {"runs": 400}}, "target": {"params": 2e9, "tokens": 4e10}},
            }
            for kind in PATCH_TYPES
        },
    }
}

PatchBody = Annotated[bytes, Depends(body_of(*PATCH_TYPES, limit=MAX_SWEEP_BYTES))]
IfMatch = Annotated[
    str | None,
    Header(
        max_length=200,
        pattern=r'^\s*(\*|(W/)?"[^"]*"(\s*,\s*(W/)?"[^"]*")*)\s*$',
        description='The revision that the change is made from, in quotes as the ETag has it: `"3"`. Another one is 412.',
    ),
]
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
def show_sweep(response: Response, store: Stored, sweep: ThatSweep) -> SweepDocument:
    """Show a sweep: specification, state, progress, cost, the newest law and the prediction at the target."""
    response.headers["ETag"] = f'"{sweep.revision}"'
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
    summary="Change a sweep: extend its budget, target or grid",
    responses=responses(404, 409, 412, 413, 415, 422),
    openapi_extra=_PATCH,
)
def change_sweep(
    response: Response,
    caller: Submitter,
    store: Stored,
    settings: Configured,
    sweep: ThatSweep,
    body: PatchBody,
    if_match: IfMatch = None,
) -> SweepDocument:
    """Change a sweep by a JSON merge patch; a completed or stopped one runs on.

    `name`, `target`, `search.budget`, `search.stop` and `resources` may change; the parts of `grid` may grow, never
    shrink. A grown lattice keeps every rate and continues its spacing. A change of the name alone starts nothing.
    """
    revisions = None if if_match is None else _revisions(if_match)
    changed, notices = revise(
        sweep, merge_patch(body), store, settings, revisions=revisions, actor=caller.name
    )
    response.headers["ETag"] = f'"{changed.revision}"'
    return sweep_document(store, changed, notices)


def _revisions(if_match: str) -> frozenset[int] | None:
    """The revisions of an If-Match; None for any. A weak tag never matches (RFC 9110, section 13.1.1)."""
    if if_match.strip() == "*":
        return None
    tags = (tag.strip() for tag in if_match.split(","))
    numbers = (tag[1:-1] for tag in tags if tag.startswith('"'))
    return frozenset(int(one) for one in numbers if one.isascii() and one.isdecimal() and len(one) < 10)


@router.post(
    "/{sweep_id}/clone",
    status_code=status.HTTP_201_CREATED,
    summary="Submit a changed copy",
    responses=responses(
        404,
        409,
        413,
        415,
        422,
        success={"model": SweepDocument, "description": "The earlier clone of this Idempotency-Key."},
    ),
    openapi_extra={"requestBody": _PATCH["requestBody"] | {"required": False}},
)
def clone_sweep(
    response: Response,
    caller: Submitter,
    store: Stored,
    settings: Configured,
    sweep: ThatSweep,
    body: PatchBody,
    idempotency_key: IdempotencyKey = None,
) -> SweepDocument:
    """Submit a new sweep with this one's specification after a merge patch of any fields; it has no runs of this one."""
    copy, new, notices = clone(
        sweep,
        merge_patch(body or b"{}"),
        store,
        settings,
        idempotency_key=idempotency_key,
        submitted_by=caller.name,
    )
    response.headers["Location"] = f"{router.prefix}/{copy.id}"
    response.status_code = status.HTTP_201_CREATED if new else status.HTTP_200_OK
    return sweep_document(store, copy, notices)
