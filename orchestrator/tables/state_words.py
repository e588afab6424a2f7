"""The words that run tables have for the states of runs."""

from __future__ import annotations

from typing import Final

from orchestrator.states import RunState
from orchestrator.tables.text_columns import MISSING

STATE_WORDS: Final = {
    RunState.COMPLETED: ("completed", "complete", "finished", "success", "succeeded"),
    RunState.DIVERGED: ("diverged",),
    RunState.FAILED: ("failed", "fail", "failure", "error", "crashed", "killed", "preempted"),
    RunState.RUNNING: ("running", "preempting"),
    RunState.PENDING: ("pending", "queued", "waiting", "scheduled"),
    RunState.PRUNED: ("pruned",),
    RunState.CANCELLED: ("cancelled", "canceled"),
}
"""The words that Etalon and trackers have for the states of runs, in lower case."""

ENDED: Final = frozenset({RunState.COMPLETED, RunState.DIVERGED, RunState.FAILED})
"""States of the rows that are kept; the others have no result."""

STATES: Final = {word: state for state, words in STATE_WORDS.items() for word in words} | dict.fromkeys(
    MISSING, RunState.COMPLETED
)
"""The state that each word means, blank ones included."""
