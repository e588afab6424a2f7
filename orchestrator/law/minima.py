"""Refuses runs without a minimum, with what their losses do instead."""

from enum import Enum

import numpy as np

from orchestrator import amounts
from orchestrator.law import identifiability
from orchestrator.law.bowl import Bowl
from orchestrator.law.bowl_status import LEAST_GAIN, BowlStatus
from orchestrator.law.grouped_runs import GroupedRuns
from orchestrator.law.observations import Array
from orchestrator.law.refusal import LawRefusal

CHANCE = 3.0  # squared noise that a bowl explains in a cell of noise: 1 to 2 on average
RIDGE = 1 / 3  # of the range of a cell's losses: a loss that much above two lower ones separates them


class Outline(Enum):
    """Course of the losses of a cell from its lowest to its highest rate, if it is not one bowl."""

    INVERTED = "highest in the middle, lowest at the ends"
    SEVERAL_MINIMA = "two minima or more"


def outline(y: Array) -> Outline | None:
    """The outline of losses by ascending rate; None if they fall, then rise, or do only one of the two; shape [rates]."""
    if y.size < 3:
        return None
    left, right = np.minimum.accumulate(y)[:-2], np.minimum.accumulate(y[::-1])[::-1][2:]
    ridge = y[1:-1] - np.maximum(left, right)
    top = int(np.argmax(ridge))
    if ridge[top] <= RIDGE * np.ptp(y):
        return None
    ends = y[0] == left[top] and y[-1] == right[top]
    return Outline.INVERTED if ends else Outline.SEVERAL_MINIMA


def refuse_without_minimum(cells: GroupedRuns, bowls: tuple[Bowl, ...], gain: Array) -> None:
    """Refuses when the losses form no bowls beyond noise, or no cell shows a minimum with a rise on both sides.

    Args:
        cells: All runs.
        bowls: The bowl of each cell.
        gain: Gain of each bowl over a constant (bowl_status.py), shape [cells].

    Raises:
        Refused: With what the losses do instead, if most cells agree.
    """
    enough = np.array([bowl.status is not BowlStatus.TOO_FEW for bowl in bowls])
    explained, least = float(gain[enough].sum()), LEAST_GAIN + CHANCE * int(enough.sum())
    interior = any(bowl.status is BowlStatus.INTERIOR for bowl in bowls)
    beyond_noise = explained >= least or not enough.any()
    if interior and beyond_noise:
        return
    outlines = [outline(cells.y[cells.cell == cell]) for cell in np.flatnonzero(enough)]
    number = {kind: outlines.count(kind) for kind in Outline}
    if 2 * number[Outline.INVERTED] > len(outlines):
        raise LawRefusal.INVERTED.error(inverted=number[Outline.INVERTED], cells=len(outlines))
    several = number[Outline.SEVERAL_MINIMA] if 2 * number[Outline.SEVERAL_MINIMA] > len(outlines) else 0
    sloping = slopes(cells, bowls)
    if not beyond_noise and 2 * max(sloping) <= len(outlines):
        raise LawRefusal.FLAT.error(
            cells=len(outlines),
            gain=amounts.number(max(explained, 0.0)),
            least=amounts.number(least),
            advice=of_noise(several),
        )
    raise LawRefusal.NO_INTERIOR_MINIMUM.error(**counted(cells, bowls, sloping, several))


def slopes(cells: GroupedRuns, bowls: tuple[Bowl, ...]) -> tuple[int, int]:
    """Numbers of flat cells whose losses only rise with the rate, and whose losses only fall.

    One such cell is noise; if most are, the losses depend on the rate, and the minimum lies outside.
    """
    flat = [cell for cell, bowl in enumerate(bowls) if bowl.status is BowlStatus.FLAT]
    steps = [np.diff(cells.y[cells.cell == cell]) for cell in flat]
    return sum(bool((step > 0).all()) for step in steps), sum(bool((step < 0).all()) for step in steps)


def of_noise(several: int) -> str:
    """Advice for losses that no bowl describes; `several` is the number of cells with several minima."""
    if not several:
        return "Try learning rates further apart, or more of them."
    return (
        f"In {several} of these cells the loss has several minima: that is noise, or runs of several recipes in one "
        "table. Repeat runs with other seeds to separate the two, or try learning rates further apart."
    )


def counted(
    cells: GroupedRuns, bowls: tuple[Bowl, ...], sloping: tuple[int, int], several: int
) -> dict[str, object]:
    """Values of the refusal `NO_INTERIOR_MINIMUM`."""
    count = {status: sum(bowl.status is status for bowl in bowls) for status in BowlStatus}
    low, high, flat = (count[s] for s in (BowlStatus.EDGE_LOW, BowlStatus.EDGE_HIGH, BowlStatus.FLAT))
    if 2 * max(sloping) > flat:
        low, high, flat = low + sloping[0], high + sloping[1], flat - sum(sloping)
    few, wasted = identifiability.too_few(bowls)
    where = " downwards" if low > high else " upwards" if high > low else ""
    if low + high + flat == 0:
        advice = (
            "Run more learning rates near the best run of at least one cell, so that it can rise on both sides."
            if wasted > few
            else "Run a third learning rate in at least one cell, so that it can rise on both sides."
        )
    elif several:
        advice = of_noise(several)
    else:
        advice = f"Widen the learning rates{where} until at least one cell rises on both sides."
    rates = np.exp(np.concatenate([cells.x, cells.bound_x]))
    kinds = identifiability.listed_cells(
        (low, f"the best run at the lowest rate tried ({amounts.rate(float(rates.min()), 3)})"),
        (high, f"the best run at the highest rate tried ({amounts.rate(float(rates.max()), 3)})"),
        (few, "fewer than three rates"),
        (
            wasted,
            "three rates or more but fewer than three that neither diverged nor lie "
            f"{identifiability.WASTED} above the best",
        ),
        (flat, "no bowl beyond noise"),
    )
    return {"cells": len(bowls), "kinds": kinds, "advice": advice}
