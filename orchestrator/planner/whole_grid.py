"""Strategies ``grid`` and ``random``: every rate in every cell, the cheapest first or in random order."""

from __future__ import annotations

import numpy as np

from orchestrator.law import Law
from orchestrator.planner.draft import Draft
from orchestrator.planner.trunk_groups import groups
from orchestrator.planner.values import BatchPlan, PlanRequest, RunHistory

LEAST_BATCH = 16
"""Runs of a batch if cells share nothing; a trunk with all its horizons is always one batch."""


class GridPlanner:
    """The whole grid, the cheapest cells first; the law has no influence."""

    def plan(self, history: RunHistory, law: Law | None, request: PlanRequest) -> BatchPlan:  # noqa: ARG002
        """The next cells in full."""
        draft = Draft(history, request, request.runs_per_batch)
        least = max(LEAST_BATCH, request.max_parallel)
        for group in groups(history.cells):
            if request.runs_per_batch is None and draft.open_runs + len(draft.batch) >= least:
                break
            for seed in range(request.seeds):
                for rate in sorted({rate for cell in group for rate in cell.rates}):
                    for cell in group:
                        if rate in cell.rates:
                            draft.add(cell, rate, seed, "The full grid, cheapest cells first.")
        return draft.plan(f"The grid is complete: {len(draft.asked)} runs in {len(history.cells)} cells.")


RANDOM_BATCH = 8


class RandomPlanner:
    """All (cell, rate, seed) in one random order of the request's seed; a plan is the first ones not yet asked for."""

    def plan(self, history: RunHistory, law: Law | None, request: PlanRequest) -> BatchPlan:  # noqa: ARG002
        """The next runs of the order."""
        most = request.runs_per_batch or max(RANDOM_BATCH, request.max_parallel)
        draft = Draft(history, request, most)
        runs = [
            (cell, rate, seed)
            for cell in history.cells
            for rate in cell.rates
            for seed in range(request.seeds)
        ]
        for at in np.random.default_rng(request.seed).permutation(len(runs)):
            cell, rate, seed = runs[at]
            if draft.full:
                break
            draft.add(cell, rate, seed, f"Drawn at random, seed {request.seed}.")
        return draft.plan(f"The grid is complete: {len(draft.asked)} runs in {len(history.cells)} cells.")
