"""The driver processes that this orchestrator has started: at most one per sweep."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.private import make_empty_folder, make_folder
from orchestrator.processes import Child, end_all
from orchestrator.settings import Settings


def workers_command(sweep_id: str) -> Sequence[str]:
    """The command that drives a sweep; by name, so that the orchestrator imports no Ray."""
    return [sys.executable, "-m", "workers", sweep_id]


class Drivers:
    """The drivers started here, by sweep."""

    def __init__(
        self,
        settings: Settings,
        *,
        command: Callable[[str], Sequence[str]] = workers_command,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create without starting a driver.

        Args:
            settings: name the home, which holds the drivers' logs, one file per sweep.
            command: the command line that drives a sweep.
            clock: seconds that only grow.
        """
        self._settings, self._command, self._clock = settings, command, clock
        self._children: dict[str, Child] = {}

    def start(self, sweep_id: str) -> None:
        """Start a sweep's driver."""
        if sweep_id not in self._children:
            make_folder(self._settings.home / "logs")
            make_empty_folder(self._settings.empty_folder)
            self._children[sweep_id] = Child(
                "driver",
                self._command(sweep_id),
                self.log_of(sweep_id),
                folder=self._settings.empty_folder,
                environment=self._settings.child_environment(),
                facts={"sweep_id": sweep_id},
                clock=self._clock,
            )
        self._children[sweep_id].start()

    def alive(self, sweep_id: str) -> bool:
        """Whether a driver started here still lives."""
        return sweep_id in self._children and self._children[sweep_id].is_alive()

    def pids(self) -> dict[str, int]:
        """Process ids of the living drivers started here, by sweep."""
        living = {sweep_id: child.pid for sweep_id, child in self._children.items() if child.is_alive()}
        return {sweep_id: pid for sweep_id, pid in living.items() if pid is not None}

    def kill(self, sweep_id: str) -> None:
        """Kill a sweep's driver with everything that it started, even if they are stopped."""
        self._children[sweep_id].kill()

    def rests(self, sweep_id: str) -> bool:
        """Whether the next driver should wait, because the last one ended only now."""
        return sweep_id in self._children and self._children[sweep_id].is_resting()

    def deaths(self, sweep_id: str) -> int:
        """Drivers of this sweep in a row that died soon after their start."""
        return self._children[sweep_id].deaths if sweep_id in self._children else 0

    def forgive(self, sweep_id: str) -> None:
        """Count no death of this sweep's drivers so far: they have done some of their work."""
        if sweep_id in self._children:
            self._children[sweep_id].forgive()

    def last_message_of(self, sweep_id: str) -> str | None:
        """The last message that the driver which ended last had logged; None if there is none."""
        return self._children[sweep_id].last_message if sweep_id in self._children else None

    def reap(self, live: set[str]) -> None:
        """Forget the drivers of sweeps that are no longer live, once they have ended."""
        for sweep_id in self._children.keys() - live:
            if not self._children[sweep_id].is_alive():
                del self._children[sweep_id]

    def end_all(self, *, seconds: float) -> None:
        """Ask every driver to end, wait ``seconds`` for all of them, and kill those that are left."""
        end_all(self._children.values(), seconds)
        self._children.clear()

    def log_of(self, sweep_id: str) -> Path:
        """Log file of a sweep's drivers."""
        return self._settings.home / "logs" / f"driver-{sweep_id}.log"
