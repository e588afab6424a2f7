"""Errors as RFC 9457 problem details, mapped from exceptions in one table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from orchestrator.documents.problems import PROBLEM_KINDS, TYPE_PREFIX, FieldError, ServedProblem
from orchestrator.errors import (
    BadInput,
    Conflict,
    EtalonError,
    FieldProblem,
    NotFound,
    Refused,
    Stale,
    Unavailable,
)

MEDIA_TYPE: Final = "application/problem+json"

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods of HTTP that a service may take."""

logger = logging.getLogger(__name__)


class NotSignedIn(EtalonError):
    """The request has no token, or an unknown one."""

    title = "A token is needed"


class NotAllowed(EtalonError):
    """The caller may not do this."""

    title = "Not allowed"


class TooLarge(EtalonError):
    """The body is larger than the endpoint reads."""

    title = "The body is too large"


class WrongMediaType(EtalonError):
    """The endpoint does not read bodies of this media type."""

    title = "Unsupported media type"


STATUSES: Final[dict[type[EtalonError], HTTPStatus]] = {
    BadInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Stale: HTTPStatus.PRECONDITION_FAILED,
    Refused: HTTPStatus.CONFLICT,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    NotSignedIn: HTTPStatus.UNAUTHORIZED,
    NotAllowed: HTTPStatus.FORBIDDEN,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    WrongMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
"""The status of each kind of refusal; any other kind is a fault of the service."""

KINDS: Final[dict[type[EtalonError], str]] = {
    **PROBLEM_KINDS,
    NotSignedIn: "not-signed-in",
    NotAllowed: "not-allowed",
    TooLarge: "too-large",
    WrongMediaType: "wrong-media-type",
}
"""The last part of ``type``, of the API's own refusals too."""

HEADERS: Final[dict[type[EtalonError], Mapping[str, str]]] = {
    NotSignedIn: {"WWW-Authenticate": 'Bearer realm="etalon"'},
    TooLarge: {"Connection": "close"},  # else the server reads the rest of the body
}
"""Headers of a kind of refusal."""


def responses(*statuses: int, success: Mapping[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """The responses in an endpoint's OpenAPI entry.

    Args:
        statuses: of its problems; 401 and 403 are added.
        success: the entry of 200, if the endpoint's return type does not give it.
    """
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    listed: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: schema}}
        for status in sorted({401, 403, *statuses})
    }
    if success is not None:
        listed[HTTPStatus.OK] = dict(success)
    return listed


def problem_response(
    request: Request,
    status: int,
    detail: str,
    *,
    title: str | None = None,
    kind: str | None = None,
    fields: tuple[FieldProblem, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build the response to an error.

    Args:
        request: the request.
        status: the HTTP status.
        detail: one or two full sentences.
        title: the kind of error in a few words; by default the status's own phrase.
        kind: the last part of ``type``; None gives ``about:blank``.
        fields: the fields at fault.
        headers: further headers, ``WWW-Authenticate`` or ``Allow``.
    """
    problem = ServedProblem(
        type=f"{TYPE_PREFIX}{kind}" if kind else "about:blank",
        title=title or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        errors=[FieldError(path=field.path, message=field.message) for field in fields],
        request_id=getattr(request.state, "request_id", None),
    )
    return JSONResponse(
        problem.to_json(),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=dict(headers or {}),
    )


def install(app: FastAPI) -> None:
    """Answer every refusal with problem details; ``api.traffic`` answers crashes."""
    app.add_exception_handler(EtalonError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, http_error)


def status_of(error: EtalonError) -> int:
    """The HTTP status of a refusal."""
    kind = _kind(error)
    return HTTPStatus.INTERNAL_SERVER_ERROR if kind is None else STATUSES[kind]


def _kind(error: EtalonError) -> type[EtalonError] | None:
    return next((kind for kind in type(error).__mro__ if kind in STATUSES), None)


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EtalonError)  # noqa: S101  the type that this handler is installed for
    known = _kind(error)
    if known is None:
        return crashed(request, error)
    return problem_response(
        request,
        STATUSES[known],
        error.detail,
        title=error.title,
        kind=KINDS[known],
        fields=error.fields,
        headers=HEADERS.get(known),
    )


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    fields = tuple(_field_problem(item) for item in error.errors())
    detail = "The request is not valid: " + "; ".join(f"{f.path}: {f.message}" for f in fields) + "."
    return _refused(request, BadInput(detail, fields=fields))


def _field_problem(item: Mapping[str, Any]) -> FieldProblem:
    where, *rest = (str(part) for part in item["loc"])
    value = item.get("input")
    got = f" (got {value!r})" if isinstance(value, str | int | float) else ""
    message = str(item["msg"]).removeprefix("Value error, ")
    return FieldProblem(path=".".join(rest) or where, message=f"{message}{got}")


def http_error(request: Request, error: Exception) -> JSONResponse:
    """The response to an unknown address or method."""
    assert isinstance(error, HTTPException)  # noqa: S101
    name_all_methods(request, error)
    return problem_response(request, error.status_code, http_sentence(request, error), headers=error.headers)


def name_all_methods(request: Request, error: HTTPException) -> None:
    """Complete the ``Allow`` of a 405: the router names the methods of the first route of a path alone."""
    if error.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
        return
    asked = ({**request.scope, "method": method} for method in METHODS)
    routes = request.app.router.routes
    found = [
        scope["method"] for scope in asked if any(route.matches(scope)[0] is Match.FULL for route in routes)
    ]
    error.headers = {**(error.headers or {}), "Allow": ", ".join(found)}


def http_sentence(request: Request, error: HTTPException) -> str:
    """Detail of a 404 or 405."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        return f"There is nothing at {request.url.path}. The API is described at /docs."
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        return f"{request.url.path} does not take {request.method}; it takes {allowed}."
    return str(error.detail)


def crashed(request: Request, error: Exception) -> JSONResponse:
    """The response to a fault of the service: logged whole, reported with its request's id only."""
    logger.error("request failed", exc_info=error, extra={"path": request.url.path})
    return problem_response(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The server failed. Its log has the reason under this request's id.",
    )
