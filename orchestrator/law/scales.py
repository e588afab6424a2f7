"""The sizes of everything random in the model, each with a prior worth a stated number of observations."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Standard deviations; the defaults are the centres of their priors and where the fit starts.

    Attributes:
        noise: Of ln loss at the bottom of a bowl.
        growth: Of ln loss, per unit of rise above the bottom: the shape is right near the bottom only.
        curvature: Of a cell's ln C round what the pool says.
        cell: Of a cell's ln η* round the law.
        size: Of a shift shared by all cells of one N.
        pair: Of a shift shared by all cells of one (N, D).
        smooth: Of the smooth effect over (n, d, b).
    """

    noise: float = 1e-3
    growth: float = 0.15
    curvature: float = 0.35
    cell: float = 0.08
    size: float = 0.06
    pair: float = 0.06
    smooth: float = 0.12

    def to_document(self) -> dict[str, float]:
        """As a JSON-able mapping."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_document`."""
        return cls(**document)

    def updated(self, name: str, square: float, count: float) -> Self:
        """These scales with `name` moved to the mean of its prior's square and an observed one.

        Args:
            name: Which scale.
            square: The mean expected square over `count` draws.
            count: How many draws it was seen on.
        """
        prior = getattr(PRIOR, name) ** 2
        weight = PRIOR_WEIGHT[name]
        return replace(self, **{name: float(np.sqrt((weight * prior + count * square) / (weight + count)))})


PRIOR = Scales()
PRIOR_WEIGHT = {
    "noise": 4.0,
    "growth": 6.0,
    "curvature": 4.0,
    "cell": 4.0,
    "size": 4.0,
    "pair": 4.0,
    "smooth": 4.0,
}
