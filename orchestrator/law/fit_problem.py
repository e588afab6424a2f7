"""The input of a joint fit: cells, basis, priors and starting point."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from orchestrator.law.bowl_shape import TYPICAL
from orchestrator.law.cell_information import ASYMMETRY, CURVATURE, CellUnknowns
from orchestrator.law.effects import Effects, basis
from orchestrator.law.features import FEATURES, Reference, matrix, prior_sds
from orchestrator.law.few_draws import UNCERTAIN
from orchestrator.law.grouped_runs import GroupedRuns, group
from orchestrator.law.law import Law
from orchestrator.law.observations import Array, Index, Mask, Observations, rows_among
from orchestrator.law.pooled import PooledModel
from orchestrator.law.refusal import LawRefusal
from orchestrator.law.scales import PRIOR, Scales

CURVATURE_MEAN, CURVATURE_SDS = -4.0, (2.0, 0.3, 0.3, 0.3)
"""Prior of ln C and of its exponents in N, D and B: relative loss rises by about e^-4 at a factor e from the bottom."""
FEWEST_RUNS = 3
UNIT = Scales(drift=1.0, size_bend=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitProblem:
    """The input of a joint fit.

    Attributes:
        cells: The runs.
        reference: Where n, d and b are zero.
        coordinates: (n, d, b) of the cells, shape [cells, 3].
        effects: The basis of the random effects.
        model: The pooled rows and their priors.
        start: Starting point of the unknowns of the cells.
        scales: Starting point of the variances.
    """

    cells: GroupedRuns
    reference: Reference
    coordinates: Array
    effects: Effects
    model: PooledModel
    start: CellUnknowns
    scales: Scales

    @classmethod
    def of(cls, runs: Observations, without: Collection[str] = (), near: Law | None = None) -> Self:
        """The input for runs that count.

        Args:
            runs: The runs.
            without: Names of terms to leave out.
            near: A law of nearly the same runs, as the starting point.

        Raises:
            Refused: Too few of them finished.
        """
        refuse_few_runs(runs, recorded=runs.size)
        cells = group(runs)
        reference = Reference.amid(cells.points)
        coordinates = reference.coordinates(cells.points)
        effects = basis(coordinates)
        columns, missing = effects.matrix(coordinates)
        start = start_at_best_runs(cells) if near is None else start_at_law(cells, near)
        left_out = np.array([feature.name in without for feature in FEATURES])
        model = PooledModel(
            cells=cells,
            curvature=np.column_stack([np.ones(cells.size), coordinates]),
            optimum=np.column_stack([matrix(coordinates, reference), columns]),
            missing=missing,
            mean=prior_mean(start, columns.shape[1], left_out),
            fixed_sd=np.array([*CURVATURE_SDS, *prior_sds(UNIT, without)]),
            scaled_terms=scaled_terms(without),
            counts=effects.counts,
        )
        return cls(
            cells=cells,
            reference=reference,
            coordinates=coordinates,
            effects=effects,
            model=model,
            start=start,
            scales=PRIOR
            if near is None
            else replace(near.scales, **{scale.name: getattr(PRIOR, scale.name) for scale in UNCERTAIN}),
        )


def scaled_terms(without: Collection[str]) -> dict[str, Index]:
    """Positions among (κ, θ) of the terms whose prior sd each scale multiplies, those left out excepted."""
    found: dict[str, list[int]] = {}
    for at, feature in enumerate(FEATURES, start=len(CURVATURE_SDS)):
        if feature.scale is not None and feature.name not in without:
            found.setdefault(feature.scale, []).append(at)
    return {name: np.array(positions) for name, positions in found.items()}


def start_at_best_runs(cells: GroupedRuns) -> CellUnknowns:
    """Starts each bowl at the best run of its cell; a cell without a usable run at the median of the others."""
    order = np.lexsort((cells.x, cells.y, cells.cell))
    first = np.concatenate([[True], np.diff(cells.cell[order]) > 0])
    best = order[first]
    optimum = np.full(cells.size, float(np.median(cells.x[best])))
    optimum[cells.cell[best]] = cells.x[best]
    return CellUnknowns(
        bottom=np.zeros(cells.size),
        shape=np.column_stack(np.broadcast_arrays(CURVATURE_MEAN, optimum, TYPICAL)),
        noise_ratio=np.ones(cells.size),
    )


def refuse_few_runs(runs: Observations, *, recorded: int) -> None:
    """Refuses a fit of fewer than `FEWEST_RUNS` finished runs.

    Args:
        runs: The runs that the fit uses.
        recorded: The number of runs to name in the refusal, failed ones included.
    """
    finished = int(np.isfinite(runs.loss).sum())
    if finished < FEWEST_RUNS:
        raise LawRefusal.NO_RUNS.error(finite=finished, runs=recorded)


def start_at_law(cells: GroupedRuns, law: Law) -> CellUnknowns:
    """Starts the bowls at those of a law of nearly the same runs."""
    optimum = law.optimum(cells.points)[0]
    curvature = np.log(law.curvature(cells.points))
    shape = np.column_stack(np.broadcast_arrays(curvature, optimum, law.asymmetry))
    noise_ratio = np.ones(cells.size)
    rows = rows_among(law.points, cells.points)
    known, bowls = rows >= 0, [law.bowls[row] for row in rows[rows >= 0]]
    shape[known, CURVATURE] = np.log([bowl.curvature for bowl in bowls])
    shape[known, ASYMMETRY] = [bowl.asymmetry for bowl in bowls]
    noise_ratio[known] = [(bowl.noise / law.noise) ** 2 for bowl in bowls]
    return CellUnknowns(bottom=np.zeros(cells.size), shape=shape, noise_ratio=noise_ratio)


def prior_mean(start: CellUnknowns, effects: int, left_out: Mask) -> Array:
    """Prior mean of the pooled unknowns; the level of ln η* is the median of the best rates."""
    level = float(np.median(start.optimum))
    return np.concatenate(
        [
            [CURVATURE_MEAN, 0.0, 0.0, 0.0],
            [level],
            np.where(left_out, 0.0, [feature.mean for feature in FEATURES])[1:],
            np.zeros(effects),
            [TYPICAL],
        ]
    )
