"""Addresses where nothing is: a page for people's browsers, problem details for programs and all of ``/v1``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from api.dashboard.rendering import render
from api.problems import http_error, http_sentence

API: Final = "/v1"


def install(app: FastAPI) -> None:
    """Answer browsers with a page where ``api.problems`` would answer with problem details."""
    app.add_exception_handler(HTTPException, _page_or_problem)


def _page_or_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  the type that this handler is installed for
    if not _wants_page(request):
        return http_error(request, error)
    problem = {
        "title": HTTPStatus(error.status_code).phrase,
        "detail": http_sentence(request, error),
    }
    page = render(request, "problem.html", status=error.status_code, problem=problem)
    page.headers.update(error.headers or {})
    return page


def _wants_page(request: Request) -> bool:
    """Whether a browser asks for a page: programs accept anything, and do not name HTML."""
    path = request.url.path
    if path == API or path.startswith(f"{API}/"):
        return False
    kinds = (kind.partition(";")[0].strip().lower() for kind in request.headers.get("accept", "").split(","))
    return "text/html" in kinds
