"""What a sweep is expected to spend: its strategy rehearsed before anything is trained.

The rehearsed runs answer with the law of the prior runs where there are any, else with a synthetic law. Where runs are
asked for as results arrive, as many are open as the workers hold, and a run takes as long as it costs.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from orchestrator.knowledge import question_of
from orchestrator.law import FitOptions, Law, Observations, Point, Refused, fit
from orchestrator.planner import planner_of
from orchestrator.planner.values import Cell, Cells, KnownRun, Outcome, Proposal, Record, trunk_reach
from orchestrator.spec import ReplayTrainer, SweepSpec

PARAMS_EXPONENT, TOKENS_EXPONENT = -0.3, -0.3
"""Middle of the published exponents of η* in N and in D at a fixed batch (arXiv 2601.05049, 2409.19913)."""

CURVATURE, NOISE = 0.02, 0.001
"""Relative loss of a rate a factor e off the optimum, and relative noise of a loss: the middle of what small
proxies and the public Step Law runs (arXiv 2503.04715) show."""

MOST_SECONDS = 2.0
"""Processor time after which a rehearsal takes up no further batch: somebody waits for the answer."""

UNHURRIED_SECONDS = 1.0
"""Processor time after which results that would arrive one by one are rehearsed a whole batch at a time."""

FAST = FitOptions(heldout=False)
"""A rehearsal does not need the law's held-out error."""

Truth = Callable[[Cell, float], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a rehearsed sweep spent and why it ended."""

    runs: int
    batches: int
    flops: float
    reason: str


def forecast(
    spec: SweepSpec,
    cells: Cells,
    target: Point,
    *,
    prior: Observations | None = None,
    clock: Callable[[], float] = time.thread_time,
) -> Forecast:
    """Rehearse a sweep's strategy.

    Args:
        spec: the sweep.
        cells: its cells; none where it only fits its prior runs.
        target: where the rate is wanted.
        prior: the runs that it need not pay for, if it has any.
        clock: processor time in seconds.

    Returns:
        The runs, batches and FLOPs that the strategy asked for until it stopped; or until ``MOST_SECONDS``, and then
        the reason says so.
    """
    if not cells:
        known = 0 if prior is None else prior.size
        return Forecast(runs=0, batches=0, flops=0.0, reason=f"it fits the {known} prior runs")
    planner, start = planner_of(spec.search.strategy), clock()
    stage = _Stage(Record(cells=cells, prior=prior))
    batches, flops, spent = 0, 0.0, 0.0
    while (spent := clock() - start) <= MOST_SECONDS:
        record, hurried = stage.record, spent > UNHURRIED_SECONDS
        law = _law(stage.ended) if spec.search.strategy == "law" else None
        few = law is not None and not hurried
        plan = planner.plan(
            record, law, question_of(spec, target, runs=len(record.runs), flops=flops, has_law=few)
        )
        if plan.stop is not None or not (plan.batch or stage.open):
            reason = plan.stop or "nothing is left to run"
            return Forecast(runs=len(record.runs), batches=batches, flops=flops, reason=reason)
        batches, flops = batches + bool(plan.batch), flops + batch_flops(record, plan.batch)
        stage.ask(plan.batch)
        stage.advance(one=few and _ends_apart(spec))
    reason = f"the rehearsal was cut off after {MOST_SECONDS:g} seconds; the sweep may spend more"
    return Forecast(runs=len(stage.record.runs), batches=batches, flops=flops, reason=reason)


def _ends_apart(spec: SweepSpec) -> bool:
    """Whether a result is planned with while other runs go on; those of a replay all come at once."""
    return spec.refits_on_arrival and not isinstance(spec.trainer, ReplayTrainer)


class _Stage:
    """A rehearsal under way: what has ended, and what is open in the order of its end.

    Args:
        ended: what is known before it begins.
    """

    def __init__(self, ended: Record) -> None:
        self.ended = ended
        self.open: list[tuple[float, int, Proposal]] = []
        self._truth, self._random = _truth(ended.cells, ended.prior), np.random.default_rng(0)
        self._now, self._asked = 0.0, 0

    @property
    def record(self) -> Record:
        """What a planner knows now."""
        waiting = tuple(
            KnownRun(cell=item.cell, learning_rate=item.learning_rate, seed=item.seed, outcome=Outcome.OPEN)
            for _, _, item in self.open
        )
        return replace(self.ended, runs=self.ended.runs + waiting)

    def ask(self, batch: tuple[Proposal, ...]) -> None:
        """Start runs, each on a worker of its own; it takes as long as its FLOPs."""
        for item in batch:
            heapq.heappush(self.open, (self._now + item.flops, self._asked, item))
            self._asked += 1

    def advance(self, *, one: bool) -> None:
        """Let the next run end, or all of them."""
        while self.open:
            self._now, _, item = heapq.heappop(self.open)
            result = _rehearsed(self.ended.cells[item.cell], item, self._truth, self._random)
            self.ended = replace(self.ended, runs=(*self.ended.runs, result))
            if one:
                return


def batch_flops(record: Record, batch: tuple[Proposal, ...]) -> float:
    """FLOPs that a batch adds: trunks continue from where they are, and horizons of one trunk share it."""
    reach = dict(trunk_reach(record))
    total = 0.0
    for proposal in sorted(batch, key=lambda item: record.cells[item.cell].tokens):
        cell = record.cells[proposal.cell]
        if cell.trunk is None:
            total += cell.flops
            continue
        key = (cell.trunk, proposal.learning_rate, proposal.seed)
        total += cell.marginal_flops(reach.get(key, 0.0))
        reach[key] = max(reach.get(key, 0.0), cell.fork_tokens)
    return total


def _law(record: Record) -> Law | None:
    """The law of the rehearsed and the prior runs, as far as one can be fitted."""
    rows = [
        (
            cell.params,
            cell.tokens,
            cell.batch_tokens,
            run.learning_rate,
            math.nan if run.loss is None else run.loss,
        )
        for run in record.runs
        for cell in (record.cells[run.cell],)
    ]
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    if record.prior is not None:
        known = record.prior
        columns = np.hstack(
            [columns, [known.params, known.tokens, known.batch_tokens, known.learning_rate, known.loss]]
        )
    params, tokens, batch_tokens, learning_rate, loss = columns
    if not params.size:
        return None
    try:
        return fit(
            Observations(
                params=params,
                tokens=tokens,
                batch_tokens=batch_tokens,
                learning_rate=learning_rate,
                loss=loss,
            ),
            options=FAST,
        )
    except Refused:
        return None


def _truth(cells: Cells, prior: Observations | None) -> Truth:
    """The loss of a cell at a learning rate, as far as a rehearsal knows it."""
    law = _law(Record(cells=cells, prior=prior))
    return _synthetic(cells) if law is None else partial(_lawful, law)


def _lawful(law: Law, cell: Cell, learning_rate: float) -> float:
    place = (np.array([value]) for value in (cell.params, cell.tokens, cell.batch_tokens, learning_rate))
    with np.errstate(over="ignore"):  # a rate far too high, which diverges
        return float(law.expected_loss(*place)[0])


def _synthetic(cells: Cells) -> Truth:
    """A law whose optimum lies amid the lattice of the middle cell."""
    middle = sum(math.log(cell.rates[0] * cell.rates[-1]) / 2 for cell in cells) / len(cells)
    params = sum(math.log(cell.params) for cell in cells) / len(cells)
    tokens = sum(math.log(cell.tokens) for cell in cells) / len(cells)

    def loss(cell: Cell, learning_rate: float) -> float:
        away = PARAMS_EXPONENT * (math.log(cell.params) - params)
        away += TOKENS_EXPONENT * (math.log(cell.tokens) - tokens)
        distance = math.log(learning_rate) - middle - away
        return (2.0 + math.exp(-0.05 * math.log(cell.flops))) * (1.0 + CURVATURE * distance**2)

    return loss


def _rehearsed(cell: Cell, proposal: Proposal, truth: Truth, random: np.random.Generator) -> KnownRun:
    loss = truth(cell, proposal.learning_rate) * (1.0 + NOISE * float(random.standard_normal()))
    completed = math.isfinite(loss)
    return KnownRun(
        cell=proposal.cell,
        learning_rate=proposal.learning_rate,
        seed=proposal.seed,
        outcome=Outcome.COMPLETED if completed else Outcome.DIVERGED,
        loss=loss if completed else None,
    )
