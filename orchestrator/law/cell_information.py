"""Information of each cell's runs on its bowl, linearised: a step of the joint fit and of single bowls.

    y_i = m_c + e^{ℓ_c} g(x_i − μ_c; a_c) + noise     ln loss of run i in cell c at x = ln η   (bowl_shape.py)

| symbol | shape | what |
|---|---|---|
| A, h | [c, 3, 3], [c, 3] | information and information vector of a cell's own runs on (ℓ, μ, a), m eliminated |

Noise is Student-t (reweighted) and grows with the rise above the bottom, because the shape holds near the bottom only. A
diverged run is a soft upper bound of the bottom; a loss far above the best one bounds the bottom on its side.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from orchestrator.law.bowl_shape import profile
from orchestrator.law.grouped_runs import GroupedRuns
from orchestrator.law.observations import Array
from orchestrator.law.scales import Scales

TAIL = 4.0  # degrees of freedom of the noise
BOUND_MARGIN = 0.4  # mean distance in ln η of a diverging rate above the bottom …
BOUND_SD = 0.4  # … and its standard deviation
CRASH = 0.02  # share of diverged runs that crashed for another reason
ASYMMETRY_SPREAD = 0.2  # sd of a cell's a round the pool's, as recorded dense runs have it
TINY = 1e-9
CURVATURE, OPTIMUM, ASYMMETRY = range(3)  # where ℓ, μ and a stand among a cell's unknowns
UNKNOWNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CellUnknowns:
    """The unknowns of the cells.

    Attributes:
        bottom: m, shape [cells].
        shape: (ℓ, μ, a): ln curvature, ln η* and asymmetry, shape [cells, 3].
        noise_ratio: Squared noise over the pool's, shape [cells].
    """

    bottom: Array
    shape: Array
    noise_ratio: Array

    @property
    def optimum(self) -> Array:
        """μ, shape [cells]."""
        return np.asarray(self.shape[:, OPTIMUM])


@dataclass(frozen=True, slots=True, kw_only=True)
class CellInformation:
    """Information of the runs of each cell on (ℓ, μ, a), m eliminated, linearised at given unknowns.

    Attributes:
        weight: Weight of m alone, shape [cells].
        tilt: Derivative of m by (ℓ, μ, a), negated, shape [cells, 3].
        level: m where (ℓ, μ, a) are zero, shape [cells].
        information: A, shape [cells, 3, 3].
        vector: h, shape [cells, 3].
    """

    weight: Array
    tilt: Array
    level: Array
    information: Array
    vector: Array

    def bottom(self, shape: Array) -> Array:
        """The bottom m at (ℓ, μ, a), shape [cells, 3] -> [cells]."""
        return np.asarray(self.level - (self.tilt * shape).sum(axis=1))


def predicted(cells: GroupedRuns, here: CellUnknowns) -> tuple[Array, tuple[Array, Array, Array]]:
    """The rise of each run above its bottom, and its derivatives by ℓ, μ and a, shape [runs] each."""
    curvature, optimum, asymmetry = here.shape[cells.cell].T
    steep = np.exp(curvature)
    at = profile(cells.x - optimum, asymmetry)
    height = steep * at.rise
    return height, (height, -steep * at.slope, steep * at.bend)


def linearise(
    cells: GroupedRuns, here: CellUnknowns, scales: Scales, *, across_cells: bool = False
) -> CellInformation:
    """Linearises every run at `here` and sums per cell.

    Args:
        cells: All runs.
        here: The unknowns of the cells.
        scales: Variances.
        across_cells: Whether to count the information as part of that of all cells: the branches of a trunk, in one cell
            each, share its noise, so each has only its share of what they tell together.
    """
    height, jacobian = predicted(cells, here)
    residual = cells.y - here.bottom[cells.cell] - height
    variance = here.noise_ratio[cells.cell] * scales.variance(height, cells.repeats)
    weight = (TAIL + 1) / (TAIL + residual**2 / variance) / variance
    if across_cells:
        weight *= scales.variance(height, cells.repeats) / scales.variance(height, cells.fresh)
    total = cells.total
    weighted = [weight * column for column in jacobian]
    first = total(weight) + TINY
    cross = np.column_stack([total(column) for column in weighted])
    own = np.empty((cells.size, UNKNOWNS, UNKNOWNS))
    for one in range(UNKNOWNS):
        for other in range(one, UNKNOWNS):
            own[:, one, other] = own[:, other, one] = total(weighted[one] * jacobian[other])
    pull = np.column_stack([total(column * residual) for column in weighted])
    bound_pull, bound_weight = bounds(cells, here.optimum)
    own[:, OPTIMUM, OPTIMUM] += bound_weight
    pull[:, OPTIMUM] += bound_pull
    level = first * here.bottom + (cross * here.shape).sum(axis=1) + total(weight * residual)
    vector = cross * here.bottom[:, None] + (own @ here.shape[:, :, None])[:, :, 0] + pull
    tilt = cross / first[:, None]
    return CellInformation(
        weight=first,
        tilt=tilt,
        level=level / first,
        information=own - tilt[:, :, None] * cross[:, None, :],
        vector=vector - tilt * level[:, None],
    )


def bounds(cells: GroupedRuns, optimum: Array) -> tuple[Array, Array]:
    """Gradient and information on μ of the runs that bound a bowl: ln(ε + (1 − ε)·Φ((±(x − μ) − margin) / sd)).

    If a single rate lies between the bounds, the bottom may lie anywhere between them and a tangent is useless: it counts
    as Gaussian round that rate, with the standard deviation of a uniform distribution.
    """
    if not cells.bound_x.size:
        return np.zeros(cells.size), np.zeros(cells.size)
    side = cells.bound_side
    z = (side * (cells.bound_x - optimum[cells.bound_cell]) - BOUND_MARGIN) / BOUND_SD
    ratio = (1 - CRASH) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / (CRASH + (1 - CRASH) * ndtr(z))
    pull = np.bincount(cells.bound_cell, weights=-side * ratio / BOUND_SD, minlength=cells.size)
    weight = np.bincount(
        cells.bound_cell, weights=np.maximum(ratio * (z + ratio), 0) / BOUND_SD**2, minlength=cells.size
    )
    narrow = (np.bincount(cells.cell, minlength=cells.size) == 1) & np.isfinite(cells.ceiling - cells.floor)
    middle = np.where(narrow, cells.total(cells.x), optimum)
    between = np.where(narrow, 12 / np.square(cells.ceiling - cells.floor), 0.0)
    pull, weight = np.where(narrow, 0.0, pull), np.where(narrow, 0.0, weight)
    return np.asarray(pull + between * (middle - optimum)), np.asarray(weight + between)
