"""The sizes of everything random in the model, and their priors.

`noise` and `growth` have a prior at their default, worth PRIOR_WEIGHT runs. The others have a Gamma(2) prior with its
mode at the default: its mean is twice that, its 95 % range a quarter to six times.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from orchestrator.law.observations import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Standard deviations; the defaults are where the fit starts, and the modes of the priors.

    Attributes:
        noise: Of ln loss at the bottom of a bowl.
        growth: Of ln loss, per unit of rise above the bottom: the shape is right near the bottom only.
        curvature: Of a cell's ln C round what the pool says.
        cell: Of a cell's ln η* round the law.
        size: Of a shift shared by all cells of one N.
        pair: Of a shift shared by all cells of one (N, D).
        smooth: Of the smooth effect over (n, d, b).
        drift: Of second-degree coefficients, in units of their own prior sds.
    """

    noise: float = 1e-3
    growth: float = 0.15
    curvature: float = 0.2
    cell: float = 0.03
    size: float = 0.03
    pair: float = 0.012
    smooth: float = 0.04
    drift: float = 0.8

    def variance(self, height: Array, repeats: Array) -> Array:
        """Of the mean ln loss of `repeats` runs at a rise of `height`: their noise averages out, the shape's misfit not."""
        return np.asarray(self.noise**2 / repeats + (self.growth * height) ** 2)

    def to_document(self) -> dict[str, float]:
        """As a JSON-able mapping."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_document`."""
        return cls(**document)

    def updated(self, name: str, squares: float, known: float) -> Self:
        """These scales with `name` at the centre of its posterior, given draws of it.

        The prior of a scale s is Gamma(2) with its mode θ at the default: zero is avoided, small is not. With draws of
        which γ are known the posterior is s^(1−γ)·exp(−Σ mean²/2s² − s/θ) (MacKay's evidence); its mean in ln s, not
        its mode, is taken, because the mode of a scale seen on a few sizes promises too much.

        Args:
            name: Which scale.
            squares: Sum of the squared posterior means of its draws.
            known: γ, how many draws the runs determine: Σ (1 − variance / s²).
        """
        mode, now = getattr(PRIOR, name), getattr(self, name)
        density = (2 - known) * np.log(GRID) - squares / (2 * (mode * GRID) ** 2) - GRID
        weight = np.exp(density - density.max())  # per unit of ln s, hence one power more
        centre = mode * float(np.exp(weight @ np.log(GRID) / weight.sum()))
        return replace(self, **{name: min(max(centre, now / 3), now * 3)})


PRIOR = Scales()
GRID = np.geomspace(0.01, 20.0, 96)
PRIOR_WEIGHT = {"noise": 1.0, "growth": 6.0}
