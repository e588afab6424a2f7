"""Status of a cell's minimum, and whether its losses depend on the rate at all."""

from enum import StrEnum

import numpy as np

from orchestrator.law.cell_information import TAIL, CellUnknowns, predicted
from orchestrator.law.grouped_runs import GroupedRuns, extremes
from orchestrator.law.observations import Array
from orchestrator.law.scales import Scales

LEAST_GAIN = 9.0  # least deviance gain of a bowl: pure noise passes once in a hundred cells
WIDEST_SD = 0.5  # sd of ln η* over the half-width of the rates tried, above which there is no minimum
FEWEST_RATES = 3


class BowlStatus(StrEnum):
    """Status of a cell's minimum; flat: the losses vary no more than noise."""

    INTERIOR = "interior"
    EDGE_LOW = "edge_low"
    EDGE_HIGH = "edge_high"
    FLAT = "flat"
    TOO_FEW = "too_few"


def deviance_gain(cells: GroupedRuns, own: CellUnknowns, scales: Scales) -> Array:
    """Gain of a bowl over a constant in each cell, in squared units of the noise, shape [cells].

    A side that diverged, or rose too far to fit, is not noise: it adds `LEAST_GAIN`. An outlier has the same small weight
    in both.
    """
    height, _ = predicted(cells, own)
    variance = own.noise_ratio[cells.cell] * scales.variance(height, cells.repeats)
    residual = cells.y - own.bottom[cells.cell] - height
    weight = np.minimum((TAIL + 1) / (TAIL + residual**2 / variance), 1.0) / variance
    sum_of_weights = np.maximum(cells.total(weight), np.finfo(np.float64).tiny)
    mean = cells.total(weight * cells.y) / sum_of_weights
    fitted = cells.total(weight * ((cells.y - mean[cells.cell]) ** 2 - residual**2))
    return fitted + LEAST_GAIN * (np.isfinite(cells.floor).astype(np.float64) + np.isfinite(cells.ceiling))


def classify(cells: GroupedRuns, own: CellUnknowns, sd: Array, gain: Array) -> list[BowlStatus]:
    """The status of each cell: whether its losses depend on the rate, where its best rate lies, what rises.

    Args:
        cells: All runs.
        own: Bowl of each cell from its own runs.
        sd: Standard deviation of its ln η*, shape [cells].
        gain: `deviance_gain`, shape [cells].
    """
    rates = np.bincount(cells.cell, minlength=cells.size)
    low, high = extremes(cells.cell, cells.x, cells.size)
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
        [few, gain < LEAST_GAIN, at_low, at_high, vague],
        [BowlStatus.TOO_FEW, BowlStatus.FLAT, BowlStatus.EDGE_LOW, BowlStatus.EDGE_HIGH, BowlStatus.FLAT],
        BowlStatus.INTERIOR,
    )
    return [BowlStatus(status) for status in found.tolist()]
