"""The line-up at the held-out scale: the contenders, the origin of each rate, and what their runs cost at most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.amounts import count, duration, flops, multipliers, rate
from orchestrator.cells import Cell, Point
from orchestrator.documents.comparisons import (
    FITTING,
    MODULE_WISE,
    SAME_RATE,
    TRANSFER,
    BaseOptimum,
    ExpectedBowl,
    LeftOutDocument,
    LineUp,
    PlannedContender,
)
from orchestrator.heldout.comparison_setup import ComparisonSetup
from orchestrator.heldout.module_rates import ModuleTrial, parse_module_rates
from orchestrator.heldout.run_groups import RunGroup
from orchestrator.law import BowlStatus, Law
from orchestrator.law.observations import point_array
from orchestrator.law.published import LAWS, Anchor, PublishedLaw, published_rates
from orchestrator.spec import Budget, CellRole

REFERENCE_STEP: Final = 10**0.25
REFERENCE: Final = tuple(REFERENCE_STEP**power for power in (-2, -1, 1, 2))
"""Factors on Fitting's rate of the reference bowl's further rates: five rates in all, over one decade."""

AS_GOOD: Final = REFERENCE_STEP**0.25
"""A contender's rate within this factor of a reference rate replaces it: it is a point of the bowl as well."""

FITTING_AND_SAME_RATE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonCost:
    """Upper bounds on the runs and FLOPs (6·N·D each) of a comparison; contenders of equal rates share their runs."""

    runs: int
    flops: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A sweep's expenses: runs asked for, FLOPs, and seconds since its first run."""

    runs: int
    flops: float
    seconds: float


def base_optimum(law: Law, base: Cell) -> BaseOptimum:
    """The base's best rate from its own runs alone, as a user who tunes only there would find it.

    Without an interior minimum there it is the law's optimum of that cell: Fitting then helps Transfer.
    """
    bowl = law.bowl_at(base)
    if bowl is not None and bowl.status is BowlStatus.INTERIOR:
        origin = f"the minimum of the base's own {bowl.runs} runs, {_known(bowl.sd)}"
        return BaseOptimum(learning_rate=_lattice_rate(bowl.learning_rate), sd=bowl.sd, origin=origin)
    mean, sd = (float(value[0]) for value in law.optimum(point_array([base])))
    origin = f"the law's optimum of the base, whose own runs show no minimum, {_known(sd)}"
    return BaseOptimum(learning_rate=_lattice_rate(math.exp(mean)), sd=sd, origin=origin)


def line_up(
    setup: ComparisonSetup, law: Law, base: BaseOptimum, best: ModuleTrial | None, *, law_number: int
) -> LineUp:
    """Everything to run at the held-out scale.

    Args:
        setup: of the comparison.
        law: of the search.
        base: the optimum that Transfer is tuned to.
        best: the best trial of the search for module-wise rates; None without a search or a completed trial.
        law_number: the law's number in the sweep.

    Raises:
        Refused: the held-out optimum is not known within ×/÷ 3.
    """
    target = setup.standard.point
    predicted = law.predict(target)
    fitted = PlannedContender(
        name=FITTING,
        arm=CellRole.STANDARD,
        learning_rate=_lattice_rate(predicted.learning_rate),
        origin=f"law {law_number}, 95 % interval {rate(predicted.low)} to {rate(predicted.high)}",
    )
    transfer = PlannedContender(
        name=TRANSFER,
        arm=CellRole.TRANSFER,
        learning_rate=base.learning_rate,
        origin=f"in the base's units: {base.origin}",
    )
    same = PlannedContender(
        name=SAME_RATE,
        arm=CellRole.STANDARD,
        learning_rate=base.learning_rate,
        origin=f"the base's: {base.origin}",
    )
    published, left_out = _published(setup, target, base)
    contenders = (fitted, transfer, same, *published, *_module_wise(fitted, best))
    return LineUp(
        contenders=contenders,
        reference=_further_rates(fitted.learning_rate, contenders),
        left_out=left_out,
        expected=_expected(law, target),
    )


def _further_rates(middle: float, contenders: Sequence[PlannedContender]) -> tuple[float, ...]:
    """The rates that the reference bowl needs beside the contenders'."""
    run = [math.log(item.learning_rate) for item in contenders if RunGroup.of(item).is_in_bowl]
    wanted = [_lattice_rate(middle * factor) for factor in REFERENCE]
    return tuple(
        rate for rate in wanted if min(abs(math.log(rate) - other) for other in run) > math.log(AS_GOOD)
    )


def groups_of(planned: LineUp) -> Mapping[RunGroup, tuple[str, ...]]:
    """The groups of runs to make, each once, with the names of the contenders that share it; none for a reference rate."""
    found: dict[RunGroup, tuple[str, ...]] = {}
    for item in planned.contenders:
        found[RunGroup.of(item)] = (*found.get(RunGroup.of(item), ()), item.name)
    for learning_rate in planned.reference:
        found.setdefault(RunGroup(CellRole.STANDARD, learning_rate), ())
    return found


def applicable_laws(setup: ComparisonSetup) -> list[str]:
    """The names of the published laws that contend."""
    return [law.name for law in LAWS if _exclusion(setup, law) is None]


def _exclusion(setup: ComparisonSetup, law: PublishedLaw) -> str | None:
    """The reason why a published law does not contend; None if it does."""
    if law.of_mup:
        return "its rate is one of muP; at the base's horizon and batch it is Transfer's"
    return "it is a law of mixtures of experts" if law.of_experts and setup.is_dense else None


def _published(
    setup: ComparisonSetup, target: Point, base: BaseOptimum
) -> tuple[tuple[PlannedContender, ...], tuple[LeftOutDocument, ...]]:
    cell = setup.base
    anchor = Anchor(
        params=cell.params,
        tokens=cell.tokens,
        batch_tokens=cell.batch_tokens,
        learning_rate=base.learning_rate,
    )
    found = {item.law.name: item for item in published_rates(target, anchor)}
    contenders = tuple(
        PlannedContender(
            name=name,
            arm=CellRole.STANDARD,
            learning_rate=_lattice_rate(found[name].learning_rate),
            origin=f"its ratio from the base's optimum {rate(base.learning_rate)} at N {count(cell.params)}"
            if found[name].law.ratio_only
            else "its own formula",
            source=found[name].law.source,
        )
        for name in applicable_laws(setup)
        if name in found
    )
    left_out = [
        LeftOutDocument(name=law.name, reason=reason)
        for law in LAWS
        if (reason := _exclusion(setup, law)) is not None
    ]
    left_out += [
        LeftOutDocument(name=name, reason="it gives no rate above zero there")
        for name in applicable_laws(setup)
        if name not in found
    ]
    return contenders, tuple(left_out)


def _module_wise(fitted: PlannedContender, best: ModuleTrial | None) -> tuple[PlannedContender, ...]:
    if best is None:
        return ()
    found = multipliers(parse_module_rates(best.module_rates)) or "none was better than no multipliers"
    return (
        PlannedContender(
            name=MODULE_WISE,
            arm=CellRole.STANDARD,
            learning_rate=fitted.learning_rate,
            module_rates=best.module_rates,
            origin=f"Fitting's rate times the base's best multipliers: {found}",
        ),
    )


def _expected(law: Law, target: Point) -> ExpectedBowl:
    curvature = float(law.curvature(point_array([target]))[0])
    return ExpectedBowl(curvature=curvature, asymmetry=law.asymmetry, noise=law.noise)


def _known(sd: float) -> str:
    return f"known within ×/÷ {math.exp(1.96 * sd):.2f} (95 %)"


def _lattice_rate(learning_rate: float) -> float:
    """A rate in the six digits of a lattice, so that equal rates have equal numbers."""
    return float(f"{learning_rate:.6g}")


def cost_of(setup: ComparisonSetup) -> ComparisonCost:
    """The most that the search for module-wise rates and all seeds of the held-out scale take."""
    trials = 0 if setup.search is None else setup.search.runs
    standard = (
        FITTING_AND_SAME_RATE + len(applicable_laws(setup)) + len(REFERENCE) + (setup.search is not None)
    )
    return ComparisonCost(
        runs=trials + setup.seeds * (standard + 1),
        flops=trials * setup.base.flops
        + setup.seeds * (standard * setup.standard.flops + setup.transfer.flops),
    )


def out_of_reach(cost: ComparisonCost, budget: Budget, spent: Spent) -> str | None:
    """The reason why a budget does not suffice for a comparison; None if it does.

    Seconds are estimated from the seconds per FLOP of the sweep so far.
    """
    if budget.runs is not None and spent.runs + cost.runs > budget.runs:
        left = max(0, budget.runs - spent.runs)
        return f"it takes up to {cost.runs} runs, and the budget of {budget.runs} leaves {left}"
    if budget.flops is not None and spent.flops + cost.flops > budget.flops:
        left_flops = max(0.0, budget.flops - spent.flops)
        return f"it takes up to {flops(cost.flops)}, and the budget of {flops(budget.flops)} leaves {flops(left_flops)}"
    if budget.seconds is not None and spent.flops > 0:
        needed = cost.flops * spent.seconds / spent.flops
        if spent.seconds + needed > budget.seconds:
            left_seconds = max(0.0, budget.seconds - spent.seconds)
            return (
                f"it would take about {duration(needed)} at the speed so far, and the budget of "
                f"{count(budget.seconds)} seconds leaves {duration(left_seconds)}"
            )
    return None
