"""Standard deviations of all random parts of the model, and their priors.

`noise` and `growth` have a prior at their default, worth PRIOR_WEIGHT runs. `size`, `path` and `size_bend` are integrated
out (few_draws.py). The others have a Gamma(2) prior with its mode at the default: its mean is twice that, its 95 % range a
quarter to six times.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from orchestrator.law.observations import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Standard deviations; the defaults are the starting point of the fit and the modes of the priors.

    Attributes:
        noise: Of ln loss at the bottom of a bowl.
        growth: Of ln loss, per unit of rise above the bottom: the shape holds near the bottom only.
        curvature: Of a cell's ln C round the pooled one.
        cell: Of a cell's ln η* round the law.
        size: Of a shift shared by all cells of one N.
        path: Of a shift that neighbouring N have in part in common.
        pair: Of a shift shared by all cells of one (N, D).
        smooth: Of the smooth effect over (n, d, b).
        drift: Of second-degree coefficients, in units of their own prior sds, but (ln N)².
        size_bend: Of the coefficient of (ln N)², likewise.
    """

    noise: float = 1e-3
    growth: float = 0.15
    curvature: float = 0.2
    cell: float = 0.03
    size: float = 0.03
    path: float = 0.05
    pair: float = 0.03
    smooth: float = 0.04
    drift: float = 0.8
    size_bend: float = 0.8

    def variance(self, height: Array, repeats: Array) -> Array:
        """Variance of the mean ln loss of `repeats` runs at a rise of `height`; only the noise averages out."""
        return np.asarray(self.noise**2 / repeats + (self.growth * height) ** 2)

    @property
    def effects(self) -> Array:
        """The sizes of the random effects: size, path, pair and smooth."""
        return np.array([self.size, self.path, self.pair, self.smooth])

    def updated(self, draws: Mapping[str, tuple[float, float]]) -> Self:
        """These scales with the named ones at the centre of their posteriors.

        The prior of a scale s is Gamma(2) with its mode θ at the default, which excludes zero but not small values. With γ
        determined draws the posterior is s^(1−γ)·exp(−Σ mean²/2s² − s/θ) (MacKay's evidence). Its mean in ln s is taken,
        not its mode, which is overconfident with few draws.

        Args:
            draws: By scale, the sum of the squared posterior means of its draws, and γ = Σ (1 − variance / s²), the number
                of draws that the runs determine.
        """
        squares, known = np.array(list(draws.values())).T[:, :, None]
        mode = np.array([[getattr(PRIOR, name)] for name in draws])
        density = (2 - known) * LN_GRID - squares / (2 * (mode * GRID) ** 2) - GRID
        weight = np.exp(
            density - density.max(axis=1, keepdims=True)
        )  # per unit of ln s, hence one power more
        centre = mode[:, 0] * np.exp(weight @ LN_GRID / weight.sum(axis=1))
        now = np.array([getattr(self, name) for name in draws])
        return replace(self, **dict(zip(draws, np.clip(centre, now / 3, now * 3).tolist(), strict=True)))


PRIOR = Scales()
GRID = np.geomspace(0.01, 20.0, 96)
LN_GRID = np.log(GRID)
PRIOR_WEIGHT = {"noise": 1.0, "growth": 6.0}
