"""How loss falls with the horizon: L(D) = L0 + A·D^−γ under warmup-stable-decay (arXiv 2601.05049, eq. 4).

Fitted to the bottoms of the bowls of one (N, B) at several horizons: what a longer training at its best rate would give.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from orchestrator.law.bowl import Bowl
from orchestrator.law.observations import Array
from orchestrator.law.refusal import LawRefusal, Refused
from orchestrator.law.status import BowlStatus

GAMMA_MEDIAN, GAMMA_SPREAD = 0.3, 0.5
"""Prior of γ: lognormal; Chinchilla's exponent of D is 0.28 (arXiv 2203.15556), recorded sweeps give 0.2 to 0.5."""
NOISE_PRIOR, NOISE_WEIGHT = 1e-3, 2.0  # relative noise of a loss, and what that is worth in runs
FEWEST = 3
BOUNDS = (
    [-20.0, -20.0, np.log(0.02)],
    [2.0, 4.0, np.log(2.0)],
)  # of (ln L0, ln gain, ln γ), losses over the best


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HorizonLaw:
    """The fitted curve.

    Attributes:
        irreducible: L0, in the table's unit, > 0.
        gain: A·D0^−γ at the longest horizon D0 seen: what an endless run would still gain there.
        gamma: γ, > 0.
        longest: D0, tokens.
        covariance: Of (ln L0, ln gain, ln γ), shape [3, 3].
        noise: Relative standard deviation of a loss round the curve.
    """

    irreducible: float
    gain: float
    gamma: float
    longest: float
    covariance: Array
    noise: float

    def loss(self, tokens: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the loss at horizons of `tokens` (> 0), shape [m] each."""
        at = np.array([np.log(self.irreducible), np.log(self.gain), np.log(self.gamma)])
        far = np.log(np.asarray(tokens, dtype=np.float64) / self.longest)
        mean = curve(at, far)
        jacobian = derivatives(at, far)
        variance = np.einsum("mi,ij,mj->m", jacobian, self.covariance, jacobian) + (self.noise * mean) ** 2
        return mean, np.sqrt(variance)


def fit_horizon(tokens: Array, loss: Array) -> HorizonLaw:
    """Fits the curve to the losses of one (N, B, η) at several horizons, robustly.

    Args:
        tokens: Horizons D, > 0, shape [m].
        loss: Annealed losses there, > 0, shape [m]; NaN where the run diverged.

    Raises:
        Refused: Fewer than three different horizons have a loss.
    """
    finished = np.isfinite(loss)
    tokens, loss = tokens[finished], loss[finished]
    if np.unique(tokens).size < FEWEST:
        raise Refused(LawRefusal.TOO_FEW_HORIZONS, count=np.unique(tokens).size)
    longest, scale = float(tokens.max()), float(loss.min())
    far, level = np.log(tokens / longest), loss / scale

    def residuals(at: Array) -> Array:
        misfit = (curve(at, far) - level) / (NOISE_PRIOR * level)
        return np.append(misfit, (at[2] - np.log(GAMMA_MEDIAN)) / GAMMA_SPREAD)

    def jacobian(at: Array) -> Array:
        rows = derivatives(at, far) / (NOISE_PRIOR * level)[:, None]
        return np.vstack([rows, [0.0, 0.0, 1 / GAMMA_SPREAD]])

    fitted = least_squares(
        residuals, start(far, level), jac=jacobian, bounds=BOUNDS, loss="soft_l1", x_scale="jac", max_nfev=200
    )
    at = fitted.x
    left = residuals(at)[:-1]
    robust = 1 / np.sqrt(1 + left**2)  # the weight that soft_l1 gives
    excess = (NOISE_WEIGHT + (robust * left**2).sum()) / (NOISE_WEIGHT + max(level.size - 3, 0))
    rows = derivatives(at, far) * (np.sqrt(robust / excess) / (NOISE_PRIOR * level))[:, None]
    precision = rows.T @ rows + np.diag([1e-6, 1e-6, GAMMA_SPREAD**-2.0])
    covariance = np.linalg.inv(precision)
    return HorizonLaw(
        irreducible=float(np.exp(at[0]) * scale),
        gain=float(np.exp(at[1]) * scale),
        gamma=float(np.exp(at[2])),
        longest=longest,
        covariance=covariance,
        noise=NOISE_PRIOR * float(np.sqrt(excess)),
    )


def fit_horizons(bowls: Sequence[Bowl]) -> dict[tuple[float, float], HorizonLaw]:
    """The curve of every (params, batch_tokens) of which at least three horizons show a minimum."""
    by_place: dict[tuple[float, float], list[Bowl]] = {}
    for bowl in bowls:
        if bowl.status is BowlStatus.INTERIOR and bowl.loss is not None:
            by_place.setdefault((bowl.params, bowl.batch_tokens), []).append(bowl)
    return {
        place: fit_horizon(
            np.array([bowl.tokens for bowl in own]), np.array([bowl.loss for bowl in own], dtype=np.float64)
        )
        for place, own in by_place.items()
        if len({bowl.tokens for bowl in own}) >= FEWEST
    }


def curve(at: Array, far: Array) -> Array:
    """L at ln(D/D0), for (ln L0, ln gain, ln γ)."""
    return np.asarray(np.exp(at[0]) + np.exp(at[1] - np.exp(at[2]) * far))


def derivatives(at: Array, far: Array) -> Array:
    """Derivatives of `curve` by (ln L0, ln gain, ln γ), shape [m, 3]."""
    part = np.exp(at[1] - np.exp(at[2]) * far)
    return np.column_stack([np.full(far.size, np.exp(at[0])), part, -part * np.exp(at[2]) * far])


def start(far: Array, level: Array) -> Array:
    """Where the fit starts: least squares in (L0, gain) at the prior's γ, kept positive."""
    rows = np.column_stack([np.ones(far.size), np.exp(-GAMMA_MEDIAN * far)])
    irreducible, gain = np.linalg.lstsq(rows, level, rcond=None)[0]
    return np.log([np.clip(irreducible, 0.1, 5.0), np.clip(gain, 1e-3, 50.0), GAMMA_MEDIAN])
