"""Strategy ``grid``: every rate in every cell, the cheapest cells first."""

from __future__ import annotations

from orchestrator.law import Law
from orchestrator.planner.draft import Draft
from orchestrator.planner.trunks import groups
from orchestrator.planner.values import Plan, Question, Record

LEAST_BATCH = 16
"""Runs of a batch where cells share nothing; a trunk with all its horizons is always one batch."""


class GridPlanner:
    """The whole grid; the law is refitted after each batch but decides nothing."""

    def plan(self, record: Record, law: Law | None, question: Question) -> Plan:  # noqa: ARG002
        """The next cells in full, whatever the law says."""
        draft = Draft(record, question, question.runs_per_batch)
        least = max(LEAST_BATCH, question.max_parallel)
        for group in groups(record.cells):
            if question.runs_per_batch is None and draft.open_runs + len(draft.batch) >= least:
                break
            for seed in range(question.seeds):
                for rate in sorted({rate for cell in group for rate in cell.rates}):
                    for cell in group:
                        if rate in cell.rates:
                            draft.add(cell, rate, seed, "The full grid, cheapest cells first.")
        return draft.plan(f"The grid is complete: {len(draft.asked)} runs in {len(record.cells)} cells.")
