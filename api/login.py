"""Signing in: a token typed once becomes a cookie that scripts cannot read."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse

from api.access import COOKIE, check_same_site, signed_in
from api.bodies import body_of
from api.context import Stored
from orchestrator.errors import BadInput

router = APIRouter(include_in_schema=False)

FORM_TYPE: Final = "application/x-www-form-urlencoded"
MAX_FORM_BYTES: Final = 16 * 2**10
COOKIE_SECONDS: Final = 30 * 24 * 3600

Form = Annotated[bytes, Depends(body_of(FORM_TYPE, limit=MAX_FORM_BYTES))]


@router.post("/login")
def log_in(request: Request, store: Stored, body: Form) -> RedirectResponse:
    """Take a form with `token` and `next`: redirect to `next` with the cookie, or back to the form."""
    check_same_site(request, must_say=False)
    form = _fields(body)
    after = local_path(form.get("next", "/"))
    secret = form.get("token", "").strip()
    if not signed_in(store, secret):
        return RedirectResponse("/login?" + urlencode({"refused": 1, "next": after}), status_code=303)
    response = RedirectResponse(after, status_code=303)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout")
def log_out(request: Request) -> RedirectResponse:
    """Delete the cookie."""
    check_same_site(request, must_say=False)
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def local_path(text: str) -> str:
    """The path to redirect to, if it is one of this service; else the start page."""
    parts = urlsplit(text)
    # Browsers read "//host" and "/\\host" as another site.
    local = text.startswith("/") and not text.startswith(("//", "/\\")) and not parts.netloc
    return text if local and text.isprintable() else "/"


def _fields(body: bytes) -> dict[str, str]:
    try:
        fields = parse_qs(body.decode(), strict_parsing=False, max_num_fields=10)
    except (UnicodeDecodeError, ValueError) as error:
        raise BadInput(f"The form cannot be read: {error}.") from error
    return {name: values[-1] for name, values in fields.items()}
