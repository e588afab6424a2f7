"""Rows of trunks, the constant-rate parts that horizons share. Their checkpoints record how far each was trained."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, select

from orchestrator.store import schema
from orchestrator.store.database import Database
from orchestrator.store.identity import new_id
from orchestrator.store.records import NewRun

_T = schema.trunks.c


def trunk_key(run: NewRun) -> tuple[str, float, int]:
    """Name, η and seed, which identify a trunk in its sweep; module rates are part of the name."""
    rates = f"~{hashlib.sha256(run.module_rates.encode()).hexdigest()[:16]}" if run.module_rates else ""
    return (f"{run.trunk}{rates}", run.learning_rate, run.seed)


def make_trunks(
    database: Database, connection: Connection, sweep_id: str, runs: Sequence[NewRun]
) -> dict[tuple[str, float, int], str]:
    """Insert the trunks of ``runs`` that are missing.

    Returns:
        Ids of all trunks of the sweep, by ``trunk_key``.
    """
    keys = sorted({trunk_key(run) for run in runs if run.trunk is not None})
    if not keys:
        return {}
    rows = [
        {
            "id": new_id(),
            "sweep_id": sweep_id,
            "name": name,
            "learning_rate": rate,
            "seed": seed,
        }
        for name, rate, seed in keys
    ]
    connection.execute(database.insert(schema.trunks).on_conflict_do_nothing(), rows)
    query = select(_T.name, _T.learning_rate, _T.seed, _T.id).where(_T.sweep_id == sweep_id)
    return {(name, rate, seed): trunk_id for name, rate, seed, trunk_id in connection.execute(query)}
