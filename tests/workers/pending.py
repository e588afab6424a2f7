"""Pending runs without a store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from orchestrator.states import RunState
from orchestrator.store.records import Run


def pending(**fields: Any) -> Run:
    """A run that waits for a worker."""
    return Run(
        **{
            "id": "r",
            "sweep_id": "s",
            "cell": 0,
            "learning_rate": 0.001,
            "seed": 0,
            "state": RunState.PENDING,
            "trunk_id": None,
            "batch": 1,
            "attempt": 0,
            "loss": None,
            "trunk_loss": None,
            "flops": 0.0,
            "seconds": None,
            "reason": None,
            "created_at": datetime(2026, 1, 1, tzinfo=UTC),
            "started_at": None,
            "ended_at": None,
            **fields,
        }
    )
