"""The OpenAPI document: title, tags and the schemas that FastAPI does not collect from the endpoints."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from orchestrator.documents.events import PAYLOADS
from orchestrator.documents.problems import ServedProblem
from orchestrator.spec import SweepSpec

TAGS: Final = [
    {"name": "tables", "description": "Finished runs, uploaded once and named by sweeps."},
    {"name": "sweeps", "description": "Specifications, plans, progress and cost."},
    {"name": "runs", "description": "Single trainings, their learning curves and their lenses."},
    {"name": "laws", "description": "Every refit of the scaling law of the optimum."},
    {"name": "predictions", "description": "The learning rate at any target, or a refusal with its reason."},
    {"name": "figures", "description": "Plotly figures, drawn on the server."},
    {"name": "events", "description": "Server-sent events; the payload of each kind is a schema of its own."},
    {"name": "operations", "description": "Health and metrics, for operators."},
]

DESCRIPTION: Final = """Which peak learning rate for N parameters, D tokens and a batch of B tokens, and how sure are we?

Errors are problem details (RFC 9457). Send a token as `Authorization: Bearer …`; while no token exists, the
service answers requests from this machine only. The scope of a token is `read`, `submit` (includes `read`) or
`admin` (includes both)."""

SCHEMA_NAMES: Final = {
    "CellRole": "Arm",
    "CoefficientDocument": "Coefficient",
    "ComparisonStage": "Stage",
    "ServedProblem": "Problem",
}
"""Published names of schemas whose class has another name: generated clients depend on them."""


def described(app: FastAPI) -> FastAPI:
    """Give the application its title, version, tags and the schemas that its bodies and errors use."""
    app.title, app.version, app.description = "Etalon", _version(), DESCRIPTION
    app.openapi_tags = TAGS

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=DESCRIPTION,
                summary="The learning rate for a model that nobody can afford to sweep.",
                routes=app.routes,
                tags=TAGS,
                license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            )
            _drop_validation_errors(document)
            document["components"]["schemas"] |= _further_schemas()
            app.openapi_schema = _with_published_names(document)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _drop_validation_errors(document: dict[str, Any]) -> None:
    """Remove FastAPI's own schema of a validation error, which is never sent."""
    for methods in document["paths"].values():
        for operation in methods.values():
            answer = operation["responses"].get("422", {})
            if "application/json" in answer.get("content", {}):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _further_schemas() -> dict[str, Any]:
    """Schemas of problems, of a sweep in JSON or YAML, and of the payloads of events."""
    schemas: dict[str, Any] = {}
    models: tuple[type[BaseModel], ...] = (ServedProblem, SweepSpec, *PAYLOADS.values())
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas


def _with_published_names(document: dict[str, Any]) -> dict[str, Any]:
    """Rename schemas, and every reference to them, as ``SCHEMA_NAMES`` says."""
    text = json.dumps(document)
    for name, published in SCHEMA_NAMES.items():
        text = text.replace(f'"#/components/schemas/{name}"', f'"#/components/schemas/{published}"')
    renamed: dict[str, Any] = json.loads(text)
    schemas = renamed["components"]["schemas"]
    for name, published in SCHEMA_NAMES.items():
        schemas[published] = schemas.pop(name) | {"title": published}
    return renamed


def _version() -> str:
    try:
        return version("etalon")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
