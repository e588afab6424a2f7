"""The best batch at one (N, D) with its uncertainty, and the cost of every other batch."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from orchestrator.law.bowl import Z95
from orchestrator.law.bowl_shape import half_widths, rise
from orchestrator.law.observations import Array

WIDEST_BATCH = 10.0  # a 95 % interval of the best batch wider than ×/÷ this says nothing
PLACES, SLOPES = 41, 7  # equally likely values of ln B*, and of ln C, over which costs are averaged
BISECTIONS = 40
FARTHEST = 12.0  # ln of the factor from the best batch within which costs are searched
HIGHEST = (
    5.0  # of ln(loss / least loss): what has learned nothing loses no more, and an excess stays a number
)


def middles(values: int) -> Array:
    """The standard normal quantiles in the middle of equally likely parts, shape [values]."""
    return np.asarray(ndtri((np.arange(values) + 0.5) / values))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BestBatch:
    """Posterior of the bowl of ln loss against ln B at one (N, D).

    Attributes:
        mean: Of (ln B*, ln C, a), shape [3].
        covariance: Of the same, shape [3, 3].
    """

    mean: Array
    covariance: Array

    @property
    def batch_tokens(self) -> float:
        """B*, the median."""
        return float(np.exp(self.mean[0]))

    @property
    def sd(self) -> float:
        """Standard deviation of ln B*."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of B*."""
        half = Z95 * self.sd
        return float(np.exp(self.mean[0] - half)), float(np.exp(self.mean[0] + half))

    @property
    def vague(self) -> bool:
        """Whether the interval is too wide to name a batch."""
        return bool(Z95 * self.sd > np.log(WIDEST_BATCH))

    def excess_loss(self, batch_tokens: Array) -> tuple[Array, Array, Array]:
        """Excess loss of the best rate at a batch over that at the best batch (0.001 is 0.1 %).

        Args:
            batch_tokens: B, shape [m].

        Returns:
            (expected, lower and upper end of the 95 % interval), shape [m] each.
        """
        cost = self._costs(np.log(batch_tokens))
        low, high = np.quantile(cost, [0.025, 0.975], axis=0)
        return cost.mean(axis=0), low, high

    def largest_within(self, excess_loss: float) -> float | None:
        """The largest batch whose expected excess loss is at most this; None if there is none."""
        inside = float(self.mean[0])
        if self._expected(inside) > excess_loss:
            return None
        curvature = np.exp(self.mean[1])
        (above,) = half_widths(np.array([np.log1p(excess_loss) / curvature]), float(self.mean[2]))[1]
        outside = inside + min(
            float(above), FARTHEST
        )  # the expectation is above the cost at the median, but for rounding
        for _ in range(BISECTIONS):
            half = (inside + outside) / 2
            if self._expected(half) <= excess_loss:
                inside = half
            else:
                outside = half
        return float(np.exp(inside))

    def _expected(self, log_batch: float) -> float:
        return float(self._costs(np.array([log_batch])).mean())

    def _costs(self, log_batches: Array) -> Array:
        """Excess losses under equally likely bowls, shape [m] -> [bowls, m]; a is at its mean."""
        spread = self.sd
        tilt = self.covariance[0, 1] / spread**2
        left = np.sqrt(max(self.covariance[1, 1] - tilt**2 * spread**2, 0.0))
        off = np.repeat(spread * middles(PLACES), SLOPES)
        steep = np.exp(self.mean[1] + tilt * off + left * np.tile(middles(SLOPES), PLACES))
        u = log_batches - (self.mean[0] + off)[:, None]
        return np.asarray(np.expm1(np.minimum(steep[:, None] * rise(u, float(self.mean[2])), HIGHEST)))
