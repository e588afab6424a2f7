"""Errors as pages for browsers; programs and all of ``/v1`` get problem details."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api.dashboard.rendering import render
from api.problem_details import NotSignedIn, http_error, http_sentence, name_all_methods, status_of
from orchestrator.errors import EtalonError

API: Final = "/v1"


class PageRoute(APIRoute):
    """A route whose refusals are pages; without a token it redirects to the sign-in page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's handler."""
        answer = super().get_route_handler()

        async def answer_or_refuse(request: Request) -> Response:
            try:
                return await answer(request)
            except NotSignedIn:
                wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse("/login?" + urlencode({"next": wanted}), status_code=303)
            except EtalonError as error:
                return _page(request, status_of(error), error.title, error.detail)

        return answer_or_refuse


def install(app: FastAPI) -> None:
    """Answer browsers with a page where ``api.problem_details`` would answer with problem details."""
    app.add_exception_handler(HTTPException, _page_or_problem)


def _page_or_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  the type that this handler is installed for
    if not _wants_page(request):
        return http_error(request, error)
    name_all_methods(request, error)
    page = _page(
        request,
        error.status_code,
        HTTPStatus(error.status_code).phrase,
        http_sentence(request, error),
    )
    page.headers.update(error.headers or {})
    return page


def _page(request: Request, status: int, title: str, detail: str) -> Response:
    return render(request, "problem.html", status=status, title=title, detail=detail)


def _wants_page(request: Request) -> bool:
    """Whether a browser asks for a page: programs accept anything, and do not name HTML."""
    path = request.url.path
    if path == API or path.startswith(f"{API}/"):
        return False
    kinds = (kind.partition(";")[0].strip().lower() for kind in request.headers.get("accept", "").split(","))
    return "text/html" in kinds
