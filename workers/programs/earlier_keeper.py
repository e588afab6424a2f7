"""The keeper of an earlier attempt, which a worker that is gone may have started, and which may still let its program save."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from workers.programs.descendants import KEEPER_MARKER, end_marked, end_stopped
from workers.programs.journal import JOURNAL, is_locked
from workers.programs.order import MARKER

LOOK_SECONDS: Final = 0.5

EARLIER_SECONDS: Final = 15.0
"""Beyond the time to stop: to wait for an earlier keeper, on this node or another."""


class EarlierKeeper:
    """Is asked again and again, without waiting, until the run's folder is free for a new attempt.

    Attributes:
        ended: processes of the earlier attempt on this node that were ended.
    """

    def __init__(self, folder: Path, marker: str, seconds: float) -> None:
        """Nothing is done yet.

        Args:
            folder: of the run; it need not exist.
            marker: of the run's processes.
            seconds: for the earlier keeper to end by itself, from the first question on.
        """
        self._journal, self._marker, self._seconds = folder / JOURNAL, marker, seconds
        self._deadline: float | None = None
        self._look_at = 0.0
        self.ended = 0

    def has_ended(self) -> bool:
        """Whether it has ended, or its time is over; then no process of the run is left on this node.

        Raises:
            OSError: the journal cannot be opened.
        """
        if not self._journal.exists():
            return True
        now = time.monotonic()
        self._deadline = self._deadline or now + self._seconds
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        if now < self._deadline and is_locked(self._journal):
            end_stopped(self._marker, (KEEPER_MARKER,))
            return False
        self.ended = end_marked(self._marker, (KEEPER_MARKER, MARKER))
        return True


def left_behind(ended: int) -> str:
    """A notice of processes that an earlier attempt left."""
    return f"Processes of an earlier attempt that were still running and were ended: {ended}."
