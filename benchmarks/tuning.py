"""What it takes to tune at the target itself: runs until one is within 0.1 % of the best, stopped by an oracle.

Nobody has such an oracle, and the recorded lattices lie round the optimum: the middle of the lattice, where walking
downhill starts, flatters whoever starts there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from orchestrator.comparison import RecordedTarget, World
from orchestrator.law import Law
from orchestrator.planner import Planner, planner_of
from orchestrator.planner.draft import Draft
from orchestrator.planner.values import Cell, KnownRun, Outcome, Plan, Question, Record

NEAR = 1e-3
"""Excess loss of a run at which the oracle says to stop."""

PlannerAt = Callable[[RecordedTarget], Planner]


class Downhill:
    """Walks one cell's lattice from a start towards lower losses; at a minimum it tries what lies nearest to it.

    Args:
        start: the learning rate to begin nearest to.
    """

    def __init__(self, start: float) -> None:
        self.start = start

    def plan(self, record: Record, law: Law | None, question: Question) -> Plan:  # noqa: ARG002
        """The untried rate nearest to the best so far; which of two comes first is drawn from the question's seed."""
        draft, (cell,) = Draft(record, question), record.cells
        losses = {run.learning_rate: run.loss for run in record.runs if run.loss is not None}
        centre = self.start if not losses else min(losses, key=losses.__getitem__)
        at = min(range(len(cell.rates)), key=lambda place: abs(cell.rates[place] / centre - 1))
        tried = {run.learning_rate for run in record.runs}
        free = [place for place, rate in enumerate(cell.rates) if rate not in tried]
        if free:
            side = 1 if np.random.default_rng(question.seed).random() < 0.5 else -1
            nearest = min(free, key=lambda place: (abs(place - at), side * place))
            draft.add(cell, cell.rates[nearest], 0, "Next to the best so far.")
        return draft.plan("Every rate has been tried.")


TUNERS: dict[str, PlannerAt] = {
    "random": lambda _: planner_of("random"),
    "tpe": lambda _: planner_of("tpe"),
    "gp": lambda _: planner_of("gp"),
    "downhill from mid-lattice": lambda target: Downhill(target.middle),
}


def runs_needed(world: World, planner_at: PlannerAt, replicates: int) -> Iterator[int]:
    """Runs at every target, tuned alone, in every replicate."""
    for replicate in range(replicates):
        for number, target in enumerate(world.targets):
            yield tuned(target, planner_at(target), seed=replicate * len(world.targets) + number)


def tuned(target: RecordedTarget, planner: Planner, seed: int) -> int:
    """How many runs a strategy makes at a target, one after the other, until one is within `NEAR` of the best."""
    wanted = target.target
    cell = Cell(
        number=0,
        params=wanted.params,
        tokens=wanted.tokens,
        batch_tokens=wanted.batch_tokens,
        rates=target.rates,
    )
    recorded = dict(zip(target.rates, target.losses, strict=True))
    good = (1 + NEAR) * min(loss for loss in target.losses if loss is not None)
    question = Question(target=wanted, runs_per_batch=1, rates_per_cell=len(cell.rates), seed=seed)
    runs: tuple[KnownRun, ...] = ()
    while True:
        (asked,) = planner.plan(Record(cells=(cell,), runs=runs), None, question).batch
        loss = recorded[asked.learning_rate]
        outcome = Outcome.DIVERGED if loss is None else Outcome.COMPLETED
        runs += (KnownRun(cell=0, learning_rate=asked.learning_rate, seed=0, outcome=outcome, loss=loss),)
        if loss is not None and loss <= good:
            return len(runs)
