"""Strategy ``random``: rates of the grid in an order drawn once from the question's seed."""

from __future__ import annotations

import numpy as np

from orchestrator.law import Law
from orchestrator.planner.draft import Draft
from orchestrator.planner.values import Cell, Cells, Plan, Question, Record

BATCH = 8


class RandomPlanner:
    """Every (cell, rate, seed) has its place in one fixed random order; a plan is the first places not yet taken."""

    def plan(self, record: Record, law: Law | None, question: Question) -> Plan:  # noqa: ARG002
        """The next runs of the order, whatever the law says."""
        most = question.runs_per_batch or max(BATCH, question.max_parallel)
        draft = Draft(record, question, most)
        for cell, rate, seed in drawn(record.cells, question):
            if draft.full:
                break
            draft.add(cell, rate, seed, f"Drawn at random, seed {question.seed}.")
        return draft.plan(f"The grid is complete: {len(draft.asked)} runs in {len(record.cells)} cells.")


def drawn(cells: Cells, question: Question) -> list[tuple[Cell, float, int]]:
    """All runs of the grid in the order of the question's seed."""
    runs = [(cell, rate, seed) for cell in cells for rate in cell.rates for seed in range(question.seeds)]
    order = np.random.default_rng(question.seed).permutation(len(runs))
    return [runs[place] for place in order]
