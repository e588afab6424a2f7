"""Predictions: the document of the contract, from a law and a target."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

import numpy as np

from orchestrator.amounts import percent
from orchestrator.answers.batch_costs import batch_answer
from orchestrator.answers.confirmation import Runs, confirmation
from orchestrator.answers.size_offer import further_size_offer, with_further_size
from orchestrator.cells import Point
from orchestrator.documents.predictions import (
    Interval,
    PredictionDocument,
    PublishedRate,
    Valley,
    WrongRate,
)
from orchestrator.errors import Refused
from orchestrator.law import Law
from orchestrator.law.law import VALLEY_PROBABILITY, Prediction
from orchestrator.law.notices import Notice
from orchestrator.law.observations import point_array
from orchestrator.law.published import published_rates
from orchestrator.spec import Base, SweepSpec

VALLEY_EXCESS_LOSS: Final = 0.001
"""Learning rates that lose at most this much form the valley (0.1 %)."""

WRONG_FACTORS: Final = (1 / 4, 1 / 2, 1 / math.sqrt(2), 1.0, math.sqrt(2), 2.0, 4.0)
"""Factors on the predicted rate whose expected cost is reported; 1 is the predicted rate itself."""


def prediction(
    law: Law,
    target: Point,
    *,
    sweep_id: str | None = None,
    law_number: int | None = None,
    runs: Runs | None = None,
    budget_flops: float | None = None,
    spec: SweepSpec | None = None,
    planned: Collection[float] = (),
) -> PredictionDocument:
    """Predict the learning rate at a target, with its interval, valley and warnings.

    Args:
        law: the law to ask.
        target: N, D and B of the model to train.
        sweep_id: the sweep that the law belongs to, if any.
        law_number: the law's number in that sweep, if any.
        runs: reads the runs that the law was fitted to, if they are available; confirms a target that has runs.
        budget_flops: FLOPs that may be spent on confirming, or on a further size.
        spec: of the law's sweep, if it has one: determines the units of the rate and the cost of a run.
        planned: N of the cells of the law's sweep, if it has one: a further size is proposed when all have results.

    Raises:
        Refused: the data do not determine the rate at this target within ×/÷ 3.
    """
    base, share = None, 1.0
    if spec is not None:
        base, share = spec.training.base(spec.grid), spec.training.active_share(spec.grid)
    try:
        answer = law.predict(target)
    except Refused as refusal:
        raise with_further_size(
            refusal, law, target, planned=planned, active_share=share, budget_flops=budget_flops
        ) from refusal
    wrong = wrong_rate(law, target, answer.learning_rate)
    batch, of_batch = batch_answer(law, target)
    notices = (*answer.notices, *of_batch, *_unit_notices(base), *_cost_notices(share))
    return PredictionDocument.of(
        answer,
        sweep_id=sweep_id,
        law_number=law_number,
        interval=Interval(level=0.95, low=answer.low, high=answer.high),
        valley=Valley(
            low=answer.valley_low,
            high=answer.valley_high,
            excess_loss=VALLEY_EXCESS_LOSS,
            probability=VALLEY_PROBABILITY,
            reason=None if answer.valley_low < answer.valley_high else _no_valley(wrong),
        ),
        wrong_rate=wrong,
        batch=batch,
        expected_loss_interval=_loss_interval(answer),
        confirmation=confirmation(law, target, runs=runs, budget_flops=budget_flops, active_share=share),
        further_size=further_size_offer(
            law, target, planned=planned, active_share=share, budget_flops=budget_flops
        ),
        base=base,
        notices=notices,
        published=published(law, target, of_mup=base is not None),
    )


def _loss_interval(answer: Prediction) -> Interval | None:
    if answer.loss_low is None or answer.loss_high is None:
        return None
    return Interval(level=0.95, low=answer.loss_low, high=answer.loss_high)


def _cost_notices(share: float) -> list[Notice]:
    """States the assumed share of active parameters that the cost of a run is computed with."""
    if share == 1.0:
        return []
    message = (
        f"N counts every expert. The cost of a run at the target assumes that {percent(share)} of its parameters are "
        "active, as in the largest proxy."
    )
    return [Notice(code="assumed_active_share", message=message)]


def _unit_notices(base: Base | None) -> list[Notice]:
    """States that a global rate of muP must be converted before it is used."""
    if base is None:
        return []
    message = (
        f"The rate is the global one of muP, in units of the base of width {base.width} and depth {base.depth}: "
        "`etalon rules` prints the rate of each kind of parameter of the target."
    )
    return [Notice(code="global_rate", message=message)]


def wrong_rate(law: Law, target: Point, learning_rate: float) -> list[WrongRate]:
    """The expected costs of rates beside the predicted one, with the uncertainty of the optimum.

    Args:
        law: the law that predicted.
        target: where.
        learning_rate: the predicted rate.

    Returns:
        One entry per factor of ``WRONG_FACTORS``, from the lowest rate to the highest.
    """
    rates = learning_rate * np.array(WRONG_FACTORS)
    costs = law.excess_loss(point_array([target]), rates)
    return [
        WrongRate(factor=factor, learning_rate=float(rate), excess_loss=float(cost))
        for factor, rate, cost in zip(WRONG_FACTORS, rates, costs, strict=True)
    ]


def _no_valley(wrong: list[WrongRate]) -> str:
    """The reason for no valley."""
    (here,) = (item.excess_loss for item in wrong if item.factor == 1)
    return (
        f"The optimum is too uncertain: no rate loses at most {percent(VALLEY_EXCESS_LOSS)} with probability "
        f"{VALLEY_PROBABILITY:g}. The predicted rate is expected to lose {percent(here)}."
    )


def published(law: Law, target: Point, *, of_mup: bool = False) -> list[PublishedRate]:
    """The rates of the published laws at the same target; ratio-only laws start from the law's own optimum."""
    found = published_rates(target, anchor=law.anchor(target.batch_tokens), of_mup=of_mup)
    return [PublishedRate.of(item, item.law, law=item.law.name) for item in found]
