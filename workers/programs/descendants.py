"""Finds and ends processes: all descendants of this one, and all that carry a run's marker."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Final

import psutil

from workers.programs.order import MARKER

KEEPER_MARKER: Final = "ETALON_KEEPER"
"""Environment variable of a run's keeper, with the marker as value."""

PR_SET_CHILD_SUBREAPER: Final = 36
PATIENCE_SECONDS: Final = 10.0
"""How long to wait for processes that were killed; one that waits for a device may not die."""


def become_subreaper() -> None:
    """Become the parent of all orphans among this process's descendants (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def find_descendants() -> list[psutil.Process]:
    """Living descendants of this process."""
    return list(filter(_is_alive, psutil.Process().children(recursive=True)))


def end_descendants(reap: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> list[psutil.Process]:
    """Kill all descendants, again and again until none is left; returns those that do not die.

    Args:
        reap: takes the exit codes of children that have ended; returns whether any child is left.
        seconds: to try at most.
    """

    def find() -> list[psutil.Process]:
        return find_descendants() if reap() else []

    return _end(find, seconds)[1]


def find_marked(marker: str, names: Collection[str] = (MARKER,)) -> list[psutil.Process]:
    """Living processes of this node, other than this one, with the marker as value of one of these variables.

    Processes of other users cannot be read and are left out, and so are programs that overwrite their environment.
    """
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _has(process, names, marker) and _is_alive(process)
    ]


def end_marked(marker: str, names: Collection[str] = (MARKER,), seconds: float = PATIENCE_SECONDS) -> int:
    """Kill all processes of ``find_marked`` until none is left; returns how many there were."""
    return _end(lambda: find_marked(marker, names), seconds)[0]


def end_stopped(marker: str, names: Collection[str]) -> None:
    """Kill the processes of ``find_marked`` that are stopped, and so will never end by themselves."""
    for process in find_marked(marker, names):
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_STOPPED:
                process.kill()


def _end(find: Callable[[], list[psutil.Process]], seconds: float) -> tuple[int, list[psutil.Process]]:
    """Kill what is found until nothing is; returns how many there were, and which are left after ``seconds``."""
    deadline = time.monotonic() + seconds
    ended: set[int] = set()
    while (found := find()) and time.monotonic() < deadline:
        ended.update(process.pid for process in found)
        _kill(found)
        time.sleep(0.005)  # psutil would wait by taking the exit codes of this process's children
    return len(ended), found


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def _has(process: psutil.Process, names: Collection[str], marker: str) -> bool:
    try:
        environment = process.environ()
        return any(environment.get(name) == marker for name in names)
    except (psutil.Error, OSError):
        return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.Error:
        return False
