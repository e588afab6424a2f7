"""Run tables: uploaded once, then named by sweeps."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, status

from api.access import submits
from api.bodies import MAX_TABLE_BYTES, amount, body_of
from api.context import Stored
from api.problem_details import responses
from orchestrator.answers.tables import upload
from orchestrator.documents.tables import TableDocument
from orchestrator.tables.formats import FORMATS

router = APIRouter(prefix="/v1/tables", tags=["tables"])

_ACCEPTED = tuple(media_type for known in FORMATS for media_type in known.media_types)

TableBody = Annotated[bytes, Depends(body_of(*_ACCEPTED, limit=MAX_TABLE_BYTES))]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    dependencies=[submits],
    summary="Upload a run table",
    responses=responses(413, 415, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": f"A run table in {' or '.join(known.name for known in FORMATS)}, "
            f"{amount(MAX_TABLE_BYTES)} at most.",
            "content": {
                known.media_types[0]: {"schema": {"type": "string"}, "example": known.example}
                for known in FORMATS
            },
        }
    },
)
def upload_table(store: Stored, body: TableBody) -> TableDocument:
    """Upload finished runs. Required columns: params, tokens, batch_tokens, learning_rate, loss; others are kept."""
    return upload(store, body)
