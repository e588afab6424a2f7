"""Both paradigms at the held-out scale in numbers: the reference bowl with each contender, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator import amounts
from orchestrator.documents.comparisons import (
    FITTING,
    MODULE_WISE,
    SAME_RATE,
    TRANSFER,
    BestDocument,
    ComparisonDocument,
    ContenderDocument,
)
from orchestrator.law.bowl_shape import rise
from orchestrator.spec import CellRole
from orchestrator.states import ComparisonStage

SAMPLES: Final = 81
ROOM: Final = 1.25
"""Of the panels above what the paradigms themselves lose; who loses more is shown at the edge."""

LEAST_TOP: Final = 0.01
OURS: Final = (FITTING, TRANSFER, SAME_RATE, MODULE_WISE)

WAITS: Final = {
    ComparisonStage.WAITING: "Both paradigms are compared at the held-out scale once the search is over.",
    ComparisonStage.TUNING: "Rates by module are searched at the base; the held-out scale comes next.",
    ComparisonStage.RUNNING: "The runs at the held-out scale are under way; their scores appear here when all have ended.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One contender.

    Attributes:
        name: of it.
        kind: ``ours`` for the paradigms and what stands beside them, ``published`` for a published law.
        learning_rate: of its runs.
        module_wise: whether its modules have rates of their own.
        own_units: whether that rate is in units of the base, and no place on the reference bowl.
        excess_loss: None where it diverged or no run completed.
        error: standard error of it.
        difference: to Fitting's loss with the same seeds; None for Fitting and who shares its runs.
        low: of the 95 % interval of that difference.
        high: of it.
        diverged: whether a seed diverged.
        text: what the pointer tells.
    """

    name: str
    kind: str
    learning_rate: float
    module_wise: bool
    own_units: bool
    excess_loss: float | None
    error: float
    difference: float | None
    low: float
    high: float
    diverged: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParadigmsView:
    """What there is to draw.

    Attributes:
        contestants: in their order.
        curve: learning rates and excess losses of the reference bowl.
        reference: the same of its further runs, the mean over their seeds.
        best_rate: at the bowl's bottom.
        top: excess loss at the upper edge.
        least: difference at the left edge.
        most: difference at the right edge.
        sentence: which paradigm to trust.
        place: the held-out scale in words.
    """

    contestants: tuple[Contestant, ...]
    curve: tuple[tuple[float, float], ...]
    reference: tuple[tuple[float, float], ...]
    best_rate: float
    top: float
    least: float
    most: float
    sentence: str
    place: str


def paradigms_view(compared: ComparisonDocument | None) -> ParadigmsView | str:
    """What to draw of a comparison, or what will appear, and when.

    Args:
        compared: the comparison; None where the sweep has none.
    """
    if compared is None:
        return "This sweep compares nothing at a held-out scale: its specification has no comparison."
    best = compared.best
    if best is None:
        return WAITS.get(compared.state) or f"Nothing was compared: {compared.reason or 'no run completed'}."
    contestants = tuple(_contestant(item) for item in compared.contenders)
    reference = tuple(
        (item.learning_rate, item.excess_loss) for item in compared.reference if item.excess_loss is not None
    )
    top = _top(contestants, [excess for _, excess in reference])
    rates = [item.learning_rate for item in contestants if not item.own_units] + [
        rate for rate, _ in reference
    ]
    at, (least, most) = compared.held_out, _span(contestants)
    return ParadigmsView(
        contestants=contestants,
        curve=_curve(best, rates, top),
        reference=reference,
        best_rate=best.learning_rate,
        top=top,
        least=least,
        most=most,
        sentence=compared.verdict or "",
        place=f"N {amounts.count(at.params)} · D {amounts.count(at.tokens)} · B {amounts.count(at.batch_tokens)}",
    )


def _contestant(item: ContenderDocument) -> Contestant:
    excess, apart = item.excess_loss, item.difference
    return Contestant(
        name=item.name,
        kind="ours" if item.name in OURS else "published",
        learning_rate=item.learning_rate,
        module_wise=item.name == MODULE_WISE,
        own_units=item.arm is CellRole.TRANSFER,
        excess_loss=None if excess is None else excess.value,
        error=0.0 if excess is None else excess.standard_error,
        difference=None if apart is None else apart.value,
        low=0.0 if apart is None else apart.low,
        high=0.0 if apart is None else apart.high,
        diverged=bool(item.diverged),
        text=_text(item),
    )


def _text(item: ContenderDocument) -> str:
    excess, apart = item.excess_loss, item.difference
    units = " in the base's units" if item.arm is CellRole.TRANSFER else ""
    lines = [item.name, f"η {amounts.rate(item.learning_rate, 3)}{units}"]
    if item.module_rates:
        lines.append(amounts.multipliers(item.module_rates))
    if item.diverged:
        lines.append("diverged")
    if excess is not None:
        lines.append(
            f"excess loss {amounts.percent(excess.value)} ± {amounts.percent(excess.standard_error)} (standard error)"
        )
    if apart is not None:
        lines.append(
            f"to Fitting {amounts.percent(apart.value)} ± {amounts.percent(apart.half_width)} (95 %)"
        )
    return "<br>".join(lines)


def _top(contestants: Sequence[Contestant], reference: Sequence[float]) -> float:
    ours = [
        item.excess_loss + item.error
        for item in contestants
        if item.kind == "ours" and item.excess_loss is not None
    ]
    return ROOM * max([LEAST_TOP, *ours, *reference])


def _span(contestants: Sequence[Contestant]) -> tuple[float, float]:
    """The differences that the panel shows: those of the paradigms, with some room."""
    ours = [item for item in contestants if item.kind == "ours" and item.difference is not None]
    low, high = min([0.0, *(item.low for item in ours)]), max([0.0, *(item.high for item in ours)])
    room = (ROOM - 1) * max(LEAST_TOP, high - low)
    return low - room, high + room


def _curve(best: BestDocument, rates: Sequence[float], top: float) -> tuple[tuple[float, float], ...]:
    """The bowl between the outermost rates, as far as the panel reaches."""
    x = np.geomspace(min(rates), max(rates), SAMPLES)
    y = np.expm1(best.curvature * rise(np.log(x / best.learning_rate), best.asymmetry))
    return tuple((float(rate), float(excess)) for rate, excess in zip(x, y, strict=True) if excess <= top)
