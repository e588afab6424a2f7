"""Variances from the unknowns of a joint fit: one step of expectation-maximisation (legend in joint.py)."""

from dataclasses import replace

import numpy as np

from orchestrator.law.cell_information import (
    CURVATURE,
    OPTIMUM,
    TAIL,
    CellInformation,
    CellUnknowns,
    predicted,
)
from orchestrator.law.grouped_runs import GroupedRuns
from orchestrator.law.observations import Array
from orchestrator.law.pooled import PooledModel, Shrunk
from orchestrator.law.scales import PRIOR, PRIOR_WEIGHT, Scales

RATIO_WEIGHT = 4.0  # weight of the pool's noise in the noise of a cell, in runs


def maximise(
    model: PooledModel,
    information: CellInformation,
    scales: Scales,
    cells: Shrunk,
    posterior: tuple[Array, Array],
    pool: tuple[Array, Array],
    moved: CellUnknowns,
) -> Scales:
    """The scales given the unknowns and the priors; the scales of the noise stay."""
    mean, spread = pool
    apart = moved.shape - mean
    left = cells.covariance @ information.information
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
    model: PooledModel, scales: Scales, pooled: Array, variance: Array
) -> dict[str, tuple[float, float]]:
    """Draws of the drifts and of the random effects whose scale is fitted (`Scales.updated`)."""
    draws = {}
    for name in ("drift", "pair", "smooth"):
        at, _, unit = model.scaled_by([name])
        known = float((1 - variance[at] / (getattr(scales, name) * unit) ** 2).sum())
        draws[name] = float(((pooled[at] / unit) ** 2).sum()), known
    return draws


def misfit(
    cells: GroupedRuns, information: CellInformation, scales: Scales, here: CellUnknowns, spread: Array
) -> tuple[Array, Array, Array]:
    """Expected squared residuals, robustly.

    Returns:
        (the rise of each run, the pool's variance there, its expected squared residual), shape [runs] each. The residual
        of an outlier is cut off.
    """
    height, derivatives = predicted(cells, here)
    residual = cells.y - here.bottom[cells.cell] - height
    jacobian = np.column_stack(derivatives) - information.tilt[cells.cell]
    spread_along = (spread[cells.cell] @ jacobian[:, :, None])[:, :, 0]
    known = 1 / information.weight[cells.cell] + np.einsum("ri,ri->r", spread_along, jacobian)
    pool = scales.variance(height, cells.repeats)
    variance = here.noise_ratio[cells.cell] * pool
    robust = (TAIL + 1) / (TAIL + residual**2 / variance)
    return height, pool, np.minimum(robust * (residual**2 + known), (TAIL + 1) * variance)


def noise_ratios(cells: GroupedRuns, scales: Scales, pool: Array, square: Array) -> Array:
    """Squared noise of each cell over the pool's, shape [cells]: near 1 with few runs, the cell's own with many."""
    seen = square / pool + within(cells, scales) / scales.noise**2
    return np.asarray((RATIO_WEIGHT + cells.total(seen)) / (RATIO_WEIGHT + cells.total(cells.repeats)))


def within(cells: GroupedRuns, scales: Scales) -> Array:
    """Squared scatter of the repeated runs of each point, outliers cut off, shape [points]."""
    return np.minimum(cells.scatter, (TAIL + 1) * (cells.repeats - 1) * scales.noise**2)


def maximise_noise(
    cells: GroupedRuns, information: CellInformation, scales: Scales, here: CellUnknowns, spread: Array
) -> tuple[Scales, CellUnknowns]:
    """One scoring step for the noise at the bottom, its growth with the rise, and the noise ratio of each cell."""
    height, pool, square = misfit(cells, information, scales, here, spread)
    own = here.noise_ratio[cells.cell]
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
        replace(here, noise_ratio=noise_ratios(cells, scales, pool, square)),
    )
