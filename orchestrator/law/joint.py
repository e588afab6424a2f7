"""The joint fit of all bowls and the law, by Gauss-Newton with every cell's own unknowns eliminated.

    y_i = m_c + e^{ℓ_c} g(x_i − μ_c; a_c) + noise     ln loss of run i in cell c at x = ln η   (shape.py)
    ℓ_c = W_c κ + λ_c                                 ln curvature: pooled, with a cell's own part
    μ_c = Z_c θ + φ_c w + δ_c                         ln η*: the law, random effects, a cell's own part
    a_c = a + ε_c                                     asymmetry: pooled, with a cell's own part

    symbol   shape      what
    v        [q]        the pooled unknowns (κ | θ w | a), prior N(mean, 1/precision)
    A, h     [c, 3, 3]  what a cell's own runs say of (ℓ, μ, a), m eliminated (evidence.py)
    T        [c, 3]     precision of (λ_c, δ_c, ε_c)

Variances come from expectation-maximisation with the priors of scales.py.
"""

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.special import ndtri, stdtrit

from orchestrator.law.cells import Cells
from orchestrator.law.evidence import (
    ASYMMETRY,
    ASYMMETRY_SPREAD,
    CURVATURE,
    OPTIMUM,
    TAIL,
    UNKNOWNS,
    Evidence,
    Locals,
    gather,
    predicted,
)
from orchestrator.law.observations import Array
from orchestrator.law.scales import PRIOR, PRIOR_WEIGHT, Scales

SHARED = 0.2  # of the misfit of the bowls' shape: all bowls have this much of it in common
UNREST_WEIGHT = 4.0  # runs that the pool's noise counts for in a cell's own
SCALES = tuple(field.name for field in fields(Scales))
SLOWEST = 0.95  # ratio of two successive changes beyond which the fit is taken to stand still
SLACK = 0.1  # change of ln η* that a change of the ln scales counts for
HASTE = (0.4, 2.0)  # least and largest relaxation of the scales
LONGEST_STEP = np.array([1.0, 0.6, 0.4])  # of (ℓ, μ, a) in one iteration
ASYMMETRY_RANGE = (
    -1.5,
    2.5,
)  # no recorded bowl is more lopsided; beyond it the shape overflows far from its bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is fixed during a fit: the cells, the pooled rows and their prior.

    Attributes:
        cells: The runs.
        curvature: W, shape [cells, k].
        optimum: (Z φ), shape [cells, q − k − 1].
        missing: Variance share of (size, pair, smooth) outside the basis, shape [cells, 3].
        mean: Prior mean of v, shape [q].
        fixed_sd: Prior sd of κ and θ, shape [k + features].
        asymmetry_sd: Prior sd of the pooled a.
        drifting: Which of them the scale `drift` multiplies, shape [k + features].
        counts: Number of columns of size, pair and smooth.
    """

    cells: Cells
    curvature: Array
    optimum: Array
    missing: Array
    mean: Array
    fixed_sd: Array
    asymmetry_sd: float
    drifting: NDArray[np.bool_]
    counts: tuple[int, int, int]

    def precision(self, scales: Scales) -> Array:
        """Prior precision of v (diagonal), shape [q]."""
        sds = np.repeat([scales.size, scales.pair, scales.smooth], self.counts)
        fixed = np.where(self.drifting, scales.drift, 1.0) * self.fixed_sd
        return np.concatenate([fixed, sds, [self.asymmetry_sd]]) ** -2.0

    @property
    def rows(self) -> tuple[Array, Array, Array]:
        """The pooled rows of ℓ, μ and a, shape [cells, columns] each."""
        return self.curvature, self.optimum, np.ones((self.cells.size, 1))

    @property
    def blocks(self) -> tuple[slice, slice, slice]:
        """Where their unknowns stand in v."""
        k, q = self.curvature.shape[1], self.mean.size
        return slice(0, k), slice(k, q - 1), slice(q - 1, q)

    def outside(self, scales: Scales) -> Array:
        """Variance of ln η* in each cell that the basis does not span, shape [cells]."""
        return np.asarray(self.missing @ np.square([scales.size, scales.pair, scales.smooth]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """A cell's own unknowns with the pool known: T, shape [cells, 3], and (A + T)⁻¹, shape [cells, 3, 3]."""

    own: Array
    covariance: Array

    @classmethod
    def of(cls, evidence: Evidence, own: Array) -> Self:
        """From what the runs say and the precision of a cell's own part."""
        return cls(
            own=own,
            covariance=inverted(evidence.information + own[:, :, None] * np.eye(UNKNOWNS)),
        )


def inverted(symmetric: Array) -> Array:
    """Inverses of symmetric 3×3 matrices by their cofactors, shape [cells, 3, 3]: many small ones at once."""
    (a, b, c), (_, d, e), (_, _, f) = symmetric.transpose(1, 2, 0)
    cofactors = np.array(
        [
            [d * f - e * e, c * e - b * f, b * e - c * d],
            [c * e - b * f, a * f - c * c, b * c - a * e],
            [b * e - c * d, b * c - a * e, a * d - b * b],
        ]
    )
    determinant = a * cofactors[0, 0] + b * cofactors[0, 1] + c * cofactors[0, 2]
    return np.ascontiguousarray((cofactors / determinant).transpose(2, 0, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A converged fit.

    Attributes:
        pooled: v, shape [q].
        covariance: Of v, shape [q, q].
        scales: The variances found.
        locals: The cells' own unknowns.
        local_covariance: Of (ℓ, μ, a) given all runs, shape [cells, 3, 3].
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
        tolerance: Largest change of any ln η* in the last iteration; of what the law says of it in all iterations that
            would follow, falling off as the last two did; and `SLACK` times that of any ln scale.
    """
    here, iterations, drift, law = start, 0, np.inf, start.optimum
    step, haste = np.zeros(len(SCALES)), np.ones(len(SCALES))
    while True:
        iterations += 1
        evidence = gather(model.cells, here, scales)
        shrunk = Shrunk.of(evidence, own_precision(model, scales))
        pooled, covariance = solve_pooled(model, evidence, scales, shrunk)
        pool = pooled_rows(model, pooled, covariance)
        moved, spread = solve_locals(evidence, shrunk, pool, here)
        change = float(np.abs(moved.optimum - here.optimum).max())
        earlier, drift, law = drift, float(np.abs(pool[0][:, OPTIMUM] - law).max()), pool[0][:, OPTIMUM]
        fresh = maximise(model, evidence, scales, shrunk, (pooled, covariance), pool, moved)
        fresh, here = maximise_noise(model.cells, evidence, fresh, moved, spread)
        step, before = np.log(as_array(fresh) / as_array(scales)), step
        if (
            max(change, to_follow(earlier, drift), SLACK * float(np.abs(step).max())) < tolerance
            or iterations == most
        ):
            break
        haste = relaxation(haste, step, before)
        scales = Scales(**dict(zip(SCALES, (as_array(scales) * np.exp(haste * step)).tolist(), strict=True)))
    evidence, covariance, spread = spreads(model, here, cautious(scales, model.cells))
    return Fitted(
        pooled=pooled,
        covariance=covariance,
        scales=scales,
        locals=here,
        local_covariance=spread,
        evidence=evidence,
        iterations=iterations,
    )


def to_follow(earlier: float, change: float) -> float:
    """The sum of all further changes, if each is to the one before it as `change` is to `earlier`."""
    ratio = min(change / max(earlier, np.finfo(np.float64).tiny), SLOWEST)
    return change * ratio / (1 - ratio)


def spreads(model: Model, here: Locals, scales: Scales) -> tuple[Evidence, Array, Array]:
    """The evidence at `here`, and how sure the pooled and the cells' own unknowns are if `scales` hold.

    What the shape of the bowls misses puts all their bottoms off to one side: that much more runs do not average out.
    """
    evidence = gather(model.cells, here, scales)
    shrunk = Shrunk.of(evidence, own_precision(model, scales))
    pooled, covariance = solve_pooled(model, evidence, scales, shrunk)
    _, spread = solve_locals(evidence, shrunk, pooled_rows(model, pooled, covariance), here)
    level = model.blocks[OPTIMUM].start
    missed = SHARED * scales.growth * np.median(np.abs(model.cells.x - here.optimum[model.cells.cell]))
    covariance[level, level] += missed**2
    spread[:, OPTIMUM, OPTIMUM] += missed**2
    return evidence, covariance, spread


def cautious(scales: Scales, cells: Cells) -> Scales:
    """The scales with a larger noise: as Student's quantiles are for the runs that tell it, and as its tails ask for.

    Reweighting counts a run of Student-t noise as (ν + 3) / (ν + 1) times the information that it has. Of the runs of a cell two are spent on where its bottom is, and one of all on the curvature; the prior of the noise
    counts for one more.
    """
    spare = np.maximum(cells.total(cells.repeats) - 2, 0.0).sum() - 1 + PRIOR_WEIGHT["noise"]
    spare = max(spare, 1.0)
    tails = np.sqrt((TAIL + 3) / (TAIL + 1))
    return replace(scales, noise=scales.noise * float(tails * stdtrit(spare, 0.975) / ndtri(0.975)))


def relaxation(haste: Array, step: Array, before: Array) -> Array:
    """How far to go along each scale's step (in ln): Wegstein's secant, since the plain iteration creeps or swings.

    Args:
        haste: How far the last steps were gone.
        step: What the iteration asks for now.
        before: What it asked for last; 0 at first.
    """
    turn = np.where(before == 0, 0.0, step / np.where(before == 0, 1.0, before))
    found = np.where(turn < 1, haste / np.maximum(1 - turn, 1e-3), HASTE[1])
    return np.asarray(np.clip(found, *HASTE))


def as_array(scales: Scales) -> Array:
    """The scales as a vector."""
    return np.array([getattr(scales, name) for name in SCALES])


def own_precision(model: Model, scales: Scales) -> Array:
    """T: precision of a cell's own part of (ℓ, μ, a), shape [cells, 3]."""
    optimum = scales.cell**2 + model.outside(scales)
    variance = np.broadcast_arrays(scales.curvature**2, optimum, ASYMMETRY_SPREAD**2)
    return 1 / np.column_stack(variance)


def solve_pooled(model: Model, evidence: Evidence, scales: Scales, cells: Shrunk) -> tuple[Array, Array]:
    """The pooled unknowns and their covariance, every cell's own unknowns eliminated."""
    shrink = cells.own[:, :, None] * cells.covariance
    information = shrink @ evidence.information
    vector = (shrink @ evidence.vector[:, :, None])[:, :, 0]
    prior = model.precision(scales)
    normal, right = np.diag(prior), prior * model.mean
    for one, rows, at in zip(range(UNKNOWNS), model.rows, model.blocks, strict=True):
        right[at] += rows.T @ vector[:, one]
        for other, columns, to in zip(range(UNKNOWNS), model.rows, model.blocks, strict=True):
            if other >= one:
                block = rows.T @ (information[:, one, other, None] * columns)
                normal[at, to] += block
                if other > one:
                    normal[to, at] = block.T
    covariance = inverted_whole(normal)
    return covariance @ right, covariance


def inverted_whole(symmetric: Array) -> Array:
    """The inverse of one positive definite matrix, through its Cholesky factor."""
    factor, wrong = dpotrf(symmetric, lower=True)
    if wrong:
        raise np.linalg.LinAlgError("the pooled system is not positive definite")
    lower, _ = dpotri(factor, lower=True)
    below = np.tril(lower, -1)
    return np.asarray(below + below.T + np.diag(np.diag(lower)))


def pooled_rows(model: Model, pooled: Array, covariance: Array) -> tuple[Array, Array]:
    """What the pool says of (ℓ, μ, a) in each cell: mean [cells, 3] and covariance [cells, 3, 3]."""
    mean = np.column_stack([rows @ pooled[at] for rows, at in zip(model.rows, model.blocks, strict=True)])
    spread = np.empty((len(mean), UNKNOWNS, UNKNOWNS))
    for one, rows, at in zip(range(UNKNOWNS), model.rows, model.blocks, strict=True):
        for other, columns, to in zip(range(UNKNOWNS), model.rows, model.blocks, strict=True):
            if other >= one:
                shared = np.einsum("ij,ij->i", rows @ covariance[at, to], columns)
                spread[:, one, other] = spread[:, other, one] = shared
    return mean, spread


def solve_locals(
    evidence: Evidence, cells: Shrunk, pool: tuple[Array, Array], here: Locals
) -> tuple[Locals, Array]:
    """The cells' own unknowns given everything, one bounded step from `here`, and the covariance of (ℓ, μ, a)."""
    mean, spread = pool
    goal = (cells.covariance @ (evidence.vector + cells.own * mean)[:, :, None])[:, :, 0]
    shape = here.shape + np.clip(goal - here.shape, -LONGEST_STEP, LONGEST_STEP)
    shape[:, ASYMMETRY] = np.clip(shape[:, ASYMMETRY], *ASYMMETRY_RANGE)
    carried = cells.covariance * cells.own[:, None, :]
    full = cells.covariance + carried @ spread @ carried.transpose(0, 2, 1)
    return Locals(bottom=evidence.bottom(shape), shape=shape, unrest=here.unrest), full


def maximise(
    model: Model,
    evidence: Evidence,
    scales: Scales,
    cells: Shrunk,
    posterior: tuple[Array, Array],
    pool: tuple[Array, Array],
    moved: Locals,
) -> Scales:
    """The scales that the unknowns speak for, their priors included; those of the noise stay."""
    mean, spread = pool
    apart = moved.shape - mean
    left = cells.covariance @ evidence.information
    variance = np.einsum("cii->ci", cells.covariance) + ((left @ spread) * left).sum(axis=2)
    share = scales.cell**2 * cells.own[:, OPTIMUM]  # of a cell's own shift that is not outside the basis
    known = 1 - variance * cells.own
    own = {
        "curvature": (float((apart[:, CURVATURE] ** 2).sum()), float(known[:, CURVATURE].sum())),
        "cell": (
            float(((apart[:, OPTIMUM] * share) ** 2).sum()),
            float((share * known[:, OPTIMUM]).sum()),
        ),
    }
    return scales.updated(own | pooled_draws(model, scales, posterior[0], np.diag(posterior[1])))


def pooled_draws(
    model: Model, scales: Scales, pooled: Array, variance: Array
) -> dict[str, tuple[float, float]]:
    """What the drifts and the random effects say of their scales (scales.py)."""
    at = np.flatnonzero(model.drifting)
    known = float((1 - variance[at] / (scales.drift * model.fixed_sd[at]) ** 2).sum())
    draws = {"drift": (float(((pooled[at] / model.fixed_sd[at]) ** 2).sum()), known)}
    start = model.fixed_sd.size
    for name, count in zip(("size", "pair", "smooth"), model.counts, strict=True):
        group = slice(start, start + count)
        known = float((1 - variance[group] / getattr(scales, name) ** 2).sum())
        draws[name] = float((pooled[group] ** 2).sum()), known
        start += count
    return draws


def misfit(
    cells: Cells, evidence: Evidence, scales: Scales, here: Locals, spread: Array
) -> tuple[Array, Array, Array]:
    """Expected squared residuals, robustly.

    Returns:
        (the rise of each run, the pool's variance there, its expected squared residual), shape [runs] each. A run that
        is far off for its variance is an outlier: it says no more of the noise than one that is just outside.
    """
    height, derivatives = predicted(cells, here)
    residual = cells.y - here.bottom[cells.cell] - height
    jacobian = np.column_stack(derivatives) - evidence.tilt[cells.cell]
    spread_along = (spread[cells.cell] @ jacobian[:, :, None])[:, :, 0]
    known = 1 / evidence.weight[cells.cell] + np.einsum("ri,ri->r", spread_along, jacobian)
    pool = scales.variance(height, cells.repeats)
    variance = here.unrest[cells.cell] * pool
    robust = (TAIL + 1) / (TAIL + residual**2 / variance)
    return height, pool, np.minimum(robust * (residual**2 + known), (TAIL + 1) * variance)


def unrest(cells: Cells, scales: Scales, pool: Array, square: Array) -> Array:
    """Each cell's noise over the pool's, squared: 1 for a cell of few runs, its own for one of many, shape [cells]."""
    told = square / pool + within(cells, scales) / scales.noise**2
    return np.asarray((UNREST_WEIGHT + cells.total(told)) / (UNREST_WEIGHT + cells.total(cells.repeats)))


def within(cells: Cells, scales: Scales) -> Array:
    """Squared scatter of the repeated runs of each point, one that is far off being cut down, shape [points]."""
    return np.minimum(cells.scatter, (TAIL + 1) * (cells.repeats - 1) * scales.noise**2)


def maximise_noise(
    cells: Cells, evidence: Evidence, scales: Scales, here: Locals, spread: Array
) -> tuple[Scales, Locals]:
    """One scoring step for the noise at the bottom, its growth with the rise, and each cell's own share of it."""
    height, pool, square = misfit(cells, evidence, scales, here, spread)
    own = here.unrest[cells.cell]
    design = np.column_stack([1 / cells.repeats, height**2])
    now = np.array([scales.noise**2, scales.growth**2])
    firm = np.array([PRIOR_WEIGHT["noise"], PRIOR_WEIGHT["growth"]]) / now**2
    prior = np.array([PRIOR.noise**2, PRIOR.growth**2])
    weighted = design / pool[:, None] ** 2
    normal = weighted.T @ design + np.diag(firm)
    right = weighted.T @ (square / own) + firm * prior
    alone = scales.variance(height, np.ones_like(height)) ** -2.0  # of the scatter of repeated runs
    normal[0, 0] += alone @ (cells.repeats - 1)
    right[0] += alone @ (within(cells, scales) / own)
    noise, growth = np.sqrt(np.clip(np.linalg.solve(normal, right), now / 4, now * 4))
    return (
        replace(scales, noise=float(noise), growth=float(growth)),
        replace(here, unrest=unrest(cells, scales, pool, square)),
    )
