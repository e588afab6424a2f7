"""The batch of a prediction: the best one at its (N, D), and what others cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from orchestrator.amounts import count
from orchestrator.cells import CLOSE, Point
from orchestrator.documents.predictions import BatchAnswer, BatchChoice, Interval, LargestWithin
from orchestrator.law import Law
from orchestrator.law.batch_cost import BestBatch
from orchestrator.law.best_batch import best_batch, best_tried
from orchestrator.law.notices import Notice
from orchestrator.law.observations import Array

WITHIN: Final = (0.005, 0.01)
"""Excess losses for which the largest batch is reported."""


def batch_answer(law: Law, target: Point) -> tuple[BatchAnswer, list[Notice]]:
    """The best batch at the (N, D) of a target, what other batches cost there, and what the user should know of it."""
    best = best_batch(law.bowls, target.params, target.tokens)
    if isinstance(best, str):
        return BatchAnswer(best=None, interval=None, reason=_reason(law, target, best)), []
    tried = np.unique(law.points[:, 2])
    low, high = best.interval
    answer = BatchAnswer(
        best=best.batch_tokens,
        interval=Interval(level=0.95, low=low, high=high),
        reason=None,
        learning_rate=_best_rate(law, target, best.batch_tokens),
        choices=batch_choices(law, target, best, _with_asked(offered_batches(tried), target, best)),
        largest_within=[_largest_within(law, target, best, excess) for excess in WITHIN],
    )
    return answer, _outside_notices(best, tried)


def _with_asked(offered: list[float], target: Point, best: BestBatch) -> list[float]:
    """The batches offered, and the one that is asked for if it is another than the best."""
    asked = target.batch_tokens
    known = any(abs(math.log(asked / batch)) <= CLOSE for batch in (*offered, best.batch_tokens))
    return offered if known else sorted([*offered, asked])


def _reason(law: Law, target: Point, why: str) -> str:
    """Why there is no best batch, and which batch a target without one is asked at."""
    if np.ptp(np.log(law.points[:, 2])) <= CLOSE:
        return why
    instead = best_tried(law.bowls, target.params, target.tokens)
    return (
        f"{why} A target without a batch is asked at {count(instead)} tokens, which lost least of those tried at the nearest "
        "size and horizon."
    )


def offered_batches(tried: Array) -> list[float]:
    """The batches tried, and the powers of two between and one beyond them on either side, in ascending order."""
    first, last = (math.log2(end) for end in (tried.min(), tried.max()))
    near = CLOSE / math.log(2)
    powers = 2.0 ** np.arange(max(math.ceil(first - near) - 1, 0), math.floor(last + near) + 2)
    new = np.abs(np.log(powers[:, None] / tried)).min(axis=1) > CLOSE
    return sorted([*tried.tolist(), *powers[new].tolist()])


def batch_choices(law: Law, target: Point, best: BestBatch, batches: Sequence[float]) -> list[BatchChoice]:
    """What batches cost at the (N, D) of a target, and the best rate of each.

    Args:
        law: the law to ask.
        target: its N and D count.
        best: the best batch there.
        batches: in tokens, at least one.
    """
    points = np.array([(target.params, target.tokens, batch) for batch in batches])
    rates = np.exp(law.optimum(points)[0])
    costs = zip(*best.excess_loss(points[:, 2]), strict=True)
    return [
        BatchChoice(
            batch_tokens=batch,
            learning_rate=float(learning_rate),
            excess_loss=float(expected),
            low=float(low),
            high=float(high),
        )
        for batch, learning_rate, (expected, low, high) in zip(batches, rates, costs, strict=True)
    ]


def _largest_within(law: Law, target: Point, best: BestBatch, excess_loss: float) -> LargestWithin:
    batch = best.largest_within(excess_loss)
    rate = None if batch is None else _best_rate(law, target, batch)
    return LargestWithin(excess_loss=excess_loss, batch_tokens=batch, learning_rate=rate)


def _best_rate(law: Law, target: Point, batch_tokens: float) -> float:
    """The best rate at a batch, at the (N, D) of a target."""
    (log_rate,), _ = law.optimum(np.array([(target.params, target.tokens, batch_tokens)]))
    return float(np.exp(log_rate))


def _outside_notices(best: BestBatch, tried: Array) -> list[Notice]:
    """Reports that the best batch lies outside those tried."""
    smallest, largest = float(tried.min()), float(tried.max())
    if smallest * (1 - CLOSE) <= best.batch_tokens <= largest * (1 + CLOSE):
        return []
    side = "below" if best.batch_tokens < smallest else "above"
    message = (
        f"The best batch for this size and horizon, {count(best.batch_tokens)} tokens, lies {side} all that were tried "
        f"({count(smallest)} to {count(largest)}): it rests on how the best batch moved between the runs."
    )
    return [Notice(code="batch_outside", message=message)]
