"""Run tables: uploaded once, then named by sweeps."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, status

from api.access import submits
from api.bodies import CSV_TYPES, MAX_TABLE_BYTES, amount, body_of
from api.context import Stored
from api.problem_details import responses
from orchestrator.documents.tables import TableDocument
from orchestrator.submission.tables import upload

router = APIRouter(prefix="/v1/tables", tags=["tables"])

TableBody = Annotated[bytes, Depends(body_of(*CSV_TYPES, limit=MAX_TABLE_BYTES))]

_EXAMPLE = "params,tokens,batch_tokens,learning_rate,loss\r\n1e7,2e8,65536,1e-3,3.91\r\n"


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    dependencies=[submits],
    summary="Upload a run table",
    responses=responses(413, 415, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": f"A run table in CSV, UTF-8, {amount(MAX_TABLE_BYTES)} at most.",
            "content": {"text/csv": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
)
def upload_table(store: Stored, body: TableBody) -> TableDocument:
    """Upload finished runs. Required columns: params, tokens, batch_tokens, learning_rate, loss; others are kept."""
    return upload(store, body)
