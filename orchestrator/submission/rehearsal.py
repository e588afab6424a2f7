"""The expected cost of a sweep, from a rehearsal of its strategy.

Rehearsed runs get their losses from the law of the prior runs if there is one, else from a synthetic law. Where runs are
asked for as results arrive, as many are open as the workers hold, and a run takes time in proportion to its FLOPs.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from orchestrator.cells import Cell, Cells, Point
from orchestrator.errors import Refused
from orchestrator.knowledge import plan_request
from orchestrator.law import FitOptions, Law, Observations, fit
from orchestrator.law.observations import point_array
from orchestrator.planner import planner_of
from orchestrator.planner.values import KnownRun, Proposal, RunHistory, RunOutcome
from orchestrator.spec import SweepSpec

PARAMS_EXPONENT, TOKENS_EXPONENT = -0.3, -0.3
"""Middle of the published exponents of η* in N and in D at a fixed batch (arXiv 2601.05049, 2409.19913)."""

CURVATURE, NOISE = 0.02, 0.001
"""Relative loss of a rate a factor e off the optimum, and relative noise of a loss: the middle of what small
proxies and the public Step Law runs (arXiv 2503.04715) show."""

MOST_SECONDS = 2.0
"""Processor time after which a rehearsal begins no further batch: the request is synchronous."""

UNHURRIED_SECONDS = 1.0
"""Processor time after which results arrive a batch at a time, even if the sweep's arrive one by one."""

FAST = FitOptions(heldout=False)
"""A rehearsal does not need the law's held-out error."""

TrueLoss = Callable[[Cell, float], float]
"""The loss of a cell at a learning rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The cost of a rehearsed sweep, and why it ended."""

    runs: int
    batches: int
    flops: float
    reason: str


def rehearse(
    spec: SweepSpec,
    cells: Cells,
    target: Point,
    *,
    prior: Observations | None = None,
    clock: Callable[[], float] = time.thread_time,
) -> Rehearsal:
    """Rehearse a sweep's strategy.

    Args:
        spec: the sweep.
        cells: its cells; none if it only fits its prior runs.
        target: where the rate is wanted.
        prior: its prior runs; None if it has none.
        clock: processor time in seconds.

    Returns:
        The runs, batches and FLOPs that the strategy asked for until it stopped, or until ``MOST_SECONDS`` had passed;
        the reason says which.
    """
    if not cells:
        known = 0 if prior is None else prior.size
        return Rehearsal(runs=0, batches=0, flops=0.0, reason=f"It fits the {known} prior runs.")
    planner, start = planner_of(spec.search.strategy), clock()
    state = _RehearsalState(RunHistory(cells=cells, prior=prior))
    batches, flops, spent = 0, 0.0, 0.0
    while (spent := clock() - start) <= MOST_SECONDS:
        history, hurried = state.history, spent > UNHURRIED_SECONDS
        law = _law(state.ended) if spec.search.strategy == "law" else None
        few = law is not None and not hurried
        plan = planner.plan(
            history, law, plan_request(spec, target, runs=len(history.runs), flops=flops, has_law=few)
        )
        if plan.stop is not None or not (plan.batch or state.open):
            reason = plan.stop or "Nothing is left to run."
            return Rehearsal(runs=len(history.runs), batches=batches, flops=flops, reason=reason)
        batches, flops = batches + bool(plan.batch), flops + sum(item.flops for item in plan.batch)
        state.ask(plan.batch)
        state.advance(one=few and _ends_apart(spec))
    reason = f"The rehearsal was cut off after {MOST_SECONDS:g} seconds; the sweep may spend more."
    return Rehearsal(runs=len(state.history.runs), batches=batches, flops=flops, reason=reason)


def _ends_apart(spec: SweepSpec) -> bool:
    """Whether runs end one by one; those of a replay all end at once."""
    return spec.refits_on_arrival and not spec.training.answers_at_once


class _RehearsalState:
    """The state of a rehearsal: the ended runs, and the open ones in the order of their ends.

    Args:
        ended: the history before it begins.
    """

    def __init__(self, ended: RunHistory) -> None:
        self.ended = ended
        self.open: list[tuple[float, int, Proposal]] = []
        self._true_loss, self._random = _true_loss(ended), np.random.default_rng(0)
        self._now, self._asked = 0.0, 0

    @property
    def history(self) -> RunHistory:
        """The runs as the planner takes them now."""
        waiting = tuple(
            KnownRun(
                cell=item.cell, learning_rate=item.learning_rate, seed=item.seed, outcome=RunOutcome.OPEN
            )
            for _, _, item in self.open
        )
        return replace(self.ended, runs=self.ended.runs + waiting)

    def ask(self, batch: tuple[Proposal, ...]) -> None:
        """Start runs, each on its own worker; a run's duration is its FLOPs."""
        for item in batch:
            heapq.heappush(self.open, (self._now + item.flops, self._asked, item))
            self._asked += 1

    def advance(self, *, one: bool) -> None:
        """Let the next run end, or all of them."""
        while self.open:
            self._now, _, item = heapq.heappop(self.open)
            result = _result(self.ended.cells[item.cell], item, self._true_loss, self._random)
            self.ended = replace(self.ended, runs=(*self.ended.runs, result))
            if one:
                return


def _law(history: RunHistory) -> Law | None:
    """The law of the ended and the prior runs; None if none can be fitted."""
    observations = history.observations
    try:
        return fit(observations, options=FAST) if observations.size else None
    except Refused:
        return None


def _true_loss(history: RunHistory) -> TrueLoss:
    """The losses of a rehearsal: by the law of the prior runs, or by a synthetic law."""
    law = _law(history)
    return _synthetic(history.cells) if law is None else partial(_expected_loss, law)


def _expected_loss(law: Law, cell: Cell, learning_rate: float) -> float:
    with np.errstate(over="ignore"):  # a rate far too high, which diverges
        return float(law.expected_loss(point_array([cell]), np.array([learning_rate]))[0])


def _synthetic(cells: Cells) -> TrueLoss:
    """A law whose optimum is in the middle of the lattice for the mean ln N and ln D of the cells."""
    middle = sum(math.log(cell.rates[0] * cell.rates[-1]) / 2 for cell in cells) / len(cells)
    params = sum(math.log(cell.params) for cell in cells) / len(cells)
    tokens = sum(math.log(cell.tokens) for cell in cells) / len(cells)

    def loss(cell: Cell, learning_rate: float) -> float:
        away = PARAMS_EXPONENT * (math.log(cell.params) - params)
        away += TOKENS_EXPONENT * (math.log(cell.tokens) - tokens)
        distance = math.log(learning_rate) - middle - away
        return (2.0 + math.exp(-0.05 * math.log(cell.flops))) * (1.0 + CURVATURE * distance**2)

    return loss


def _result(cell: Cell, proposal: Proposal, true_loss: TrueLoss, random: np.random.Generator) -> KnownRun:
    loss = true_loss(cell, proposal.learning_rate) * (1.0 + NOISE * float(random.standard_normal()))
    completed = math.isfinite(loss)
    return KnownRun(
        cell=proposal.cell,
        learning_rate=proposal.learning_rate,
        seed=proposal.seed,
        outcome=RunOutcome.COMPLETED if completed else RunOutcome.DIVERGED,
        loss=loss if completed else None,
    )
