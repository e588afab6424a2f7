"""The bottoms of a law's bowls: what the best batch and the expected loss are read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from orchestrator.law.bowl import Bowl
from orchestrator.law.grouped_runs import numbered
from orchestrator.law.observations import Array, Index, Mask

EFFICIENCY = (
    2.0  # variance of a bottom over that of a mean of the same runs: the bowl has to be fitted as well
)
FARTHEST_SD = 3.0  # sd of ln η* above which a bowl knows nothing of its bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottoms:
    """Loss at the bottom of each cell, sorted by (N, D, B) and grouped by (N, D).

    Attributes:
        points: N, D, B, shape [cells, 3].
        logs: Their logarithms.
        log_loss: ln of the loss at the bottom, shape [cells].
        variance: Its variance from noise and from the uncertain place of the bottom, shape [cells].
        group: Number of the (N, D) of each cell, ascending, shape [cells].
        start: First cell of each group, shape [groups].
    """

    points: Array
    logs: Array
    log_loss: Array
    variance: Array
    group: Index
    start: Index

    @classmethod
    def of(cls, bowls: Sequence[Bowl]) -> Self:
        """The bottoms of the bowls that have a loss."""
        rows = [
            (
                bowl.params,
                bowl.tokens,
                bowl.batch_tokens,
                bowl.loss,
                bowl.noise,
                max(bowl.runs - bowl.diverged - bowl.doubted, 1),
                bowl.curvature,
                bowl.sd,
            )
            for bowl in bowls
            if bowl.loss is not None
        ]
        table = np.array(rows, dtype=np.float64).reshape(-1, 8)
        noise, runs, curvature, sd = table[:, 4:].T
        place = np.minimum(sd, FARTHEST_SD)
        variance = EFFICIENCY * noise**2 / runs + (curvature * place**2) ** 2
        return cls._sorted(table[:, :3], np.log(table[:, 3]), variance)

    @classmethod
    def _sorted(cls, points: Array, log_loss: Array, variance: Array) -> Self:
        logs = np.log(points)
        number = numbered(logs[:, :2])[0] if len(logs) else np.zeros(0, dtype=np.int64)
        order = np.lexsort((log_loss, logs[:, 2], number))
        group = number[order]
        return cls(
            points=points[order],
            logs=logs[order],
            log_loss=log_loss[order],
            variance=variance[order],
            group=group,
            start=np.flatnonzero(np.diff(group, prepend=-1)),
        )

    @property
    def places(self) -> Array:
        """The (N, D) of each group as (ln N, ln D), shape [groups, 2]."""
        return np.asarray(self.logs[self.start, :2])

    def where(self, groups: Mask) -> Self:
        """The cells of the groups chosen by a mask, shape [groups]."""
        rows = groups[self.group]
        return self._sorted(self.points[rows], self.log_loss[rows], self.variance[rows])
