"""Cost of tuning at the target itself: runs until one is within 0.1 % of the best, stopped by an oracle.

In practice there is no oracle. The recorded lattices lie round the optimum, so strategies that start in the middle of the
lattice look better than they are. After a plan that spent a share of the proxies' full grid, its law gives the starting
point. Without an oracle `confirm` stops by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, inf, log

import numpy as np

from orchestrator.cells import Cell, Cells, Point
from orchestrator.law import BowlStatus, Law
from orchestrator.law.observations import point_array
from orchestrator.planner import Planner, planner_of
from orchestrator.planner.confirming import TargetRun, confirm
from orchestrator.planner.draft import Draft
from orchestrator.planner.values import BatchPlan, KnownRun, PlanRequest, RunHistory, RunOutcome
from orchestrator.strategies.compared_strategies import ComparedStrategy
from orchestrator.strategies.recorded_world import RecordedTarget, RecordedWorld
from orchestrator.strategies.strategy_replay import replay

NEAR = 1e-3
"""Excess loss of a run at which the oracle stops."""

PlannerAt = Callable[[RecordedTarget], Planner]


class Downhill:
    """Walks one cell's lattice from a start towards lower losses; at a minimum it tries the rates nearest to it.

    Args:
        start: the learning rate to begin nearest to.
    """

    def __init__(self, start: float) -> None:
        self.start = start

    def plan(self, history: RunHistory, law: Law | None, request: PlanRequest) -> BatchPlan:  # noqa: ARG002
        """The untried rate nearest to the best so far; which of two comes first is drawn from the request's seed."""
        draft, (cell,) = Draft(history, request), history.cells
        losses = {run.learning_rate: run.loss for run in history.runs if run.loss is not None}
        centre = self.start if not losses else min(losses, key=losses.__getitem__)
        at = min(range(len(cell.rates)), key=lambda place: round(abs(log(cell.rates[place] / centre)), 9))
        tried = {run.learning_rate for run in history.runs}
        free = [place for place, rate in enumerate(cell.rates) if rate not in tried]
        if free:
            side = 1 if np.random.default_rng(request.seed).random() < 0.5 else -1
            nearest = min(free, key=lambda place: (abs(place - at), side * place))
            draft.add(cell, cell.rates[nearest], 0, "Next to the best so far.")
        return draft.plan("Every rate has been tried.")


class Confirming:
    """Confirmation without its own stop: the oracle's is used.

    Args:
        law: what is known without a run at the target.
        target: where.
    """

    def __init__(self, law: Law, target: RecordedTarget) -> None:
        self.law, self.target = law, target

    def plan(self, history: RunHistory, law: Law | None, request: PlanRequest) -> BatchPlan:
        """The next rate to confirm; if no rate is likely to be near enough, the rate nearest to the best."""
        draft, (cell,) = Draft(history, request), history.cells
        trials = [TargetRun(learning_rate=run.learning_rate, loss=run.loss) for run in history.runs]
        asked = confirm(self.law, request.target, rates=cell.rates, trials=trials, sure=inf).rates
        if not asked:
            return Downhill(self.target.middle).plan(history, law, request)
        draft.add(cell, asked[0], 0, "Expected to lose least.")
        return draft.plan("")


TUNERS: dict[str, PlannerAt] = {
    "random": lambda _: planner_of("random"),
    "tpe": lambda _: planner_of("tpe"),
    "gp": lambda _: planner_of("gp"),
    "downhill from mid-lattice": lambda target: Downhill(target.middle),
}


AFTER_PLAN: dict[str, Callable[[Law, RecordedTarget], Planner]] = {
    "confirmation": Confirming,
    "downhill from the answer": lambda law, target: Downhill(_answer(law, target.target)),
}


def runs_needed(world: RecordedWorld, planner_at: PlannerAt, replicates: int) -> Iterator[int]:
    """Runs at every target, tuned alone, in every replicate."""
    for replicate in range(replicates):
        for number, target in enumerate(world.targets):
            yield tuned(target, planner_at(target), seed=replicate * len(world.targets) + number)


def planned_laws(world: RecordedWorld, replicates: int, share: float) -> Iterator[Law]:
    """The law after a plan of strategy ``law`` that spent a share of the full grid's FLOPs, per replicate."""
    for number in range(replicates):
        (standing,) = replay(
            ComparedStrategy(strategy="law"), world.replicate(number), (share,), number
        ).standings
        if standing.law is not None:
            yield standing.law


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A confirmation at one target that ended by its own rule.

    Attributes:
        runs: number of its runs.
        near: whether the rate it ended with is within `NEAR` of the best recorded.
        probability: that it claimed for this.
        forecast: number of runs it had expected.
    """

    runs: int
    near: bool
    probability: float
    forecast: float


def stopped(law: Law, target: RecordedTarget) -> Stopped:
    """Confirm at a target until the rule itself stops."""
    recorded, trials = dict(zip(target.rates, target.losses, strict=True)), list[TargetRun]()
    confirmed = first = confirm(law, target.target, rates=target.rates)
    while confirmed.rates:
        rate = confirmed.rates[0]
        trials.append(TargetRun(learning_rate=rate, loss=recorded[rate]))
        confirmed = confirm(law, target.target, rates=target.rates, trials=trials)
    loss = None if confirmed.best is None else recorded[confirmed.best]
    return Stopped(
        runs=len(trials),
        near=loss is not None and loss <= _good(target),
        probability=confirmed.probability_best or 0.0,
        forecast=first.expected_runs_until_sure,
    )


def floor(world: RecordedWorld, whole: Law) -> Iterator[int]:
    """Runs at every target if the bottom of its bowl is known, fitted to all recorded runs there.

    Args:
        world: its targets.
        whole: the law of the whole table, targets included.
    """
    bottoms = {bowl.point: bowl.learning_rate for bowl in whole.bowls if bowl.status is BowlStatus.INTERIOR}
    for target in world.targets:
        yield tuned(target, Downhill(bottoms[target.target]), seed=0)


def tuned(target: RecordedTarget, planner: Planner, seed: int) -> int:
    """Number of runs of a strategy at a target, one after the other, until one is within `NEAR` of the best."""
    wanted = target.target
    cell = Cell(
        number=0,
        params=wanted.params,
        tokens=wanted.tokens,
        batch_tokens=wanted.batch_tokens,
        rates=target.rates,
    )
    recorded = dict(zip(target.rates, target.losses, strict=True))
    good = _good(target)
    request = PlanRequest(target=wanted, runs_per_batch=1, rates_per_cell=len(cell.rates), seed=seed)
    runs: tuple[KnownRun, ...] = ()
    while True:
        (asked,) = planner.plan(RunHistory(cells=Cells((cell,)), runs=runs), None, request).batch
        loss = recorded[asked.learning_rate]
        outcome = RunOutcome.DIVERGED if loss is None else RunOutcome.COMPLETED
        runs += (KnownRun(cell=0, learning_rate=asked.learning_rate, seed=0, outcome=outcome, loss=loss),)
        if loss is not None and loss <= good:
            return len(runs)


def _good(target: RecordedTarget) -> float:
    """The highest loss within `NEAR` of the best recorded one."""
    return (1 + NEAR) * min(loss for loss in target.losses if loss is not None)


def _answer(law: Law, target: Point) -> float:
    """The rate that a law predicts."""
    return exp(float(law.optimum(point_array([target]))[0][0]))
