"""What a cell's runs say of its minimum, and whether losses depend on the rate at all."""

from enum import StrEnum

import numpy as np

from orchestrator.law.evidence import TAIL, Locals, predicted
from orchestrator.law.grouped_runs import GroupedRuns
from orchestrator.law.observations import Array
from orchestrator.law.scales import Scales

LEAST_TOLD = 9.0  # squared noise that a bowl must explain: pure noise passes once in a hundred cells
WIDEST_SD = 0.5  # sd of ln η* over the half-width of the rates tried, above which no minimum is told
FEWEST_RATES = 3


class BowlStatus(StrEnum):
    """What a cell's runs say of its minimum; flat: no more than noise would."""

    INTERIOR = "interior"
    EDGE_LOW = "edge_low"
    EDGE_HIGH = "edge_high"
    FLAT = "flat"
    TOO_FEW = "too_few"


def told(cells: GroupedRuns, own: Locals, scales: Scales) -> Array:
    """How much better a bowl describes each cell than a constant, in squared units of the noise, shape [cells].

    A side that diverged, or rose too far to fit, is no noise: it counts for as much as is asked of a bowl. A loss that
    is far off the bowl is far off any curve: it weighs as little in both.
    """
    height, _ = predicted(cells, own)
    variance = own.unrest[cells.cell] * scales.variance(height, cells.repeats)
    residual = cells.y - own.bottom[cells.cell] - height
    weight = np.minimum((TAIL + 1) / (TAIL + residual**2 / variance), 1.0) / variance
    sum_of_weights = np.maximum(cells.total(weight), np.finfo(np.float64).tiny)
    mean = cells.total(weight * cells.y) / sum_of_weights
    fitted = cells.total(weight * ((cells.y - mean[cells.cell]) ** 2 - residual**2))
    return fitted + LEAST_TOLD * (np.isfinite(cells.floor).astype(np.float64) + np.isfinite(cells.ceiling))


def classify(cells: GroupedRuns, own: Locals, sd: Array, told: Array) -> list[BowlStatus]:
    """The status of each cell: whether its losses depend on the rate, where its best rate lies, what rises.

    Args:
        cells: All runs.
        own: Each cell's bowl from its own runs.
        sd: Standard deviation of its ln η*, shape [cells].
        told: How much better it is than a constant, shape [cells].
    """
    rates = np.bincount(cells.cell, minlength=cells.size)
    low, high = cells.extremes(cells.cell, cells.x)
    capped, propped = np.isfinite(cells.ceiling), np.isfinite(cells.floor)
    least, most = np.where(propped, cells.floor, low), np.where(capped, cells.ceiling, high)
    best = np.full(cells.size, np.nan)
    at_best = cells.y <= 0  # y is relative to the cell's best point
    best[cells.cell[at_best][::-1]] = cells.x[at_best][::-1]
    few = (rates + capped + propped < FEWEST_RATES) | (rates < np.where(capped & propped, 1, 2))
    vague = (sd > WIDEST_SD * (most - least) / 2) & ~(capped & propped)
    at_low = (own.optimum < least) | ((best <= low) & ~propped)
    at_high = (own.optimum > most) | ((best >= high) & ~capped)
    found = np.select(
        [few, told < LEAST_TOLD, at_low, at_high, vague],
        [BowlStatus.TOO_FEW, BowlStatus.FLAT, BowlStatus.EDGE_LOW, BowlStatus.EDGE_HIGH, BowlStatus.FLAT],
        BowlStatus.INTERIOR,
    )
    return [BowlStatus(status) for status in found.tolist()]
