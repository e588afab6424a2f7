"""What holds of every row, whoever writes it: the check constraints of the tables, by table and name.

That there is one run of a cell, rate and seed, one attempt of a run and one holder of a lease needs no constraint here:
they are one row each, by the primary keys and unique constraints of the schema. Times are not compared with one another,
because the database's clock may be set back.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from sqlalchemy import CheckConstraint

from orchestrator.states import RUN_FINAL, RUN_MEASURED, RunState, SweepState


def _is_in(column: str, states: Iterable[StrEnum]) -> str:
    names = ", ".join(sorted(f"'{state}'" for state in states))
    return f"{column} IN ({names})"


def _amount(column: str) -> str:
    """Not negative and finite: PostgreSQL sorts NaN above every number. Null passes."""
    return f"{column} >= 0 AND {column} < 1e308"


def _positive(column: str) -> str:
    return f"{column} > 0 AND {column} < 1e308"


def _finite(column: str) -> str:
    return f"{column} > -1e308 AND {column} < 1e308"


def _all(*conditions: str) -> str:
    return " AND ".join(conditions)


CHECKS: Final[dict[str, dict[str, str]]] = {
    "sweeps": {
        "state": _is_in("state", SweepState),
        "counts": "batches >= 0 AND law_number >= 1",
        "full_grid_flops": _amount("full_grid_flops"),
    },
    "cells": {
        "number": "number >= 0",
        "size": _all(_positive("params"), _positive("tokens"), _positive("batch_tokens")),
        "params": _all(_positive("params_total"), _positive("params_active"), _positive("params_reported")),
        "decay_fraction": "decay_fraction >= 0 AND decay_fraction <= 1",
    },
    "trunks": {"rate": _positive("learning_rate"), "seed": "seed >= 0"},
    "runs": {
        "state": _is_in("state", RunState),
        "rate": _positive("learning_rate"),
        "counts": "seed >= 0 AND attempt >= 0 AND batch >= 1",
        "amounts": _all(_amount("flops"), _amount("seconds"), "diverged_tokens >= 0"),
        "losses": _all(_finite("loss"), _finite("trunk_loss")),
        "end": f"({_is_in('state', RUN_FINAL)}) = (ended_at IS NOT NULL)",
        "loss": "(state = 'completed') = (loss IS NOT NULL)",
        "divergence": "state = 'diverged' OR diverged_tokens IS NULL",
        "batch": "state = 'pruned' OR batch IS NOT NULL",
        "holder": "state <> 'running' OR fence IS NOT NULL",
        "waiting": "state NOT IN ('pending', 'pruned') OR (fence IS NULL AND started_at IS NULL)",
        "start": f"NOT ({_is_in('state', RUN_MEASURED | {RunState.RUNNING, RunState.FAILED})}) "
        "OR (started_at IS NOT NULL AND attempt >= 1)",
    },
    "losses": {"amounts": "step >= 0 AND tokens >= 0"},
    "lenses": {"amounts": "step >= 0 AND tokens >= 0"},
    "laws": {
        "counts": "number >= 1 AND runs >= 0 AND batch >= 0",
        "spent_flops": _amount("spent_flops"),
    },
    "run_logs": {"end_byte": "end_byte >= 0"},
    "leases": {"fence": "fence >= 0 AND (holder = '' OR fence >= 1)"},
    "tables": {"counts": "rows >= 0 AND cells >= 0"},
    "tokens": {"sha256": "length(sha256) = 64"},
}
"""Conditions in the SQL that SQLite and PostgreSQL share; one that is null passes."""


def checks(table: str) -> list[CheckConstraint]:
    """The check constraints of a table."""
    return [CheckConstraint(condition, name=name) for name, condition in CHECKS[table].items()]
