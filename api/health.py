"""Whether this process lives, and whether everything that it leans on can be reached."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.context import Configured, Stored
from api.problems import MEDIA_TYPE
from orchestrator.errors import FieldProblem, Unavailable
from orchestrator.store import LEADER, Store

router = APIRouter(tags=["operations"])

CONNECT_SECONDS: Final = 1.0


class Alive(BaseModel):
    """The process answers."""

    status: str = Field(examples=["ok"])


class Ready(BaseModel):
    """Everything can be reached; each part with what was found."""

    status: str = Field(examples=["ready"])
    checks: dict[str, str] = Field(examples=[{"database": "answers", "leader": "leads", "ray": "accepts"}])


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One part that the service leans on, and what was found."""

    part: str
    ok: bool
    found: str


@router.get("/healthz", summary="Does the process live?")
def alive() -> Alive:
    """Answer, that is all."""
    return Alive(status="ok")


@router.get(
    "/readyz",
    summary="Can database, leader and Ray be reached?",
    responses={
        503: {
            "description": "A part is missing; `errors` says which.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    },
)
def ready(store: Stored, settings: Configured) -> Ready:
    """Look at the database, the orchestrator's lease and the Ray cluster."""
    checks = check(store, settings.ray_address)
    missing = [found for found in checks if not found.ok]
    if missing:
        raise Unavailable(
            "Not ready: " + "; ".join(f"{found.part} {found.found}" for found in missing) + ".",
            fields=tuple(FieldProblem(path=found.part, message=found.found) for found in missing),
        )
    return Ready(status="ready", checks={found.part: found.found for found in checks})


def check(store: Store, ray_address: str | None) -> tuple[Check, ...]:
    """Look at each part once.

    Args:
        store: the database.
        ray_address: ``host:port`` of the Ray cluster; None where each orchestrator has a local one.
    """
    leader = _leader(store)
    if leader.part == "database":
        return (leader,)
    return Check(part="database", ok=True, found="answers"), leader, _ray(ray_address, leader)


def _leader(store: Store) -> Check:
    try:
        lease = store.leases.current(LEADER)
    except Unavailable:
        return Check(
            part="database", ok=False, found="does not answer, or `etalon db upgrade` was not called"
        )
    if lease is None:
        return Check(part="leader", ok=False, found="is missing: no orchestrator holds the lease")
    return Check(part="leader", ok=True, found="holds its lease")


def _ray(address: str | None, leader: Check) -> Check:
    if address is None:
        return Check(part="ray", ok=leader.ok, found="is local: it lives with the orchestrator")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return Check(part="ray", ok=False, found=f"has no host:port in ETALON_RAY_ADDRESS ({address!r})")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
            return Check(part="ray", ok=True, found="accepts connections")
    except (OSError, OverflowError) as error:
        return Check(part="ray", ok=False, found=f"does not accept connections at {address}: {error}")
