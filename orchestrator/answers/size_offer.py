"""The offer of a further size that would narrow the interval at a target, with its runs and its cost."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from orchestrator.amounts import count, factor, flops, percent, rate, sized
from orchestrator.cells import CLOSE, TRAINING_FLOPS_PER_PARAM_TOKEN, Point
from orchestrator.documents.predictions import FurtherCellDocument, FurtherSizeDocument
from orchestrator.errors import Refused
from orchestrator.law import Law
from orchestrator.law.grouped_runs import numbered
from orchestrator.law.law import WIDEST
from orchestrator.law.refusal import LawRefusal
from orchestrator.planner.further_size import FurtherCell, FurtherSize, further_size

ORDINALS: Final = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
)
MOST_LISTED: Final = 4


def further_size_offer(
    law: Law,
    target: Point,
    *,
    planned: Collection[float] = (),
    active_share: float = 1.0,
    budget_flops: float | None = None,
) -> FurtherSizeDocument:
    """Offer the size that narrows the interval at the target most for its FLOPs.

    Args:
        law: the law that predicts.
        target: where.
        planned: N of all cells of the law's sweep, if it has one; nothing is offered while some have no runs.
        active_share: active parameters over N: a run costs 6 FLOPs for each active parameter and token.
        budget_flops: FLOPs that may be spent in all.
    """
    lacking = sorted(size for size in planned if not _has_runs(law, size))
    if lacking:
        listed = ", ".join(count(size) for size in lacking[:MOST_LISTED])
        more = f" and {len(lacking) - MOST_LISTED} more" if len(lacking) > MOST_LISTED else ""
        return _none(f"The sweep's own cells of {listed}{more} parameters have no results yet.")
    found = further_size(law, target, active_share=active_share, budget_flops=budget_flops)
    if isinstance(found, str):
        return _none(found)
    return FurtherSizeDocument.of(
        found,
        cells=[FurtherCellDocument.of(one.cell, learning_rates=one.rates) for one in found.cells],
        interval_factor_before=found.factor_before,
        interval_factor_after=found.factor_after,
        reason=_reason(law, target, found, active_share),
    )


def with_further_size(
    refusal: Refused,
    law: Law,
    target: Point,
    *,
    planned: Collection[float] = (),
    active_share: float = 1.0,
    budget_flops: float | None = None,
) -> Refused:
    """A refusal that names the size that would lift it, if there is one; other arguments as in `further_size_offer`."""
    if refusal.code != LawRefusal.INTERVAL_TOO_WIDE.code:
        return refusal
    offer = further_size_offer(
        law, target, planned=planned, active_share=active_share, budget_flops=budget_flops
    )
    if offer.interval_factor_after is None or offer.interval_factor_after > WIDEST:
        return refusal
    return Refused(f"{refusal.detail} {offer.reason}", fields=refusal.fields, code=refusal.code)


def _has_runs(law: Law, size: float) -> bool:
    return bool((np.abs(np.log(law.points[:, 0] / size)) < CLOSE).any())


def _none(reason: str) -> FurtherSizeDocument:
    return FurtherSizeDocument(
        params=None,
        cells=[],
        flops=None,
        interval_factor_before=None,
        interval_factor_after=None,
        reason=reason,
    )


def _reason(law: Law, target: Point, found: FurtherSize, active_share: float) -> str:
    """The offer in sentences: what it would bring, what it costs, and its runs."""
    sizes = numbered(np.log(law.points[:, :1]))[1].size
    which = f"A {ORDINALS[sizes]} size" if sizes < len(ORDINALS) else "A further size"
    at_target = TRAINING_FLOPS_PER_PARAM_TOKEN * active_share * target.params * target.tokens
    runs = "; ".join(_runs_text(one) for one in found.cells)
    return (
        f"{which} near {sized('params', found.params, 2)} would narrow the interval from {factor(found.factor_before)} to "
        f"{factor(found.factor_after)} for {flops(found.flops)} ({percent(found.flops / at_target)} of one run at the "
        f"target): {runs}."
    )


def _runs_text(one: FurtherCell) -> str:
    return (
        f"{len(one.rates)} runs at {sized('tokens', one.cell.tokens)}, {sized('batch_tokens', one.cell.batch_tokens)}, "
        f"rates {rate(one.rates[0])} to {rate(one.rates[-1])}"
    )
