"""Liveness of this process, and readiness: whether database, orchestrator and Ray can be reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.context import Stored
from api.problem_details import MEDIA_TYPE
from orchestrator.errors import FieldProblem, Unavailable
from orchestrator.processes import probe
from orchestrator.store import LEADER, Store

router = APIRouter(tags=["operations"])

CONNECT_SECONDS: Final = 1.0
KEPT_SECONDS: Final = 3.0


class Alive(BaseModel):
    """The process answers."""

    status: str = Field(examples=["ok"])


class Ready(BaseModel):
    """Everything can be reached; each part with its state."""

    status: str = Field(examples=["ready"])
    checks: dict[str, str] = Field(examples=[{"database": "answers", "leader": "leads", "ray": "accepts"}])


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One part that the service depends on, and its state."""

    part: str
    ok: bool
    found: str


@router.get("/healthz", summary="Liveness")
def alive() -> Alive:
    """Answers as long as the process runs."""
    return Alive(status="ok")


@router.get(
    "/readyz",
    summary="Readiness: database, leader and Ray",
    responses={
        503: {
            "description": "A part cannot be reached; `errors` names it.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    },
)
def ready(request: Request, store: Stored) -> Ready:
    """Check the database, the orchestrator's lease and the Ray cluster."""
    checks = check(store, request.app.state.ray)
    missing = [found for found in checks if not found.ok]
    if missing:
        raise Unavailable(
            "Not ready: " + "; ".join(f"{found.part} {found.found}" for found in missing) + ".",
            fields=tuple(FieldProblem(path=found.part, message=found.found) for found in missing),
        )
    return Ready(status="ready", checks={found.part: found.found for found in checks})


def check(store: Store, ray: RayPort) -> tuple[Check, ...]:
    """Check each part once.

    Args:
        store: the database.
        ray: where the Ray cluster listens.
    """
    leader = _leader(store)
    if leader.part == "database":
        return (leader,)
    return Check(part="database", ok=True, found="answers"), leader, ray.check(leader)


def _leader(store: Store) -> Check:
    try:
        lease = store.leases.current(LEADER)
    except Unavailable:
        return Check(part="database", ok=False, found="does not answer, or `etalon db upgrade` was not run")
    if lease is None:
        return Check(part="leader", ok=False, found="is missing: no orchestrator holds the lease")
    return Check(part="leader", ok=True, found="holds its lease")


class RayPort:
    """The port of the Ray cluster, tried at most once in ``KEPT_SECONDS``: the endpoint needs no token.

    Args:
        address: ``host:port``; None if each orchestrator has a local cluster.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, address: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._clock = clock
        self._lock = Lock()
        self._known: tuple[float, Check] | None = None

    def check(self, leader: Check) -> Check:
        """Whether it accepts connections; a local cluster runs as long as the leader."""
        if self._address is None:
            return Check(part="ray", ok=leader.ok, found="is local: it runs with the orchestrator")
        with self._lock:
            if self._known is None or self._clock() - self._known[0] >= KEPT_SECONDS:
                self._known = self._clock(), _connected(self._address)
            return self._known[1]


def _connected(address: str) -> Check:
    try:
        probe(address, CONNECT_SECONDS)
    except ValueError:
        return Check(part="ray", ok=False, found=f"has no host:port in ETALON_RAY_ADDRESS ({address!r})")
    except OSError as error:
        return Check(part="ray", ok=False, found=f"does not accept connections at {address}: {error}")
    return Check(part="ray", ok=True, found="accepts connections")
