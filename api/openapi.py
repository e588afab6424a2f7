"""The OpenAPI document: what the API says of itself beyond its endpoints."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import Problem
from orchestrator.spec import SweepSpec

TAGS: Final = [
    {"name": "tables", "description": "Finished runs as CSV, uploaded once and named by sweeps."},
    {"name": "sweeps", "description": "What is asked for, how far it is, what it costs."},
    {
        "name": "runs",
        "description": "Single trainings, their learning curves, and what two lenses saw of them.",
    },
    {"name": "laws", "description": "Every refit of the optimum's scaling law."},
    {"name": "predictions", "description": "The learning rate at any target, or an honest refusal."},
    {"name": "figures", "description": "Plotly figures, drawn on the server."},
    {"name": "events", "description": "Server-sent events."},
    {"name": "operations", "description": "For whoever runs the service."},
]

DESCRIPTION: Final = """Which peak learning rate for N parameters, D tokens and a batch of B tokens, and how sure are we?

Errors are problem details (RFC 9457). Tokens go in `Authorization: Bearer …`; where none was ever made, the
service answers this machine only. A token's scope is `read`, `submit` (reading included) or `admin` (all)."""


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
            _tell_problems_only(document)
            document["components"]["schemas"] |= _further_schemas()
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _tell_problems_only(document: dict[str, Any]) -> None:
    """Take out FastAPI's own form of a validation error, which is never sent."""
    for methods in document["paths"].values():
        for operation in methods.values():
            answer = operation["responses"].get("422", {})
            if "application/json" in answer.get("content", {}):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _further_schemas() -> dict[str, Any]:
    """Schemas that the endpoints name but FastAPI does not see: problems, and a sweep read from JSON or YAML."""
    schemas: dict[str, Any] = {}
    for model in (Problem, SweepSpec):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas


def _version() -> str:
    try:
        return version("etalon")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
