"""The features of ln η* and their priors: a power law in N, D and B, and how its exponents drift.

n, d, b = ln N, ln D, ln B over a reference (the geometric mean of the cells), so a coefficient is an exponent at the
reference. Every prior is Gaussian and stated here: what the runs leave open comes from it, and is named in a warning.
The sds of the second-degree terms are in units of the scale `drift`, which the runs choose (scales.py).
"""

from dataclasses import dataclass

import numpy as np

from orchestrator.law.observations import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One term of ln η*: n^i · d^j · b^k with a prior N(mean, sd²) on its coefficient."""

    name: str
    powers: tuple[int, int, int]
    mean: float
    sd: float

    @property
    def degree(self) -> int:
        """The total degree: 1 is an exponent, 2 is how exponents drift."""
        return sum(self.powers)


LEVEL_SD = 3.0
"""Prior sd of ln η* itself round the middle of the rates tried: vague on purpose."""

FEATURES = (
    Feature(name="1", powers=(0, 0, 0), mean=0.0, sd=LEVEL_SD),
    # Published exponents run from -0.71 to -0.22 in N and, by batch policy, from -0.35 to +0.31 in D.
    Feature(name="ln N", powers=(1, 0, 0), mean=-0.5, sd=0.3),
    Feature(name="ln D", powers=(0, 1, 0), mean=0.0, sd=0.3),
    Feature(name="ln B", powers=(0, 0, 1), mean=0.25, sd=0.3),
    Feature(name="ln D·ln B", powers=(0, 1, 1), mean=0.0, sd=0.2),
    Feature(name="(ln B)²", powers=(0, 0, 2), mean=0.0, sd=0.2),
    Feature(name="ln N·ln B", powers=(1, 0, 1), mean=0.0, sd=0.1),
    Feature(name="ln N·ln D", powers=(1, 1, 0), mean=0.0, sd=0.05),
    Feature(name="(ln D)²", powers=(0, 2, 0), mean=0.0, sd=0.05),
    Feature(name="(ln N)²", powers=(2, 0, 0), mean=0.0, sd=0.03),
)


def matrix(points: Array, features: tuple[Feature, ...] = FEATURES) -> Array:
    """The features at points (n, d, b), shape [m, 3] -> [m, features]."""
    columns = [np.prod(points ** np.array(feature.powers), axis=1) for feature in features]
    return np.column_stack(columns)
