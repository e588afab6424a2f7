"""A prediction as people and clients read it: the contract's document, from a law and a target."""

from __future__ import annotations

import math
from dataclasses import asdict
from operator import attrgetter
from typing import Final

import numpy as np

from orchestrator.amounts import percent
from orchestrator.answers.confirmation import Runs, confirmation
from orchestrator.documents.predictions import (
    AnchorDocument,
    BaseProxyDocument,
    Interval,
    PredictionDocument,
    PublishedRate,
    TargetDocument,
    Valley,
    WrongRate,
)
from orchestrator.errors import FieldProblem, Unsupported
from orchestrator.law import Law, Point, Refused
from orchestrator.law.law import VALLEY_PROBABILITY
from orchestrator.law.published import published_rates
from orchestrator.planner.values import Cell
from orchestrator.spec import Dense, ProxyTrainer, SweepSpec
from orchestrator.spec.transfer import Base, base_of
from orchestrator.submission.cells import params_of

VALLEY_EXCESS_LOSS: Final = 0.001
"""Learning rates that lose at most this much form the valley (0.1 %)."""

WRONG_FACTORS: Final = (1 / 4, 1 / 2, 1 / math.sqrt(2), 1.0, math.sqrt(2), 2.0, 4.0)
"""How far off the predicted rate the cost of a wrong rate is told; 1 is the predicted rate itself."""


def prediction(
    law: Law,
    target: Point,
    *,
    sweep_id: str | None = None,
    law_number: int | None = None,
    runs: Runs | None = None,
    budget_flops: float | None = None,
    spec: SweepSpec | None = None,
) -> PredictionDocument:
    """Predict the learning rate at a target, with its interval, valley and warnings.

    Args:
        law: the law to ask.
        target: N, D and B of the model that is really wanted.
        sweep_id: the sweep that the law belongs to, if any.
        law_number: the law's number in that sweep, if any.
        runs: reads what the law was fitted to, where that is at hand: a target that has runs is confirmed with them.
        budget_flops: what may be spent on confirming, for a cell to run where the target costs more.
        spec: of the sweep, where the law is one's: it says what the rates are in units of, and what a parameter costs.

    Raises:
        Unsupported: the data cannot tell the rate at this target within ×/÷ 3.
    """
    try:
        answer = law.predict(target)
    except Refused as refusal:
        reason = refusal.reason.name.lower().replace("_", " ")
        raise Unsupported(refusal.detail, fields=(FieldProblem(path="target", message=reason),)) from refusal
    wrong = wrong_rate(law, target, answer.learning_rate)
    base, share = (None, 1.0) if spec is None else (base_of_sweep(spec), active_share(spec))
    return PredictionDocument(
        sweep_id=sweep_id,
        law_number=law_number,
        target=target_document(target),
        learning_rate=answer.learning_rate,
        interval=Interval(level=answer.level, low=answer.low, high=answer.high),
        valley=Valley(
            low=answer.valley_low,
            high=answer.valley_high,
            excess_loss=VALLEY_EXCESS_LOSS,
            probability=VALLEY_PROBABILITY,
            reason=None if answer.valley_low < answer.valley_high else _no_valley(wrong),
        ),
        wrong_rate=wrong,
        confirmation=confirmation(law, target, runs=runs, budget_flops=budget_flops, active_share=share),
        expected_loss=answer.expected_loss,
        extrapolation=dict(answer.extrapolation),
        base=None if base is None else BaseProxyDocument(**asdict(base)),
        warnings=[*answer.warnings, *_units(base), *_costs(share)],
        published=published(law, target, of_mup=base is not None),
    )


def base_of_sweep(spec: SweepSpec) -> Base | None:
    """What a sweep's rates are in units of under its parametrization; None where they are the proxies' own."""
    return base_of(spec.grid, spec.trainer) if isinstance(spec.trainer, ProxyTrainer) else None


def active_share(spec: SweepSpec) -> float:
    """Active parameters over N, as the largest proxy has it: 1 unless the law is in the total ones of a mixture."""
    trainer = spec.trainer
    if not isinstance(trainer, ProxyTrainer) or isinstance(trainer.architecture, Dense):
        return 1.0
    if trainer.architecture.params == "active":
        return 1.0
    largest = max(
        (params_of(scale, trainer.architecture) for scale in spec.grid.scales), key=attrgetter("total")
    )
    return largest.active / largest.total


def _costs(share: float) -> list[str]:
    """Warns that what a run costs goes by a share of the target's parameters that nobody told."""
    if share == 1.0:
        return []
    return [
        f"N counts every expert; what a run at the target costs is told for {percent(share)} of it active, as in the "
        "largest proxy."
    ]


def _units(base: Base | None) -> list[str]:
    """Warns that a global rate of muP is no rate to train with as it stands."""
    if base is None:
        return []
    return [
        f"The rate is muP's global one, in units of the base of width {base.width} and depth {base.depth}: each kind of "
        "parameter of the target takes its own rate from it, which etalon rules prints."
    ]


def wrong_rate(law: Law, target: Point, learning_rate: float) -> list[WrongRate]:
    """What rates beside the predicted one are expected to cost at a target, the optimum's uncertainty included.

    Args:
        law: the law that predicted.
        target: where.
        learning_rate: the predicted rate.

    Returns:
        One entry per factor of ``WRONG_FACTORS``, from the lowest rate to the highest.
    """
    rates = learning_rate * np.array(WRONG_FACTORS)
    params, tokens, batch_tokens = (
        np.array([value]) for value in (target.params, target.tokens, target.batch_tokens)
    )
    costs = law.excess_loss(params, tokens, batch_tokens, rates)
    return [
        WrongRate(factor=factor, learning_rate=float(rate), excess_loss=float(cost))
        for factor, rate, cost in zip(WRONG_FACTORS, rates, costs, strict=True)
    ]


def _no_valley(wrong: list[WrongRate]) -> str:
    """Why low and high of a valley are one rate."""
    (here,) = (item.excess_loss for item in wrong if item.factor == 1)
    return (
        f"No rate is sure to {percent(VALLEY_PROBABILITY)} to lose as little as {percent(VALLEY_EXCESS_LOSS)}: the optimum is too uncertain, and "
        f"the predicted rate itself is expected to lose {percent(here)}."
    )


def target_document(at: Point | Cell) -> TargetDocument:
    """The (N, D, B) of a point or cell as a document."""
    return TargetDocument(params=at.params, tokens=at.tokens, batch_tokens=at.batch_tokens)


def published(law: Law, target: Point, *, of_mup: bool = False) -> list[PublishedRate]:
    """The rates of the published laws at the same target; ratio-only laws start from the law's own optimum."""
    found = published_rates(target, anchor=law.anchor(target.batch_tokens), of_mup=of_mup)
    return [
        PublishedRate(
            law=item.law,
            learning_rate=item.learning_rate,
            source=item.source,
            note=item.note,
            applies=item.applies,
            anchor=None if item.anchor is None else AnchorDocument(**asdict(item.anchor)),
        )
        for item in found
    ]
