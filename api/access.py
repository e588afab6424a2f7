"""Access: bearer tokens with scopes, the browser's cookie, and the loopback rule without tokens."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from api.context import Stored
from api.problem_details import NotAllowed, NotSignedIn
from orchestrator.store import Store

COOKIE: Final = "etalon_token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OTHER_SITES: Final = frozenset({"cross-site", "same-site"})
"""Values of ``Sec-Fetch-Site`` of a request that a page of another origin has made."""

FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""Headers of a request that came through a proxy."""

HOST: Final = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]/@]+))(?::\d*)?")

WATCH_SECONDS: Final = 1.0
"""Seconds for which the tokens are cached for open event streams."""


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
        token_id: of its token.
    """

    name: str | None
    scopes: frozenset[str]
    token_id: str | None = None

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
                and the request comes from another machine or through a proxy.
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
    return Caller(name=token.name, scopes=frozenset(token.scopes), token_id=token.id)


class TokenWatch:
    """Whether the callers of open streams may still read: one query for all of them, at most once a second.

    Args:
        store: where the tokens are.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._looking = asyncio.Lock()
        self._ended: frozenset[str | None] = frozenset()
        self._looked: float | None = None

    async def holds(self, caller: Caller) -> bool:
        """Whether the caller's token is not revoked; without one, whether there is still no token at all.

        Raises:
            Unavailable: the database cannot be reached.
        """
        async with self._looking:
            if self._looked is None or self._clock() - self._looked >= WATCH_SECONDS:
                tokens = await run_in_threadpool(self._store.tokens.list)
                revoked = {token.id for token in tokens if token.revoked_at is not None}
                self._ended = frozenset({*revoked, None} if tokens else revoked)
                self._looked = self._clock()
        return caller.token_id not in self._ended  # a token that is newer than the look is not revoked


def _check_local(request: Request) -> None:
    client = request.client.host if request.client else ""
    if not is_loopback(client):
        raise NotAllowed(
            "No token exists, so the service answers this machine only. Create one with `etalon token create`."
        )
    host = _host(request)
    if host != "localhost" and not is_loopback(host):
        # A page that points its own name at 127.0.0.1 would otherwise reach the service through the browser.
        raise NotAllowed(
            f"No token exists, so the service answers at localhost and 127.0.0.1 only, not at {request.headers.get('host', '')!r}."
        )
    through = next((name for name in FORWARDED if name in request.headers), None)
    if through is not None:
        # Behind a proxy every request comes from this machine.
        raise NotAllowed(
            f"No token exists, so the service answers this machine only, and the header {through} says that the "
            "request came through a proxy. Create a token with `etalon token create`."
        )
    check_same_site(request, must_say=False)


def _host(request: Request) -> str:
    """The name in ``Host``, without port and brackets; "" if there is none there.

    Not from ``request.url``, which falls back to the server's own address where it takes a name for invalid, as it does
    ``a_b.example``.
    """
    given = request.headers.get("host")
    if given is None:  # HTTP/1.0; browsers always send it
        return request.url.hostname or ""
    found = HOST.fullmatch(given)
    return (found["address"] or found["name"]) if found else ""


def is_loopback(host: str) -> bool:
    """Whether an address is a loopback address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def check_same_site(request: Request, *, must_say: bool) -> None:
    """Refuse what a page of another site asks for: any change, and any reading but a link that is followed.

    Args:
        request: the request.
        must_say: whether a change without an ``Origin`` is refused too; browsers always send it with changes.

    Raises:
        NotAllowed: ``Sec-Fetch-Site`` or the ``Origin`` of a change is not this service's.
    """
    changes = request.method not in SAFE_METHODS
    site = request.headers.get("sec-fetch-site", "")
    if site in OTHER_SITES and (changes or not _follows_a_link(request)):
        raise NotAllowed(f"The request comes from a page of another site (Sec-Fetch-Site: {site}).")
    if not changes:
        return
    origin = request.headers.get("origin")
    if origin is None and not must_say:
        return
    if origin is None or origin.partition("://")[2] != request.headers.get("host"):
        raise NotAllowed(f"The request comes from {origin or 'no origin'}, not from this service.")


def _follows_a_link(request: Request) -> bool:
    asked = request.headers.get("sec-fetch-mode"), request.headers.get("sec-fetch-dest")
    return asked == ("navigate", "document")
