"""Access: bearer tokens with scopes, the browser's cookie, and the loopback rule without tokens."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from api.context import Stored
from api.problem_details import NotAllowed, NotSignedIn
from orchestrator.store import Store

COOKIE: Final = "etalon_token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Scope(StrEnum):
    """The rights of a token; each scope includes the ones before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


INCLUDES: Final[dict[Scope, frozenset[Scope]]] = {
    Scope.READ: frozenset({Scope.READ, Scope.SUBMIT, Scope.ADMIN}),
    Scope.SUBMIT: frozenset({Scope.SUBMIT, Scope.ADMIN}),
    Scope.ADMIN: frozenset({Scope.ADMIN}),
}
"""For each scope that an endpoint needs, the scopes of a token that include it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The caller.

    Attributes:
        name: of its token; None if the service is open on loopback.
        scopes: of its token; all of them without tokens.
    """

    name: str | None
    scopes: frozenset[str]

    def has(self, scope: Scope) -> bool:
        """Whether the caller has the rights of a scope."""
        return bool(self.scopes & INCLUDES[scope])


_bearer = HTTPBearer(auto_error=False, description="A token from `etalon token create`.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="Set by the dashboard's sign-in page.")


@dataclass(frozen=True, slots=True)
class Needs:
    """A dependency that admits callers with a scope."""

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
            NotSignedIn: tokens exist, and the request has none or an unknown one.
            NotAllowed: the token lacks the scope; the request comes from a page of another site; or no token exists
                and the request comes from another machine.
        """
        if not store.tokens.any():
            _check_local(request)
            return Caller(name=None, scopes=frozenset(Scope))
        if bearer is None and cookie is not None:
            check_same_site(request, must_say=True)
        return _caller(store, bearer.credentials if bearer else cookie, self.scope)


reads = Depends(Needs(Scope.READ))
submits = Depends(Needs(Scope.SUBMIT))
Reader = Annotated[Caller, reads]
Submitter = Annotated[Caller, submits]


def signed_in(store: Store, secret: str) -> bool:
    """Whether a token is known."""
    return store.tokens.authenticate(secret) is not None


def _caller(store: Store, secret: str | None, scope: Scope) -> Caller:
    if not secret:
        raise NotSignedIn("Send a token: `Authorization: Bearer …`. `etalon token create` creates one.")
    token = store.tokens.authenticate(secret)
    if token is None:
        raise NotSignedIn("The token is unknown or revoked. `etalon token create` creates one.")
    if not token.scopes & INCLUDES[scope]:
        raise NotAllowed(
            f"The token {token.name!r} has the scopes {', '.join(sorted(token.scopes)) or 'none'}; "
            f"this request needs {scope}."
        )
    return Caller(name=token.name, scopes=frozenset(token.scopes))


def _check_local(request: Request) -> None:
    client = request.client.host if request.client else ""
    if not is_loopback(client):
        raise NotAllowed(
            "No token exists, so the service answers this machine only. Create one with `etalon token create`."
        )
    host = request.url.hostname or ""
    if host != "localhost" and not is_loopback(host):
        # A page that points its own name at 127.0.0.1 would otherwise reach the service through the browser.
        raise NotAllowed(
            f"No token exists, so the service answers at localhost and 127.0.0.1 only, not at {host!r}."
        )
    check_same_site(request, must_say=False)


def is_loopback(host: str) -> bool:
    """Whether an address is a loopback address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def check_same_site(request: Request, *, must_say: bool) -> None:
    """Refuse a change requested by a page of another site.

    Args:
        request: the request; safe methods are always admitted.
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
        raise NotAllowed(f"The request comes from {origin or 'no origin'}, not from this service.")
