"""The joint fit of all bowls and the law, by Gauss-Newton with the unknowns of the cells eliminated.

    y_i = m_c + e^{ℓ_c} g(x_i − μ_c; a_c) + noise     ln loss of run i in cell c at x = ln η   (bowl_shape.py)
    ℓ_c = W_c κ + λ_c                                 ln curvature: pooled, with a cell's own part
    μ_c = Z_c θ + φ_c w + δ_c                         ln η*: the law, random effects, a cell's own part
    a_c = a + ε_c                                     asymmetry: pooled, with a cell's own part

    symbol   shape      what
    v        [q]        the pooled unknowns (κ | θ w | a), prior N(mean, 1/precision)
    A, h     [c, 3, 3]  information of a cell's own runs on (ℓ, μ, a), m eliminated (cell_information.py)
    T        [c, 3]     precision of (λ_c, δ_c, ε_c)

Variances come from expectation-maximisation with the priors of scales.py.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.special import ndtri, stdtrit

from orchestrator.law.cell_information import OPTIMUM, TAIL, CellInformation, CellUnknowns, linearise
from orchestrator.law.few_draws import integrated
from orchestrator.law.grouped_runs import GroupedRuns
from orchestrator.law.observations import Array
from orchestrator.law.pooled import (
    PooledModel,
    PooledSystem,
    Shrunk,
    own_precision,
    pooled_rows,
    pooled_system,
    solve_locals,
)
from orchestrator.law.scales import PRIOR_WEIGHT, Scales
from orchestrator.law.variances import maximise, maximise_noise

SHARED = 0.2  # share of the misfit of the bowls' shape that all bowls have in common
SCALES = tuple(field.name for field in fields(Scales))
MOST_ITERATIONS = 40
SLOWEST = 0.95  # ratio of two successive changes beyond which the fit counts as standing still
SLACK = 0.1  # change of ln η* that equals a change of the ln scales
RELAXATION = (0.4, 2.0)  # least and largest relaxation of the scales


@dataclass(frozen=True, slots=True, kw_only=True)
class JointFit:
    """A converged fit.

    Attributes:
        pooled: v, shape [q].
        covariance: Of v, shape [q, q].
        scales: The variances found.
        locals: The unknowns of the cells.
        local_covariance: Of (ℓ, μ, a) given all runs, shape [cells, 3, 3].
        information: Of the runs of each cell alone.
    """

    pooled: Array
    covariance: Array
    scales: Scales
    locals: CellUnknowns
    local_covariance: Array
    information: CellInformation


def fit_joint(
    model: PooledModel, start: CellUnknowns, scales: Scales, *, tolerance: float = 2e-3
) -> JointFit:
    """Iterates to the posterior mode of the unknowns and the variances.

    Args:
        model: The cells and the pooled rows.
        start: Starting point of the unknowns of the cells.
        scales: Starting point of the variances.
        tolerance: Bound of the change of any ln η* in the last iteration, of the pooled ln η* in all iterations that would
            follow (extrapolated from the last two), and of `SLACK` times any ln scale.
    """
    here, iterations, drift, law = start, 0, np.inf, start.optimum
    step, factors = np.zeros(len(SCALES)), np.ones(len(SCALES))
    while True:
        iterations += 1
        information, shrunk, system = eliminated(model, here, scales)
        pooled, covariance = system.solved()
        pool = pooled_rows(model, pooled, covariance)
        moved, spread = solve_locals(information, shrunk, pool, here)
        change = float(np.abs(moved.optimum - here.optimum).max())
        earlier, drift, law = drift, float(np.abs(pool[0][:, OPTIMUM] - law).max()), pool[0][:, OPTIMUM]
        fresh = maximise(model, information, scales, shrunk, (pooled, covariance), pool, moved)
        fresh, here = maximise_noise(model.cells, information, fresh, moved, spread)
        step, before = np.log(as_array(fresh) / as_array(scales)), step
        if (
            max(change, to_follow(earlier, drift), SLACK * float(np.abs(step).max())) < tolerance
            or iterations == MOST_ITERATIONS
        ):
            break
        factors = relaxation(factors, step, before)
        scales = Scales(
            **dict(zip(SCALES, (as_array(scales) * np.exp(factors * step)).tolist(), strict=True))
        )
    return integrated_fit(model, here, scales, information, shrunk, system)


def to_follow(earlier: float, change: float) -> float:
    """Sum of all further changes, as a geometric series with the ratio of `change` to `earlier`."""
    ratio = min(change / max(earlier, np.finfo(np.float64).tiny), SLOWEST)
    return change * ratio / (1 - ratio)


def eliminated(
    model: PooledModel, here: CellUnknowns, scales: Scales, *, across_cells: bool = False
) -> tuple[CellInformation, Shrunk, PooledSystem]:
    """The runs linearised at `here`, with the unknowns of the cells eliminated; `across_cells` as in `linearise`."""
    information = linearise(model.cells, here, scales, across_cells=across_cells)
    shrunk = Shrunk.of(information, own_precision(model, scales))
    return information, shrunk, pooled_system(model, information, scales, shrunk)


def integrated_fit(
    model: PooledModel,
    here: CellUnknowns,
    scales: Scales,
    information: CellInformation,
    shrunk: Shrunk,
    plain: PooledSystem,
) -> JointFit:
    """The fit with the scales that few draws determine integrated out, and the covariances under a cautious noise.

    The misfit of the bowls' shape shifts all bottoms to one side; more runs do not average it out, so it is added.
    """
    careful_information, careful_shrunk, careful = eliminated(
        model, here, cautious(scales, model.cells), across_cells=True
    )
    pooled, covariance, scales = integrated(model, plain, careful, scales)
    pool = pooled_rows(model, pooled, covariance)
    here, _ = solve_locals(information, shrunk, pool, here)
    _, spread = solve_locals(careful_information, careful_shrunk, pool, here)
    level = model.blocks[OPTIMUM].start
    missed = SHARED * scales.growth * np.median(np.abs(model.cells.x - here.optimum[model.cells.cell]))
    covariance[level, level] += missed**2
    spread[:, OPTIMUM, OPTIMUM] += missed**2
    return JointFit(
        pooled=pooled,
        covariance=covariance,
        scales=scales,
        locals=here,
        local_covariance=spread,
        information=careful_information,
    )


def cautious(scales: Scales, cells: GroupedRuns) -> Scales:
    """The scales with a larger noise, by Student's quantile for its degrees of freedom and by its tails.

    Reweighting overstates the information of a run with Student-t noise (ν + 3) / (ν + 1) times. The bottom takes two
    degrees of freedom of each cell, the curvature one of all; the prior of the noise adds one.
    """
    spare = np.maximum(cells.total(cells.repeats) - 2, 0.0).sum() - 1 + PRIOR_WEIGHT["noise"]
    spare = max(spare, 1.0)
    tails = np.sqrt((TAIL + 3) / (TAIL + 1))
    return replace(scales, noise=scales.noise * float(tails * stdtrit(spare, 0.975) / ndtri(0.975)))


def relaxation(last: Array, step: Array, before: Array) -> Array:
    """Factors for the step of each scale (in ln) by Wegstein's secant: the plain iteration is slow or oscillates.

    Args:
        last: Factors of the last step.
        step: The plain step.
        before: The plain step before; 0 at first.
    """
    turn = np.where(before == 0, 0.0, step / np.where(before == 0, 1.0, before))
    found = np.where(turn < 1, last / np.maximum(1 - turn, 1e-3), RELAXATION[1])
    return np.asarray(np.clip(found, *RELAXATION))


def as_array(scales: Scales) -> Array:
    """The scales as a vector."""
    return np.array([getattr(scales, name) for name in SCALES])
