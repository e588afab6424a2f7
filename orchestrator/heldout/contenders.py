"""Who contends at the held-out scale, with which rate, and where each rate comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.amounts import count, rate
from orchestrator.heldout.module_rates import told
from orchestrator.heldout.modules import NONE, Trial
from orchestrator.heldout.setting import Setting
from orchestrator.heldout.values import (
    FITTING,
    MODULE_WISE,
    SAME_RATE,
    TRANSFER,
    Contender,
    Expected,
    LeftOut,
)
from orchestrator.law import BowlStatus, Law, Point
from orchestrator.law.observations import Array
from orchestrator.law.published import LAWS, Anchor, published_rates
from orchestrator.planner.values import Cell
from orchestrator.spec import CellRole

REFERENCE_STEP: Final = 10**0.25
REFERENCE: Final = tuple(REFERENCE_STEP**power for power in (-2, -1, 1, 2))
"""The reference bowl's rates over Fitting's: with it five, over one decade."""

AS_GOOD: Final = REFERENCE_STEP**0.25
"""A contender's rate within this factor of one of them stands for it: it is a point of the bowl as well."""

OF_MUP: Final = "Power Scheduler"
OF_EXPERTS: Final = "Joint MoE"
NOT_HERE: Final = {
    OF_MUP: "its rate is one of muP; at the base's horizon and batch it is Transfer's",
    OF_EXPERTS: "it is a law of mixtures of experts",
}
"""Published laws that may not apply, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseOptimum:
    """What Transfer is tuned to.

    Attributes:
        learning_rate: the best rate of the base.
        sd: standard deviation of its logarithm.
        origin: where it comes from, in a sentence.
    """

    learning_rate: float
    sd: float
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineUp:
    """Everything that is run at the held-out scale.

    Attributes:
        contenders: Fitting first.
        reference: further rates of the reference bowl, in standard parametrization.
        left_out: published laws that do not contend.
        expected: what the law says of the bowl there.
    """

    contenders: tuple[Contender, ...]
    reference: tuple[float, ...]
    left_out: tuple[LeftOut, ...]
    expected: Expected

    @property
    def places(self) -> Mapping[tuple[CellRole, float, str], str]:
        """What is run, each once, with whom it is run for."""
        found: dict[tuple[CellRole, float, str], str] = {}
        for item in self.contenders:
            found[item.place] = f"{found[item.place]}, {item.name}" if item.place in found else item.name
        for learning_rate in self.reference:
            found.setdefault((CellRole.STANDARD, learning_rate, NONE), "the reference bowl")
        return found


def base_optimum(law: Law, base: Cell) -> BaseOptimum:
    """The base's best rate by its own runs alone, as one who only tunes there would have it.

    Where those show no minimum it is what the law says of that cell: Transfer is then helped by Fitting.
    """
    place = _columns(base.params, base.tokens, base.batch_tokens)
    for number in law.known_cells(*place)[1]:
        bowl = law.bowls[number]
        if bowl.status is BowlStatus.INTERIOR:
            origin = f"the minimum of the base's own {bowl.runs} runs, {_known(bowl.sd)}"
            return BaseOptimum(learning_rate=_spelt(bowl.learning_rate), sd=bowl.sd, origin=origin)
    mean, sd = (float(value[0]) for value in law.optimum(*place))
    origin = f"what the law says of the base, whose own runs show no minimum, {_known(sd)}"
    return BaseOptimum(learning_rate=_spelt(math.exp(mean)), sd=sd, origin=origin)


def line_up(setting: Setting, law: Law, base: BaseOptimum, best: Trial | None, *, law_number: int) -> LineUp:
    """Everything to run at the held-out scale.

    Args:
        setting: where.
        law: of the search.
        base: what Transfer is tuned to.
        best: the best trial of the search for module-wise rates; None without a search, or where none completed.
        law_number: the law's number in the sweep.

    Raises:
        Refused: the law does not know the held-out optimum within ×/÷ 3.
    """
    held_out = setting.standard
    target = Point(params=held_out.params, tokens=held_out.tokens, batch_tokens=held_out.batch_tokens)
    predicted = law.predict(target)
    fitted = Contender(
        name=FITTING,
        arm=CellRole.STANDARD,
        learning_rate=_spelt(predicted.learning_rate),
        origin=f"law {law_number}, 95 % interval {rate(predicted.low)} to {rate(predicted.high)}",
    )
    transfer = Contender(
        name=TRANSFER,
        arm=CellRole.TRANSFER,
        learning_rate=base.learning_rate,
        origin=f"in the base's units: {base.origin}",
    )
    same = Contender(
        name=SAME_RATE,
        arm=CellRole.STANDARD,
        learning_rate=base.learning_rate,
        origin=f"the base's: {base.origin}",
    )
    published, left_out = _published(setting, target, base)
    contenders = (fitted, transfer, same, *published, *_module_wise(fitted, best))
    return LineUp(
        contenders=contenders,
        reference=_further_rates(fitted.learning_rate, contenders),
        left_out=left_out,
        expected=_expected(law, target),
    )


def _further_rates(middle: float, contenders: Sequence[Contender]) -> tuple[float, ...]:
    """The rates that the reference bowl still lacks."""
    run = [
        math.log(item.learning_rate)
        for item in contenders
        if item.arm is CellRole.STANDARD and item.module_rates == NONE
    ]
    wanted = [_spelt(middle * factor) for factor in REFERENCE]
    return tuple(
        rate for rate in wanted if min(abs(math.log(rate) - other) for other in run) > math.log(AS_GOOD)
    )


def applying(setting: Setting) -> list[str]:
    """The published laws that contend."""
    return [law.name for law in LAWS if law.name not in _excluded(setting)]


def _excluded(setting: Setting) -> tuple[str, ...]:
    return (OF_MUP, OF_EXPERTS) if setting.is_dense else (OF_MUP,)


def _published(
    setting: Setting, target: Point, base: BaseOptimum
) -> tuple[tuple[Contender, ...], tuple[LeftOut, ...]]:
    cell = setting.base
    anchor = Anchor(
        params=cell.params,
        tokens=cell.tokens,
        batch_tokens=cell.batch_tokens,
        learning_rate=base.learning_rate,
    )
    ratios = {law.name for law in LAWS if law.ratio_only}
    found = {item.law: item for item in published_rates(target, anchor)}
    contenders = tuple(
        Contender(
            name=name,
            arm=CellRole.STANDARD,
            learning_rate=_spelt(found[name].learning_rate),
            origin=f"its ratio from the base's optimum {rate(base.learning_rate)} at N {count(cell.params)}"
            if name in ratios
            else "its own formula",
            source=found[name].source,
        )
        for name in applying(setting)
        if name in found
    )
    left_out = [LeftOut(name=name, reason=NOT_HERE[name]) for name in _excluded(setting)]
    left_out += [
        LeftOut(name=name, reason="it gives no rate above zero there")
        for name in applying(setting)
        if name not in found
    ]
    return contenders, tuple(left_out)


def _module_wise(fitted: Contender, best: Trial | None) -> tuple[Contender, ...]:
    if best is None:
        return ()
    found = told(best.module_rates) or "none was better than no multipliers"
    return (
        Contender(
            name=MODULE_WISE,
            arm=CellRole.STANDARD,
            learning_rate=fitted.learning_rate,
            module_rates=best.module_rates,
            origin=f"Fitting's rate times the base's best multipliers: {found}",
        ),
    )


def _expected(law: Law, target: Point) -> Expected:
    place = _columns(target.params, target.tokens, target.batch_tokens)
    return Expected(curvature=float(law.curvature(*place)[0]), asymmetry=law.asymmetry, noise=law.noise)


def _columns(*values: float) -> tuple[Array, ...]:
    return tuple(np.array([value]) for value in values)


def _known(sd: float) -> str:
    return f"known within ×/÷ {math.exp(1.96 * sd):.2f} (95 %)"


def _spelt(learning_rate: float) -> float:
    """A rate in the six digits of a lattice's, so that equal rates are one."""
    return float(f"{learning_rate:.6g}")
