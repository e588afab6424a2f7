"""Excess losses of a law at cells whose runs it has not seen."""

from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from orchestrator.law.bowl import Z95, Bowl
from orchestrator.law.bowl_status import BowlStatus
from orchestrator.law.held_out_error import HeldOutCell
from orchestrator.law.law import Law
from orchestrator.law.observations import OWN, Array, Index, Observations, point_array, rows_among


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBowl:
    """The recorded losses of one cell, interpolated (PCHIP in ln η).

    Attributes:
        low: ln of the lowest rate.
        high: ln of the highest rate.
        best: The least loss; repeated rates count with their mean.
        loss: Loss against ln η; None with one rate only.
    """

    low: float
    high: float
    best: float
    loss: PchipInterpolator | None

    @classmethod
    def of(cls, x: Array, loss: Array) -> Self:
        """From ln η and losses of the finished runs, at least one."""
        rates, where = np.unique(x, return_inverse=True)
        mean = np.bincount(where, weights=loss) / np.bincount(where)
        curve = PchipInterpolator(rates, mean) if rates.size > 1 else None
        return cls(low=float(rates[0]), high=float(rates[-1]), best=float(mean.min()), loss=curve)

    def excess_loss(self, at: float) -> float | None:
        """Excess loss of ln η = `at` over the best rate, None outside the rates tried."""
        if self.loss is None or not self.low <= at <= self.high:
            return None
        return float(self.loss(at) / self.best - 1)

    def held(self, at: float) -> float:
        """Excess loss of ln η = `at`; beyond the rates tried, that of the outermost.

        Raises:
            ValueError: Fewer than two rates were tried.
        """
        lost = self.excess_loss(min(max(at, self.low), self.high))
        if lost is None:
            raise ValueError("An excess loss needs two learning rates or more.")
        return lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """Cells with a minimum, whose runs are held out.

    Attributes:
        law: The law of all runs.
        bowls: Its bowls in these cells.
        recorded: Their recorded losses.
        groups: A number for the cells that share trunks, `OWN` for the others, shape [bowls].
    """

    law: Law
    bowls: tuple[Bowl, ...]
    recorded: tuple[RecordedBowl, ...]
    groups: Index

    @classmethod
    def of(cls, law: Law, runs: Observations) -> Self:
        """The cells of `runs`, the runs held out."""
        finished = runs.where(np.isfinite(runs.loss))
        rows = rows_among(law.points, finished.points)
        kept, bowls, recorded = [], [], []
        for row, bowl in enumerate(law.bowls):
            own = rows == row
            if bowl.status is BowlStatus.INTERIOR and own.any():
                kept.append(row)
                bowls.append(bowl)
                recorded.append(RecordedBowl.of(np.log(finished.learning_rate[own]), finished.loss[own]))
        groups = sharing(rows, finished.trunks, len(law.bowls))[kept]
        return cls(law=law, bowls=tuple(bowls), recorded=tuple(recorded), groups=groups)

    def judge(self, rest: Law) -> tuple[HeldOutCell, ...]:
        """The predictions of a law that was fitted without these cells, and their excess losses.

        Inside the rates tried, the excess loss is interpolated from the recorded losses; outside, it is that of the
        cell's bowl.
        """
        points = point_array(self.bowls)
        mean, sd = rest.optimum(points)
        beyond = self.law.excess_loss(points, np.exp(mean))
        low, high = np.exp(mean - Z95 * sd), np.exp(mean + Z95 * sd)
        lost = [bowl.excess_loss(at) for bowl, at in zip(self.recorded, mean.tolist(), strict=True)]
        return tuple(
            HeldOutCell(
                **asdict(bowl.point),
                learning_rate=float(np.exp(mean[at])),
                low=float(low[at]),
                high=float(high[at]),
                measured=bowl.learning_rate,
                excess_loss=float(beyond[at]) if (recorded := lost[at]) is None else recorded,
                group=int(self.groups[at]),
            )
            for at, bowl in enumerate(self.bowls)
        )


def sharing(cell: Index, trunk: Index, cells: int) -> Index:
    """Groups of cells that are connected by common trunks.

    Args:
        cell: The cell of each run, negative for none, shape [runs].
        trunk: The label of its trunk, negative for a run of its own, shape [runs].
        cells: Number of cells.

    Returns:
        The number of each cell's group, `OWN` for a cell that shares no trunk, shape [cells].
    """
    own = (cell >= 0) & (trunk >= 0)
    labels, at = np.unique(trunk[own], return_inverse=True)
    size = cells + labels.size
    links = coo_array((np.ones(at.size), (cell[own], cells + at)), shape=(size, size))
    group = connected_components(links, directed=False)[1][:cells]
    return np.where(np.bincount(group)[group] > 1, group, OWN).astype(np.int64)
