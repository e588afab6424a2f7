"""Several orchestrators on one database, with the times of a real service: another leads soon after the leader is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.loop.lease import is_held_by
from orchestrator.processes import service_folder
from orchestrator.store import LEADER, Store
from orchestrator.store.records import Lease
from tests.waiting import until

WITHIN_SECONDS = 10.0

ENVIRONMENT = {"ETALON_LEASE_SECONDS": "", "ETALON_TICK_SECONDS": "", "PYTHONPATH": str(service_folder())}
"""Empty settings are those of the service."""


@pytest.fixture(
    params=[
        pytest.param("postgresql_url", id="postgresql"),
        pytest.param("sqlite_url", id="sqlite", marks=pytest.mark.slow),
    ]
)
def url(request: pytest.FixtureRequest) -> str:
    """A migrated database."""
    return str(request.getfixturevalue(request.param))


class Rivals:
    """Orchestrator processes, of which one leads."""

    def __init__(self, url: str, folder: Path, closing: ExitStack) -> None:
        self.store = closing.enter_context(Store.open(url))
        environment = os.environ | ENVIRONMENT | {"ETALON_HOME": str(folder), "ETALON_DATABASE_URL": url}
        self.log = folder / "orchestrators.log"
        with self.log.open("ab") as log:
            self.processes = [
                subprocess.Popen([sys.executable, "-m", "orchestrator"], env=environment, stderr=log)
                for _ in range(3)
            ]

    def leader(self, *, after: int = 0) -> tuple[Lease, subprocess.Popen[bytes]] | None:
        """The lease and the process of the leader, if its fence is greater than ``after``."""
        held = self.store.leases.current(LEADER)
        if held is None or held.fence <= after:
            return None
        return held, next(process for process in self.processes if is_held_by(held, process.pid))

    def next_leader(self, seconds: float, *, after: int = 0) -> tuple[Lease, subprocess.Popen[bytes]]:
        """Wait for it."""
        until(
            lambda: self.leader(after=after) is not None,
            seconds=seconds,
            otherwise=self.log.read_text,
        )
        found = self.leader(after=after)
        assert found is not None
        return found


@pytest.fixture
def rivals(url: str, tmp_path: Path) -> Iterator[Rivals]:
    """Three orchestrators."""
    with ExitStack() as closing:
        rivals = Rivals(url, tmp_path, closing)
        yield rivals
        for process in rivals.processes:
            process.kill()
            process.wait()


def test_another_leads_soon_after_the_leader_is_killed_or_stopped(rivals: Rivals) -> None:
    first, killed = rivals.next_leader(90)
    renewed(rivals, first)
    killed.kill()
    second, stopped = rivals.next_leader(WITHIN_SECONDS, after=first.fence)
    renewed(rivals, second)
    stopped.send_signal(signal.SIGSTOP)
    third, last = rivals.next_leader(WITHIN_SECONDS, after=second.fence)
    stopped.send_signal(signal.SIGCONT)
    renewed(rivals, third)
    last.terminate()
    assert last.wait(timeout=60) == 0
    fourth, leader = rivals.next_leader(WITHIN_SECONDS, after=third.fence)
    assert (leader, fourth.fence) == (stopped, third.fence + 1)


def renewed(rivals: Rivals, lease: Lease) -> None:
    """Wait until a leader has renewed its lease, the moment from which a takeover takes longest."""
    until(lambda: (held := rivals.leader()) is not None and held[0].expires_at > lease.expires_at)
