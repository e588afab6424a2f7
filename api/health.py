"""Liveness of this process, and readiness: whether database, orchestrator and Ray can be reached, and files written."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.context import Stored
from api.problem_details import MEDIA_TYPE
from orchestrator.errors import FieldProblem, Unavailable
from orchestrator.processes import probe
from orchestrator.settings import Settings
from orchestrator.store import LEADER, Store

router = APIRouter(tags=["operations"])

CONNECT_SECONDS: Final = 1.0
KEPT_SECONDS: Final = 3.0
"""Seconds for which the state of Ray's port and of the disks is cached: the endpoint needs no token."""

SPARE_BYTES: Final = 16 * 2**20
"""Room that a disk must have: for the log of SQLite and a few checkpoints."""


class Alive(BaseModel):
    """The process answers."""

    status: str = Field(examples=["ok"])


class Ready(BaseModel):
    """Everything can be reached; each part with its state."""

    status: str = Field(examples=["ready"])
    checks: dict[str, str] = Field(
        examples=[{"database": "answers", "disk": "has room", "leader": "leads", "ray": "accepts"}]
    )


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
    summary="Readiness: database, disk, leader and Ray",
    responses={
        503: {
            "description": "A part cannot be reached; `errors` names it.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    },
)
def ready(request: Request, store: Stored) -> Ready:
    """Check the database, the disks, the orchestrator's lease and the Ray cluster."""
    checks = check(store, request.app.state.ray, request.app.state.disk)
    missing = [found for found in checks if not found.ok]
    if missing:
        raise Unavailable(
            "Not ready: " + "; ".join(f"{found.part} {found.found}" for found in missing) + ".",
            fields=tuple(FieldProblem(path=found.part, message=found.found) for found in missing),
        )
    return Ready(status="ready", checks={found.part: found.found for found in checks})


def check(store: Store, ray: RayPort, disk: Disk) -> tuple[Check, ...]:
    """Check each part once.

    Args:
        store: the database.
        ray: where the Ray cluster listens.
        disk: the folders that this service writes.
    """
    leader = _leader(store)
    if leader.part == "database":
        return (leader,)
    return Check(part="database", ok=True, found="answers"), disk.check(), leader, ray.check(leader)


def _leader(store: Store) -> Check:
    try:
        lease = store.leases.current(LEADER)
    except Unavailable:
        return Check(part="database", ok=False, found="does not answer, or `etalon db upgrade` was not run")
    if lease is None:
        return Check(part="leader", ok=False, found="is missing: no orchestrator holds the lease")
    return Check(part="leader", ok=True, found="holds its lease")


class Disk:
    """The disks of the database's file and of the checkpoints, as far as this machine has them.

    Args:
        settings: name the folders.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        file = settings.database_file
        self._folders = {"checkpoints": settings.checkpoints} | (
            {"the database": file.parent} if file else {}
        )
        self._clock = clock
        self._lock = Lock()
        self._known: tuple[float, Check] | None = None

    def check(self) -> Check:
        """Whether each folder that exists can be written, and has room."""
        with self._lock:
            if self._known is None or self._clock() - self._known[0] >= KEPT_SECONDS:
                faults = [
                    fault for what, folder in self._folders.items() if (fault := _fault_of(what, folder))
                ]
                found = "; ".join(faults) or "has room"
                self._known = self._clock(), Check(part="disk", ok=not faults, found=found)
            return self._known[1]


def _fault_of(what: str, folder: Path) -> str | None:
    """The reason why a folder cannot be written, without its path: the endpoint needs no token.

    It is found by reserving room: quotas and mounts show nowhere else.
    """
    if not folder.is_dir():
        return None
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, SPARE_BYTES)
    except OSError as error:
        return f"of {what} cannot be written ({error.strerror or error}): it needs {SPARE_BYTES // 2**20} MiB of room"
    return None


class RayPort:
    """The port of the Ray cluster, tried at most once in ``KEPT_SECONDS``.

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
