"""Notices workers that hang: Ray knows when a process dies, not when it stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

LONGEST_GAP: Final = 1.0
"""Most seconds that one look counts: while the driver itself did not run, it heard nobody."""


class SilenceWatch:
    """How long the worker of each trial has reported nothing, in time in which the driver was listening."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no worker.

        Args:
            seconds: longest silence of a worker that does not hang.
            clock: monotonic seconds.
        """
        self._seconds, self._clock = seconds, clock
        self._looked_at, self._listened = clock(), 0.0
        self._heard: dict[str, float] = {}

    def heard(self, trial_id: str) -> None:
        """A trial has a worker, or its worker reported."""
        self._heard[trial_id] = self._listened

    def forget(self, trial_id: str) -> None:
        """A trial has no worker any more."""
        self._heard.pop(trial_id, None)

    def silent(self) -> frozenset[str]:
        """The trials whose worker has been silent for too long since it was last heard, or last named here."""
        now = self._clock()
        self._listened += min(now - self._looked_at, LONGEST_GAP)
        self._looked_at = now
        found = frozenset(
            trial_id for trial_id, since in self._heard.items() if self._listened - since > self._seconds
        )
        for trial_id in found:
            self.heard(trial_id)
        return found
