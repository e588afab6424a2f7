"""Bowls of single cells from their own runs, with a prior from the pool on shape and curvature."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.cells import Point
from orchestrator.law.bowl_status import BowlStatus, classify, deviance_gain
from orchestrator.law.cell_information import (
    ASYMMETRY,
    ASYMMETRY_SPREAD,
    CURVATURE,
    OPTIMUM,
    CellUnknowns,
    linearise,
    predicted,
)
from orchestrator.law.grouped_runs import GroupedRuns
from orchestrator.law.joint import cautious
from orchestrator.law.observations import Array
from orchestrator.law.pooled import Shrunk
from orchestrator.law.scales import Scales

WINDOW = 1.0  # |ln η − ln η*| within which r2 is computed
SETTLED = 1e-3  # change of a bowl's unknowns below which the iteration ends
FREE_SD = 3.0  # prior sd of a bowl's own ln η*: vague, so that the law has no influence on it
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Bowl(Point):
    """Loss against ln η in one cell.

    Attributes:
        learning_rate: Rate at the bottom; at an edge a bound, not an optimum.
        sd: Standard deviation of its logarithm, from the cell's own runs and the pooled curvature.
        low, high: 95 % interval of the rate.
        loss: Loss at the bottom in the table's unit; None if no run finished.
        curvature, asymmetry: C and a of ln L = ln L_min + C·g(ln η − ln η*; a), g of bowl_shape.py.
        noise: Standard deviation of ln loss between equal runs of this cell.
        status: Interior minimum, or why there is none.
        runs: Runs in the cell, diverged ones included.
        diverged: Runs without a loss, or with one too far above the best to fit.
        doubted: Runs with a loss too low to believe, which are left out.
        r2: Share of the variance of ln loss explained within e^±1 of the bottom; None with fewer than three runs there.
        law_learning_rate: Optimum given the runs of all cells.
        law_sd: Standard deviation of its logarithm.
    """

    learning_rate: float
    sd: float
    low: float
    high: float
    loss: float | None
    curvature: float
    asymmetry: float
    noise: float
    status: BowlStatus
    runs: int
    diverged: int
    r2: float | None
    law_learning_rate: float
    law_sd: float
    doubted: int = 0

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`, from JSON as well."""
        return cls(**{**document, "status": BowlStatus(document["status"])})


def measure(
    cells: GroupedRuns, here: CellUnknowns, law_sd: Array, pool: tuple[Array, Array], scales: Scales
) -> tuple[tuple[Bowl, ...], Array]:
    """The bowl of every cell, in the order of the cells, and its gain over a constant (bowl_status.py).

    Args:
        cells: All runs.
        here: Bowls of the joint fit, where the iteration starts.
        law_sd: Standard deviation of ln η* in the joint fit, shape [cells].
        pool: Pooled (ln C, ln η*, a) and their standard deviations, shape [cells, 3] each.
        scales: Variances of the joint fit.
    """
    own, likely, sure = alone(cells, here, *pool, scales)
    sd = np.sqrt(sure[:, OPTIMUM, OPTIMUM])
    gain = deviance_gain(cells, own, scales)
    status = classify(cells, own, np.sqrt(likely[:, OPTIMUM, OPTIMUM]), gain)
    r2 = explained(cells, own)
    half_width = Z95 * sd
    columns = {
        "params": cells.points[:, 0],
        "tokens": cells.points[:, 1],
        "batch_tokens": cells.points[:, 2],
        "learning_rate": np.exp(own.optimum),
        "sd": sd,
        "low": np.exp(own.optimum - half_width),
        "high": np.exp(own.optimum + half_width),
        "loss": none_where_unknown(np.isfinite(cells.best_loss), cells.best_loss * np.exp(own.bottom)),
        "curvature": np.exp(own.shape[:, CURVATURE]),
        "asymmetry": own.shape[:, ASYMMETRY],
        "noise": scales.noise * np.sqrt(here.noise_ratio),
        "status": np.array(status, dtype=object),
        "runs": cells.runs,
        "diverged": cells.diverged,
        "doubted": cells.doubted,
        "r2": none_where_unknown(np.isfinite(r2), r2),
        "law_learning_rate": np.exp(here.optimum),
        "law_sd": law_sd,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return tuple(Bowl(**dict(zip(columns, row, strict=True))) for row in rows), gain


def none_where_unknown(known: NDArray[np.bool_], values: Array) -> NDArray[np.object_]:
    """The values, None if unknown."""
    found = values.astype(np.object_)
    found[~known] = None
    return found


def alone(
    cells: GroupedRuns, start: CellUnknowns, pool: Array, pool_sd: Array, scales: Scales, steps: int = 8
) -> tuple[CellUnknowns, Array, Array]:
    """The bowl of each cell from its own runs, with the pooled shape as prior.

    Returns:
        (the bowls, the covariance of (ln C, ln η*, a), the same covariance under a cautious estimate of the noise).
    """
    prior = start.shape.copy()
    prior[:, [CURVATURE, ASYMMETRY]] = pool[:, [CURVATURE, ASYMMETRY]]
    own = 1 / np.square(
        np.column_stack(
            [
                np.hypot(scales.curvature, pool_sd[:, CURVATURE]),
                np.full(cells.size, FREE_SD),
                np.hypot(ASYMMETRY_SPREAD, pool_sd[:, ASYMMETRY]),
            ]
        )
    )
    here = start
    for _ in range(steps):
        information = linearise(cells, here, scales)
        free = Shrunk.of(information, own)
        goal = (free.covariance @ (information.vector + own * prior)[:, :, None])[:, :, 0]
        step = np.clip(goal - here.shape, -0.5, 0.5)
        shape = here.shape + step
        here = replace(here, bottom=information.bottom(shape), shape=shape)
        if np.abs(step).max() < SETTLED:
            break
    careful = Shrunk.of(linearise(cells, here, cautious(scales, cells)), own)
    return here, free.covariance, careful.covariance


def explained(cells: GroupedRuns, own: CellUnknowns) -> Array:
    """r² of ln loss within `WINDOW` of each bottom, NaN with fewer than three runs there, shape [cells]."""
    u = cells.x - own.optimum[cells.cell]
    near = (np.abs(u) <= WINDOW).astype(np.float64)
    fitted = own.bottom[cells.cell] + predicted(cells, own)[0]
    count = cells.total(near)
    mean = cells.total(near * cells.y) / np.maximum(count, 1)
    spread = cells.total(near * (cells.y - mean[cells.cell]) ** 2)
    left = cells.total(near * (cells.y - fitted) ** 2)
    enough = (count >= 3) & (spread > 0)
    return np.where(enough, 1 - left / np.where(enough, spread, 1.0), np.nan)
