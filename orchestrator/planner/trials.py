"""Strategies ``tpe`` and ``gp``: Optuna's samplers, one study per cell, the cheapest cells first.

They serve as baselines. A study lives in memory and is rebuilt from the history for every plan: trials in the order of
their rates, the sampler's seed from the request, the cell and the number of trials. A cell gets ``rates_per_cell`` trials,
six by default: with six, either sampler comes within 0.1 % of the best of a cell.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from orchestrator.cells import Cell
from orchestrator.errors import Refused
from orchestrator.law import Law
from orchestrator.planner.draft import Draft
from orchestrator.planner.trunk_groups import groups
from orchestrator.planner.values import BatchPlan, KnownRun, PlanRequest, RunHistory, RunOutcome

TRIALS = 6
STARTUP = 3
"""Trials of a cell that are drawn at random before the sampler takes over; they are asked for together."""
SAMPLERS = {"tpe": "TPESampler", "gp": "GPSampler"}
NEEDED = {"tpe": ("optuna",), "gp": ("optuna", "torch")}
"""The modules that each sampler needs."""


class TrialsPlanner:
    """One of Optuna's samplers over the positions of each cell's lattice.

    Args:
        sampler: ``tpe`` or ``gp``.

    Raises:
        Refused: Optuna, or the PyTorch that its Gaussian process needs, is not installed.
    """

    def __init__(self, sampler: str) -> None:
        self._name = sampler
        needed = NEEDED[sampler]
        try:
            self._optuna, *_ = [import_module(name) for name in needed]
        except ImportError as error:
            raise Refused(
                f"The strategy {sampler} needs {' and '.join(needed)}; {error.name} is not installed here."
            ) from error
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)

    def plan(self, history: RunHistory, law: Law | None, request: PlanRequest) -> BatchPlan:  # noqa: ARG002
        """The next trials of the cheapest cells that lack some."""
        most = request.runs_per_batch or request.max_parallel
        draft = Draft(history, request, request.runs_per_batch)
        for cell in (cell for group in groups(history.cells) for cell in group):
            if draft.full or draft.open_runs + len(draft.batch) >= most:
                break
            runs = sorted(
                (run for run in history.runs if run.cell == cell.number and run.seed == 0),
                key=lambda run: run.learning_rate,
            )
            self._ask(cell, runs, draft, request)
        return draft.plan(
            f"Every cell has its trials: {len(draft.asked)} runs in {len(history.cells)} cells."
        )

    def _ask(self, cell: Cell, runs: list[KnownRun], draft: Draft, request: PlanRequest) -> None:
        wanted = min(request.rates_per_cell or TRIALS, len(cell.rates))
        waiting = any(run.outcome is RunOutcome.OPEN for run in runs)
        if waiting or len(runs) >= wanted:
            return
        study = self._study(cell, runs, request)
        for number in range(max(1, min(STARTUP, wanted) - len(runs))):
            trial = study.ask({"place": self._optuna.distributions.IntDistribution(0, len(cell.rates) - 1)})
            free = [rate for rate in cell.rates if (cell.number, rate, 0) not in draft.asked]
            aim = np.log(cell.rates[trial.params["place"]])
            rate = min(free, key=lambda rate: (abs(np.log(rate) - aim), rate))
            draft.add(
                cell,
                rate,
                0,
                f"Trial {len(runs) + number + 1} of {wanted} by Optuna's {SAMPLERS[self._name]}.",
            )

    def _study(self, cell: Cell, runs: list[KnownRun], request: PlanRequest) -> Any:
        seed = int(np.random.default_rng([request.seed, cell.number, len(runs)]).integers(2**31))
        options: dict[str, Any] = {"seed": seed, "n_startup_trials": STARTUP}
        sampler = getattr(self._optuna.samplers, SAMPLERS[self._name])(**options)
        study = self._optuna.create_study(sampler=sampler)
        losses = [run.loss for run in runs if run.loss is not None]
        worst = 2 * max(losses) - min(losses) if losses else 1.0
        place = self._optuna.distributions.IntDistribution(0, len(cell.rates) - 1)
        for run in runs:
            if run.outcome is RunOutcome.FAILED:
                continue
            study.add_trial(
                self._optuna.trial.create_trial(
                    params={"place": cell.rates.index(run.learning_rate)},
                    distributions={"place": place},
                    value=worst if run.loss is None else run.loss,
                )
            )
        return study
