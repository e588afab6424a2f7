"""Which rates the law rules out in which cells, and why, in a sentence of numbers."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from orchestrator.law import Law
from orchestrator.law.bowl import Z95
from orchestrator.law.bowl_shape import half_widths
from orchestrator.law.law import VALLEY
from orchestrator.planner.linear_model import Belief
from orchestrator.planner.values import Cells, Pruned


def ruled_out(
    law: Law, cells: Cells, belief: Belief, kept: Collection[tuple[int, float]]
) -> tuple[Pruned, ...]:
    """Rates that cannot lie in the valley of their cell wherever in its 95 % interval the optimum is.

    Args:
        law: the law, for its name.
        cells: the cells.
        belief: what the law says of them.
        kept: (cell, η) that were asked for, or are about to be.

    Returns:
        All such rates that are not kept: the whole list, not what is new since an earlier law.
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
                reason=f"{why} {rate:.3g} lies outside its valley: not wanted as an optimum.",
            )
            for rate in dropped
        ]
    return tuple(found)


def _reason(law: Law, middle: float, low: float, high: float) -> str:
    return (
        f"The law of {law.runs} runs puts the optimum of this cell at {np.exp(middle):.2g} "
        f"({np.exp(low):.2g} … {np.exp(high):.2g});"
    )
