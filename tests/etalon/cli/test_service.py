"""The supervisor of one machine: what dies is started again, and what keeps dying ends it with its last lines."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from etalon.cli.service import MOST_RESTARTS, Service, ServiceFailed
from orchestrator.processes import Child, end_all
from orchestrator.settings import Settings
from tests.clock import Clock
from tests.waiting import until

DIES = "import sys; print('starting'); sys.exit('no space left on device')"
WORKS = "import os, threading; print(os.getpid(), flush=True); threading.Event().wait(60)"


def service_of(code: str, folder: Path, clock: Clock) -> Service:
    """A service whose only process runs a line of Python."""
    child = Child("api", [sys.executable, "-c", code], folder / "api.log", clock=clock)
    child.start()
    return Service(Settings(home=folder), "127.0.0.1", 8765, children=[child])


def test_a_process_that_keeps_dying_ends_the_service_with_its_last_lines(tmp_path: Path) -> None:
    clock = Clock()
    service = service_of(DIES, tmp_path, clock)
    (child,) = service.children
    for deaths in range(1, MOST_RESTARTS + 1):
        until(lambda: not child.is_alive())
        assert child.deaths == deaths
        service.tend()
        assert not child.is_alive(), "it was started again without a pause"
        clock.seconds += 20
        service.tend()
    until(lambda: not child.is_alive())
    clock.seconds += 20
    with pytest.raises(ServiceFailed, match=r"(?s)api died 6 times in a row.*no space left on device"):
        service.tend()


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    clock = Clock()
    service = service_of(WORKS, tmp_path, clock)
    (child,) = service.children
    try:
        first = logged_process(child, 1)
        first.kill()
        until(lambda: not child.is_alive())
        clock.seconds += 1
        service.tend()
        second = logged_process(child, 2)
        assert second.is_running()
    finally:
        end_all([child], seconds=30)
    assert not second.is_running()


def logged_process(child: Child, starts: int) -> psutil.Process:
    """The process that was started last, once it has written its id to the log."""
    until(lambda: len(child.tail(10)) >= starts)
    return psutil.Process(int(child.tail(10)[-1]))
