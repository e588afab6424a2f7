"""No law without a minimum: what the losses do instead, in words."""

from enum import Enum

import numpy as np

from orchestrator.law import identifiability
from orchestrator.law.bowl import Bowl
from orchestrator.law.grouped_runs import GroupedRuns
from orchestrator.law.observations import Array
from orchestrator.law.refusal import LawRefusal, Refused
from orchestrator.law.status import LEAST_TOLD, BowlStatus

CHANCE = 3.0  # squared noise that a bowl explains of a cell of noise: 1 to 2 on average
RIDGE = 1 / 3  # of the range of a cell's losses, above which a loss between two lower ones parts them


class Outline(Enum):
    """What the losses of a cell do from its lowest rate to its highest, if not one bowl."""

    INVERTED = "highest in the middle, lowest at the ends"
    SEVERAL_MINIMA = "two minima or more"


def outline(y: Array) -> Outline | None:
    """The outline of losses by ascending rate, None where they fall, then rise, or do only one of them; shape [rates]."""
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
        gain: How much better it is than a constant (status.py), shape [cells].

    Raises:
        Refused: With what the losses do instead, as far as most cells agree on it.
    """
    enough = np.array([bowl.status is not BowlStatus.TOO_FEW for bowl in bowls])
    told, least = float(gain[enough].sum()), LEAST_TOLD + CHANCE * int(enough.sum())
    interior = any(bowl.status is BowlStatus.INTERIOR for bowl in bowls)
    told_apart = told >= least or not enough.any()
    if interior and told_apart:
        return
    outlines = [outline(cells.y[cells.cell == cell]) for cell in np.flatnonzero(enough)]
    number = {kind: outlines.count(kind) for kind in Outline}
    if 2 * number[Outline.INVERTED] > len(outlines):
        raise Refused(LawRefusal.INVERTED, inverted=number[Outline.INVERTED], cells=len(outlines))
    several = number[Outline.SEVERAL_MINIMA] if 2 * number[Outline.SEVERAL_MINIMA] > len(outlines) else 0
    sloping = slopes(cells, bowls)
    if not told_apart and 2 * max(sloping) <= len(outlines):
        raise Refused(
            LawRefusal.FLAT, cells=len(outlines), told=max(told, 0.0), least=least, advice=of_noise(several)
        )
    raise Refused(LawRefusal.NO_INTERIOR_MINIMUM, **counted(cells, bowls, sloping, several))


def slopes(cells: GroupedRuns, bowls: tuple[Bowl, ...]) -> tuple[int, int]:
    """How many cells called flat have losses that only rise with the rate, and how many that only fall.

    One such cell is noise; where most are, the losses do depend on the rate, and the minimum lies outside.
    """
    flat = [cell for cell, bowl in enumerate(bowls) if bowl.status is BowlStatus.FLAT]
    steps = [np.diff(cells.y[cells.cell == cell]) for cell in flat]
    return sum(bool((step > 0).all()) for step in steps), sum(bool((step < 0).all()) for step in steps)


def of_noise(several: int) -> str:
    """What to do about losses that no bowl describes, `several` cells of which have several minima."""
    if not several:
        return "Try learning rates further apart, or more of them."
    return (
        f"In {several} of these cells the loss has several minima: that is noise, or runs of several recipes in one "
        "table. Repeat runs with other seeds to tell which, or try learning rates further apart."
    )


def counted(
    cells: GroupedRuns, bowls: tuple[Bowl, ...], sloping: tuple[int, int], several: int
) -> dict[str, object]:
    """What the sentence of a refusal for want of an interior minimum is filled with."""
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
    return {
        "cells": len(bowls),
        "low": low,
        "high": high,
        "few": few,
        "wasted": wasted,
        "above": identifiability.WASTED,
        "flat": flat,
        "lowest": float(rates.min()),
        "highest": float(rates.max()),
        "advice": advice,
    }
