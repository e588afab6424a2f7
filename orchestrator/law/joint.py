"""The joint fit of all bowls and the law, by Gauss-Newton with every cell's own unknowns eliminated.

    y_i = m_c + e^{ℓ_c} g(x_i − μ_c) + noise          ln loss of run i in cell c at x = ln η   (shape.py)
    ℓ_c = W_c κ + λ_c                                 ln curvature: pooled, with a cell's own part
    μ_c = Z_c θ + φ_c w + δ_c                         ln η*: the law, random effects, a cell's own part

    symbol   shape      what
    F        [c, q]     rows of the pooled part: (W | Z φ), split as `curvature` and `optimum`
    v        [q]        the pooled unknowns (κ | θ w), prior N(mean, 1/precision)
    A, h     [c, 2, 2]  what a cell's own runs say of (ℓ, μ), m eliminated: information and its vector
    T        [c, 2]     precision of (λ_c, δ_c)

Noise is Student-t (reweighted), and grows with the rise above the bottom: the shape is right near it only. Variances
come from expectation-maximisation with the priors of scales.py. A diverged run says, softly, that the bottom is lower.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr

from orchestrator.law.cells import Cells
from orchestrator.law.observations import Array
from orchestrator.law.scales import PRIOR, PRIOR_WEIGHT, Scales
from orchestrator.law.shape import rise, slope

TAIL = 4.0  # degrees of freedom of the noise
BOUND_MARGIN = 0.4  # a rate that diverges is typically this far above the bottom, in ln η …
BOUND_SD = 0.4  # … give or take this
UNREST_WEIGHT = 4.0  # runs that the pool's noise counts for in a cell's own
CRASH = 0.02  # share of diverged runs that crashed for another reason
HASTE = 2.0  # over-relaxation of the scales
LONGEST_STEP = np.array([1.0, 0.6])  # of (ℓ, μ) in one iteration
TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is fixed during a fit: the cells, the pooled rows and their prior.

    Attributes:
        cells: The runs.
        curvature: W, shape [cells, k].
        optimum: (Z φ), shape [cells, q − k].
        missing: Variance share of (size, pair, smooth) outside the basis, shape [cells, 3].
        mean: Prior mean of v, shape [q].
        fixed_sd: Prior sd of κ and θ, shape [k + features].
        drifting: Which of them the scale `drift` multiplies, shape [k + features].
        counts: Number of columns of size, pair and smooth.
    """

    cells: Cells
    curvature: Array
    optimum: Array
    missing: Array
    mean: Array
    fixed_sd: Array
    drifting: NDArray[np.bool_]
    counts: tuple[int, int, int]

    def precision(self, scales: Scales) -> Array:
        """Prior precision of v (diagonal), shape [q]."""
        sds = np.repeat([scales.size, scales.pair, scales.smooth], self.counts)
        fixed = np.where(self.drifting, scales.drift, 1.0) * self.fixed_sd
        return np.concatenate([fixed, sds]) ** -2.0

    def outside(self, scales: Scales) -> Array:
        """Variance of ln η* in each cell that the basis does not span, shape [cells]."""
        return np.asarray(self.missing @ np.square([scales.size, scales.pair, scales.smooth]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Locals:
    """A cell's own unknowns, shape [cells] each: bottom m, ln curvature ℓ, ln η* μ, and its noise over the pool's, squared."""

    bottom: Array
    curvature: Array
    optimum: Array
    unrest: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the runs of each cell say of (ℓ, μ) once m is eliminated, linearised at the present locals.

    Attributes:
        weight: Weight of m alone, shape [cells].
        tilt: How m moves with (ℓ, μ), shape [cells, 2].
        level: m where (ℓ, μ) are zero, shape [cells].
        information: A, shape [cells, 2, 2].
        vector: h, shape [cells, 2].
    """

    weight: Array
    tilt: Array
    level: Array
    information: Array
    vector: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A converged fit.

    Attributes:
        pooled: v, shape [q].
        covariance: Of v, shape [q, q].
        scales: The variances found.
        locals: The cells' own unknowns.
        local_covariance: Of (ℓ, μ) given all runs, shape [cells, 2, 2].
        evidence: What each cell's runs alone say.
        iterations: How many were needed.
    """

    pooled: Array
    covariance: Array
    scales: Scales
    locals: Locals
    local_covariance: Array
    evidence: Evidence
    iterations: int


def fit_joint(
    model: Model, start: Locals, scales: Scales, *, most: int = 40, tolerance: float = 2e-3
) -> Fitted:
    """Iterates to the posterior mode of the unknowns and the variances.

    Args:
        model: The cells and the pooled rows.
        start: Where the cells' own unknowns start.
        scales: Where the variances start.
        most: Largest number of iterations.
        tolerance: Largest change of any ln η* and of any ln scale in the last iteration.
    """
    here, iterations, step = start, 0, np.zeros(as_array(scales).size)
    while True:
        iterations += 1
        evidence = gather(model.cells, here, scales)
        pooled, covariance = solve_pooled(model, evidence, scales)
        pool = pooled_rows(model, pooled, covariance)
        moved, spread = solve_locals(model, evidence, scales, pool, here)
        change = float(np.abs(moved.optimum - here.optimum).max())
        fresh, here = maximise(model, evidence, scales, (pooled, covariance), pool, moved, spread)
        step, before = np.log(as_array(fresh) / as_array(scales)), step
        if max(change, 0.2 * float(np.abs(step).max())) < tolerance or iterations == most:
            break
        scales = hastened(scales, step, before)
    return Fitted(
        pooled=pooled,
        covariance=covariance,
        scales=scales,
        locals=here,
        local_covariance=spread,
        evidence=evidence,
        iterations=iterations,
    )


def hastened(scales: Scales, step: Array, before: Array) -> Scales:
    """A step beyond expectation-maximisation, which creeps: over-relaxed (in ln) where two steps go the same way."""
    further = as_array(scales) * np.exp(np.where(step * before > 0, HASTE, 1.0) * step)
    return Scales(**dict(zip(scales.to_document(), further.tolist(), strict=True)))


def as_array(scales: Scales) -> Array:
    """The scales as a vector."""
    return np.array(list(scales.to_document().values()))


def gather(cells: Cells, here: Locals, scales: Scales) -> Evidence:
    """Linearises every run at `here` and sums per cell."""
    u = cells.x - here.optimum[cells.cell]
    steep = np.exp(here.curvature)[cells.cell]
    height = steep * rise(u)
    tilt = -steep * slope(u)
    residual = cells.y - here.bottom[cells.cell] - height
    variance = here.unrest[cells.cell] * (scales.noise**2 + (scales.growth * height) ** 2)
    weight = (TAIL + 1) / (TAIL + residual**2 / variance) / variance
    total = cells.total
    wh, wt, wr = weight * height, weight * tilt, weight * residual
    a00 = total(weight) + TINY
    cross = np.column_stack([total(wh), total(wt)])
    own = np.empty((cells.size, 2, 2))
    own[:, 0, 0] = total(wh * height)
    own[:, 0, 1] = own[:, 1, 0] = total(wh * tilt)
    own[:, 1, 1] = total(wt * tilt)
    pull = np.column_stack([total(wr * height), total(wr * tilt)])
    bound_pull, bound_weight = bounds(cells, here.optimum)
    own[:, 1, 1] += bound_weight
    pull[:, 1] += bound_pull
    at = np.column_stack([here.curvature, here.optimum])
    vector0 = a00 * here.bottom + (cross * at).sum(axis=1) + total(wr)
    vector = cross * here.bottom[:, None] + np.einsum("cij,cj->ci", own, at) + pull
    k = cross / a00[:, None]
    return Evidence(
        weight=a00,
        tilt=k,
        level=vector0 / a00,
        information=own - k[:, :, None] * cross[:, None, :],
        vector=vector - k * vector0[:, None],
    )


def bounds(cells: Cells, optimum: Array) -> tuple[Array, Array]:
    """Gradient and information on μ of the runs that bound a bowl: ln(ε + (1 − ε)·Φ((x − μ − margin) / sd))."""
    if not cells.bound_x.size:
        return np.zeros(cells.size), np.zeros(cells.size)
    z = (cells.bound_x - optimum[cells.bound_cell] - BOUND_MARGIN) / BOUND_SD
    ratio = (1 - CRASH) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / (CRASH + (1 - CRASH) * ndtr(z))
    pull = np.bincount(cells.bound_cell, weights=-ratio / BOUND_SD, minlength=cells.size)
    weight = np.bincount(
        cells.bound_cell, weights=np.maximum(ratio * (z + ratio), 0) / BOUND_SD**2, minlength=cells.size
    )
    return np.asarray(pull, dtype=np.float64), np.asarray(weight, dtype=np.float64)


def own_precision(model: Model, scales: Scales) -> Array:
    """T: precision of (λ_c, δ_c), shape [cells, 2]."""
    optimum = scales.cell**2 + model.outside(scales)
    return np.column_stack([np.full(len(optimum), scales.curvature**-2.0), 1 / optimum])


def invert(matrices: Array) -> Array:
    """Inverses of 2×2 matrices, shape [cells, 2, 2]."""
    a, b, c, d = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1]
    inverse = np.empty_like(matrices)
    determinant = a * d - b * c
    inverse[:, 0, 0], inverse[:, 1, 1] = d / determinant, a / determinant
    inverse[:, 0, 1], inverse[:, 1, 0] = -b / determinant, -c / determinant
    return inverse


def solve_pooled(model: Model, evidence: Evidence, scales: Scales) -> tuple[Array, Array]:
    """The pooled unknowns and their covariance, every cell's own unknowns eliminated."""
    own = own_precision(model, scales)
    spread = invert(evidence.information + own[:, :, None] * np.eye(2))
    shrink = own[:, :, None] * spread
    information = shrink @ evidence.information
    vector = np.einsum("cij,cj->ci", shrink, evidence.vector)
    w, z = model.curvature, model.optimum
    prior = model.precision(scales)
    k = w.shape[1]
    normal = np.empty((prior.size, prior.size))
    normal[:k, :k] = w.T @ (information[:, 0, 0, None] * w)
    normal[:k, k:] = w.T @ (information[:, 0, 1, None] * z)
    normal[k:, :k] = normal[:k, k:].T
    normal[k:, k:] = z.T @ (information[:, 1, 1, None] * z)
    normal[np.diag_indices(prior.size)] += prior
    right = np.concatenate([w.T @ vector[:, 0], z.T @ vector[:, 1]]) + prior * model.mean
    factor = cho_factor(normal, lower=True)
    covariance = cho_solve(factor, np.eye(prior.size))
    return np.asarray(cho_solve(factor, right), dtype=np.float64), np.asarray(
        (covariance + covariance.T) / 2, dtype=np.float64
    )


def pooled_rows(model: Model, pooled: Array, covariance: Array) -> tuple[Array, Array]:
    """What the pool says of (ℓ, μ) in each cell: mean [cells, 2] and covariance [cells, 2, 2]."""
    w, z = model.curvature, model.optimum
    k = w.shape[1]
    mean = np.column_stack([w @ pooled[:k], z @ pooled[k:]])
    spread = np.empty((len(w), 2, 2))
    spread[:, 0, 0] = ((w @ covariance[:k, :k]) * w).sum(axis=1)
    spread[:, 0, 1] = spread[:, 1, 0] = ((w @ covariance[:k, k:]) * z).sum(axis=1)
    spread[:, 1, 1] = ((z @ covariance[k:, k:]) * z).sum(axis=1)
    return mean, spread


def solve_locals(
    model: Model, evidence: Evidence, scales: Scales, pool: tuple[Array, Array], here: Locals
) -> tuple[Locals, Array]:
    """The cells' own unknowns given everything, one bounded step from `here`, and the covariance of (ℓ, μ)."""
    own = own_precision(model, scales)
    inverse = invert(evidence.information + own[:, :, None] * np.eye(2))
    mean, spread = pool
    goal = np.einsum("cij,cj->ci", inverse, evidence.vector + own * mean)
    at = np.column_stack([here.curvature, here.optimum])
    at = at + np.clip(goal - at, -LONGEST_STEP, LONGEST_STEP)
    carried = inverse * own[:, None, :]
    full = inverse + carried @ spread @ carried.transpose(0, 2, 1)
    moved = Locals(
        bottom=evidence.level - (evidence.tilt * at).sum(axis=1),
        curvature=at[:, 0],
        optimum=at[:, 1],
        unrest=here.unrest,
    )
    return moved, full


def maximise(
    model: Model,
    evidence: Evidence,
    scales: Scales,
    posterior: tuple[Array, Array],
    pool: tuple[Array, Array],
    moved: Locals,
    spread: Array,
) -> tuple[Scales, Locals]:
    """The scales that the unknowns speak for, their priors included, and the cells' unrest."""
    own = own_precision(model, scales)
    apart = np.column_stack([moved.curvature, moved.optimum]) - pool[0]
    inverse = invert(evidence.information + own[:, :, None] * np.eye(2))
    left = inverse @ evidence.information
    variance = inverse + left @ pool[1] @ left.transpose(0, 2, 1)
    share = scales.cell**2 * own[:, 1]
    unknown = variance[:, 1, 1] * share**2 / scales.cell**2 + 1 - share
    fresh = scales.updated(
        "curvature", float((apart[:, 0] ** 2).sum()), float((1 - variance[:, 0, 0] * own[:, 0]).sum())
    )
    fresh = fresh.updated("cell", float(((apart[:, 1] * share) ** 2).sum()), float((1 - unknown).sum()))
    pooled, sds = posterior[0], np.diag(posterior[1])
    start = model.fixed_sd.size
    at = np.flatnonzero(model.drifting)
    known = float((1 - sds[at] / (scales.drift * model.fixed_sd[at]) ** 2).sum())
    fresh = fresh.updated("drift", float(((pooled[at] / model.fixed_sd[at]) ** 2).sum()), known)
    for name, count in zip(("size", "pair", "smooth"), model.counts, strict=True):
        group = slice(start, start + count)
        known = float((1 - sds[group] / getattr(scales, name) ** 2).sum())
        fresh = fresh.updated(name, float((pooled[group] ** 2).sum()), known)
        start += count
    return maximise_noise(model.cells, evidence, fresh, moved, spread)


def misfit(
    cells: Cells, evidence: Evidence, scales: Scales, here: Locals, spread: Array
) -> tuple[Array, Array, Array]:
    """Expected squared residuals, robustly.

    Returns:
        (the rise of each run, the pool's variance there, its expected squared residual), shape [runs] each. A run that
        is far off for its variance is an outlier: it says no more of the noise than one that is just outside.
    """
    u = cells.x - here.optimum[cells.cell]
    steep = np.exp(here.curvature)[cells.cell]
    height = steep * rise(u)
    residual = cells.y - here.bottom[cells.cell] - height
    jacobian = np.column_stack([height, -steep * slope(u)]) - evidence.tilt[cells.cell]
    known = 1 / evidence.weight[cells.cell] + np.einsum(
        "ri,rij,rj->r", jacobian, spread[cells.cell], jacobian
    )
    pool = scales.noise**2 + (scales.growth * height) ** 2
    variance = here.unrest[cells.cell] * pool
    robust = (TAIL + 1) / (TAIL + residual**2 / variance)
    return height, pool, np.minimum(robust * (residual**2 + known), (TAIL + 1) * variance)


def unrest(cells: Cells, pool: Array, square: Array) -> Array:
    """Each cell's noise over the pool's, squared: 1 for a cell of few runs, its own for one of many, shape [cells]."""
    runs = cells.total(np.ones_like(pool))
    return np.asarray((UNREST_WEIGHT + cells.total(square / pool)) / (UNREST_WEIGHT + runs))


def maximise_noise(
    cells: Cells, evidence: Evidence, scales: Scales, here: Locals, spread: Array
) -> tuple[Scales, Locals]:
    """One scoring step for the noise at the bottom, its growth with the rise, and each cell's own share of it."""
    height, pool, square = misfit(cells, evidence, scales, here, spread)
    target = square / here.unrest[cells.cell]
    design = np.column_stack([np.ones_like(height), height**2])
    now = np.array([scales.noise**2, scales.growth**2])
    firm = np.array([PRIOR_WEIGHT["noise"], PRIOR_WEIGHT["growth"]]) / now**2
    prior = np.array([PRIOR.noise**2, PRIOR.growth**2])
    weighted = design / pool[:, None] ** 2
    found = np.linalg.solve(weighted.T @ design + np.diag(firm), weighted.T @ target + firm * prior)
    noise, growth = np.sqrt(np.clip(found, now / 4, now * 4))
    return (
        replace(scales, noise=float(noise), growth=float(growth)),
        replace(here, unrest=unrest(cells, pool, square)),
    )
