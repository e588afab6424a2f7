"""The batch of a prediction: the best one at its (N, D), and what others cost."""

from __future__ import annotations

import math
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
        choices=_choices(law, target, best, offered_batches(tried)),
        largest_within=[
            LargestWithin(excess_loss=excess, batch_tokens=best.largest_within(excess)) for excess in WITHIN
        ],
    )
    return answer, _outside_notices(best, tried)


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


def _choices(law: Law, target: Point, best: BestBatch, batches: list[float]) -> list[BatchChoice]:
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
