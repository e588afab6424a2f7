"""Rates that the law rules out in each cell, with the reason as a sentence."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from orchestrator.amounts import rate as format_rate
from orchestrator.cells import Cells
from orchestrator.law import Law
from orchestrator.law.bowl import Z95
from orchestrator.law.bowl_shape import half_widths
from orchestrator.law.law import VALLEY
from orchestrator.planner.linear_model import Belief
from orchestrator.planner.values import Pruned


def ruled_out(
    law: Law, cells: Cells, belief: Belief, kept: Collection[tuple[int, float]]
) -> tuple[Pruned, ...]:
    """Rates outside the valley of their cell for every optimum in its 95 % interval.

    Args:
        law: the law, for the number of its runs.
        cells: the cells.
        belief: the law's posterior in them.
        kept: (cell number, η) that were asked for, or are about to be.

    Returns:
        All such rates that are not kept, those of earlier laws included.
    """
    below, above = half_widths(VALLEY / belief.curvature, law.asymmetry)
    low, high = belief.optimum - Z95 * belief.sd, belief.optimum + Z95 * belief.sd
    least, most = np.exp(low + below), np.exp(high + above)
    found = []
    for at, cell in enumerate(cells):
        outside = [rate for rate in cell.rates if not least[at] <= rate <= most[at]]
        dropped = [rate for rate in outside if (cell.number, rate) not in kept]
        why = _reason(law, belief.optimum[at], low[at], high[at]) if dropped else ""
        found += [
            Pruned(
                cell=cell.number,
                learning_rate=rate,
                reason=f"{why} {format_rate(rate, 3)} lies outside its valley.",
            )
            for rate in dropped
        ]
    return tuple(found)


def _reason(law: Law, middle: float, low: float, high: float) -> str:
    return (
        f"The law of {law.runs} runs puts the optimum of this cell at {format_rate(np.exp(middle))} "
        f"({format_rate(np.exp(low))} … {format_rate(np.exp(high))});"
    )
