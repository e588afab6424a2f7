"""One cell's bowl as its own runs show it, the shape and the curvature borrowed from the pool."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.law.evidence import (
    ASYMMETRY,
    ASYMMETRY_SPREAD,
    CURVATURE,
    OPTIMUM,
    Locals,
    gather,
    predicted,
)
from orchestrator.law.grouped_runs import GroupedRuns
from orchestrator.law.joint import cautious
from orchestrator.law.observations import Array
from orchestrator.law.point import Point
from orchestrator.law.pooled import Shrunk
from orchestrator.law.scales import Scales
from orchestrator.law.status import BowlStatus, classify, told

WINDOW = 1.0  # |ln η − ln η*| within which r2 is told
SETTLED = 1e-3  # change of a bowl's unknowns below which it is found
FREE_SD = 3.0  # prior sd of a bowl's own ln η*: vague, so that the law does not speak for the cell
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Bowl:
    """Loss against ln η in one cell.

    Attributes:
        params, tokens, batch_tokens: The cell.
        learning_rate: The rate at the bottom; on an edge a bound, not an optimum.
        sd: Standard deviation of its logarithm, from the cell's own runs and the pooled curvature.
        low, high: 95 % interval of the rate.
        loss: Loss at the bottom in the table's unit; None where no run finished.
        curvature, asymmetry: C and a of ln L = ln L_min + C·g(ln η − ln η*; a), g of shape.py.
        noise: Standard deviation of ln loss between equal runs of this cell.
        status: Interior minimum, or why not.
        runs: Runs in the cell, diverged ones included.
        diverged: Runs without a loss, or with one too far above the best to fit.
        doubted: Runs with a loss too low to believe, which are left out.
        r2: Share of the variance of ln loss explained within e^±1 of the bottom; None with fewer than three runs there.
        law_learning_rate: The optimum given all runs of all cells.
        law_sd: Standard deviation of its logarithm.
    """

    params: float
    tokens: float
    batch_tokens: float
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

    @property
    def point(self) -> Point:
        """Its (N, D, B)."""
        return Point(params=self.params, tokens=self.tokens, batch_tokens=self.batch_tokens)

    def to_document(self) -> dict[str, Any]:
        """As a JSON-able mapping."""
        return {**asdict(self), "status": self.status.value}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_document`."""
        return cls(**{**document, "status": BowlStatus(document["status"])})


def measure(
    cells: GroupedRuns, here: Locals, law_sd: Array, pool: tuple[Array, Array], scales: Scales
) -> tuple[tuple[Bowl, ...], Array]:
    """The bowl of every cell, in the order of the cells, and how much better each is than a constant (status.py).

    Args:
        cells: All runs.
        here: The joint fit's bowls, from which each cell's own is found.
        law_sd: Standard deviation of ln η* in the joint fit, shape [cells].
        pool: What the pool says of (ln C, ln η*, a) and its standard deviations, shape [cells, 3] each.
        scales: Variances of the joint fit.
    """
    own, likely, sure = alone(cells, here, *pool, scales)
    sd = np.sqrt(sure[:, OPTIMUM, OPTIMUM])
    gain = told(cells, own, scales)
    status = classify(cells, own, np.sqrt(likely[:, OPTIMUM, OPTIMUM]), gain)
    r2 = explained(cells, own)
    reach = Z95 * sd
    columns = {
        "params": cells.places[:, 0],
        "tokens": cells.places[:, 1],
        "batch_tokens": cells.places[:, 2],
        "learning_rate": np.exp(own.optimum),
        "sd": sd,
        "low": np.exp(own.optimum - reach),
        "high": np.exp(own.optimum + reach),
        "loss": told_where(np.isfinite(cells.best_loss), cells.best_loss * np.exp(own.bottom)),
        "curvature": np.exp(own.shape[:, CURVATURE]),
        "asymmetry": own.shape[:, ASYMMETRY],
        "noise": scales.noise * np.sqrt(here.unrest),
        "status": np.array(status, dtype=object),
        "runs": cells.runs,
        "diverged": cells.diverged,
        "doubted": cells.doubted,
        "r2": told_where(np.isfinite(r2), r2),
        "law_learning_rate": np.exp(here.optimum),
        "law_sd": law_sd,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return tuple(Bowl(**dict(zip(columns, row, strict=True))) for row in rows), gain


def told_where(known: NDArray[np.bool_], values: Array) -> NDArray[np.object_]:
    """The values, None where they are not known."""
    told = values.astype(np.object_)
    told[~known] = None
    return told


def alone(
    cells: GroupedRuns, start: Locals, pool: Array, pool_sd: Array, scales: Scales, steps: int = 8
) -> tuple[Locals, Array, Array]:
    """Each cell's bowl from its own runs with the pooled shape as prior.

    Returns:
        (the bowls, the covariance of (ln C, ln η*, a), the same if the noise is as large as it may well be).
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
        evidence = gather(cells, here, scales)
        free = Shrunk.of(evidence, own)
        goal = (free.covariance @ (evidence.vector + own * prior)[:, :, None])[:, :, 0]
        step = np.clip(goal - here.shape, -0.5, 0.5)
        shape = here.shape + step
        here = replace(here, bottom=evidence.bottom(shape), shape=shape)
        if np.abs(step).max() < SETTLED:
            break
    careful = Shrunk.of(gather(cells, here, cautious(scales, cells)), own)
    return here, free.covariance, careful.covariance


def explained(cells: GroupedRuns, own: Locals) -> Array:
    """r² of ln loss within the window round each bottom, NaN with fewer than three runs there, shape [cells]."""
    u = cells.x - own.optimum[cells.cell]
    near = (np.abs(u) <= WINDOW).astype(np.float64)
    fitted = own.bottom[cells.cell] + predicted(cells, own)[0]
    count = cells.total(near)
    mean = cells.total(near * cells.y) / np.maximum(count, 1)
    spread = cells.total(near * (cells.y - mean[cells.cell]) ** 2)
    left = cells.total(near * (cells.y - fitted) ** 2)
    enough = (count >= 3) & (spread > 0)
    return np.where(enough, 1 - left / np.where(enough, spread, 1.0), np.nan)
