"""Who may do what: bearer tokens with scopes, the browser's cookie, and the loopback rule without tokens."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from api.context import Stored
from api.problems import NotAllowed, NotSignedIn
from orchestrator.store import Store

COOKIE: Final = "etalon_token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Scope(StrEnum):
    """What a token is good for; each includes the ones before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


INCLUDES: Final[dict[Scope, frozenset[Scope]]] = {
    Scope.READ: frozenset({Scope.READ, Scope.SUBMIT, Scope.ADMIN}),
    Scope.SUBMIT: frozenset({Scope.SUBMIT, Scope.ADMIN}),
    Scope.ADMIN: frozenset({Scope.ADMIN}),
}
"""For each scope that an endpoint needs, the scopes of a token that give it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: the token's name, or None where the service is open on loopback."""

    name: str | None


_bearer = HTTPBearer(auto_error=False, description="A token from `etalon token create`.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="Set by the dashboard's sign-in page.")


@dataclass(frozen=True, slots=True)
class Needs:
    """A dependency that lets a caller with a scope through."""

    scope: Scope

    def __call__(
        self,
        request: Request,
        store: Stored,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        cookie: Annotated[str | None, Security(_cookie)],
    ) -> Caller:
        """Check the caller.

        Raises:
            NotSignedIn: tokens are in use and none, or an unknown one, was shown.
            NotAllowed: the token lacks the scope; a page of another site asks; or no token is in use and
                the request does not come from this machine.
        """
        if not store.tokens.any():
            _check_local(request)
            return Caller(name=None)
        if bearer is None and cookie is not None:
            check_same_site(request, must_say=True)
        return _caller(store, bearer.credentials if bearer else cookie, self.scope)


reads = Depends(Needs(Scope.READ))
submits = Depends(Needs(Scope.SUBMIT))
Submitter = Annotated[Caller, submits]


def signed_in(store: Store, secret: str) -> bool:
    """Whether a token is known here."""
    return store.tokens.authenticate(secret) is not None


def _caller(store: Store, secret: str | None, scope: Scope) -> Caller:
    if not secret:
        raise NotSignedIn("Send a token: `Authorization: Bearer …`. `etalon token create` makes one.")
    token = store.tokens.authenticate(secret)
    if token is None:
        raise NotSignedIn("The token is not known here, or was revoked. `etalon token create` makes one.")
    if not token.scopes & INCLUDES[scope]:
        raise NotAllowed(
            f"The token {token.name!r} has the scope {', '.join(sorted(token.scopes)) or 'of nothing'}; "
            f"this needs {scope}."
        )
    return Caller(name=token.name)


def _check_local(request: Request) -> None:
    client = request.client.host if request.client else ""
    if not is_loopback(client):
        raise NotAllowed(
            "No token is configured, so only this machine is served. Make one with `etalon token create`."
        )
    host = request.url.hostname or ""
    if host != "localhost" and not is_loopback(host):
        # A page that points its own name at 127.0.0.1 would otherwise reach the service through the browser.
        raise NotAllowed(
            f"No token is configured, so the service answers to localhost and 127.0.0.1 only, not to {host!r}."
        )
    check_same_site(request, must_say=False)


def is_loopback(host: str) -> bool:
    """Whether an address, as text, is this machine's own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def check_same_site(request: Request, *, must_say: bool) -> None:
    """Refuse a change that a page of another site asks for in the user's name.

    Args:
        request: the request; reading is always let through.
        must_say: whether a request without an ``Origin`` is refused too; browsers always send it with changes.

    Raises:
        NotAllowed: the ``Origin`` is not this service.
    """
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("origin")
    if origin is None and not must_say:
        return
    if origin is None or urlsplit(origin).netloc != request.headers.get("host"):
        raise NotAllowed(f"The request comes from {origin or 'no origin'}, which is not this service.")
