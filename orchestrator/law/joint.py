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

import numpy as np
from scipy.special import ndtri, stdtrit

from orchestrator.law.evidence import OPTIMUM, TAIL, Evidence, Locals, gather
from orchestrator.law.grouped_runs import GroupedRuns
from orchestrator.law.observations import Array
from orchestrator.law.pooled import (
    Model,
    Shrunk,
    own_precision,
    pooled_rows,
    solve_locals,
    solve_pooled,
)
from orchestrator.law.scales import PRIOR_WEIGHT, Scales
from orchestrator.law.variances import maximise, maximise_noise

SHARED = 0.2  # of the misfit of the bowls' shape: all bowls have this much of it in common
SCALES = tuple(field.name for field in fields(Scales))
SLOWEST = 0.95  # ratio of two successive changes beyond which the fit is taken to stand still
SLACK = 0.1  # change of ln η* that a change of the ln scales counts for
HASTE = (0.4, 2.0)  # least and largest relaxation of the scales


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


def cautious(scales: Scales, cells: GroupedRuns) -> Scales:
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
