"""The law's linear model of ln η* over all cells that may be run and over the targets.

    μ_c = φ_c·w + δ_c        w ~ N(·, prior), δ_c ~ N(0, v_c)

Features, random effects and their sizes are the law's (orchestrator/law/features.py, effects.py, scales.py). The
basis is built over all these points, so that cells of one size that the law has not seen share its shift.

| symbol | shape | what |
|---|---|---|
| Φ | [points, q] | rows of features and random effects |
| v | [points] | variance of δ_c: a cell's own, and the part of the effects outside the basis |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.cells import CLOSE, Cells, Point
from orchestrator.law import Law
from orchestrator.law.effects import basis
from orchestrator.law.features import prior_sds
from orchestrator.law.observations import Array, point_array, rows_among


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """The law's posterior in cells, shape [cells] each.

    Attributes:
        optimum, sd: mean and standard deviation of ln η*, the cell's own runs included.
        curvature: C of ln L = ln L_min + C·(ln η − ln η*)².
    """

    optimum: Array
    sd: Array
    curvature: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRows:
    """Points in the model: Φ, shape [points, q], and v, shape [points]."""

    features: Array
    own: Array

    def of(self, part: slice) -> ModelRows:
        """Some of the points."""
        return ModelRows(features=self.features[part], own=self.own[part])


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearModel:
    """Prior standard deviations of w, shape [q], and the rows of the cells, of other bowls and of the targets.

    ``abroad`` are cells of prior runs that the sweep does not have; ``abroad_information`` is the information of those runs
    on ln η* there, shape [bowls].
    """

    prior_sd: Array
    cells: ModelRows
    abroad: ModelRows
    abroad_information: Array
    targets: ModelRows


def belief_of(law: Law, cells: Cells) -> Belief:
    """The posterior of ``law`` in ``cells``."""
    points = point_array(cells)
    optimum, sd = law.optimum(points)
    return Belief(optimum=optimum, sd=sd, curvature=law.curvature(points))


def linear_model(law: Law, cells: Cells, targets: tuple[Point, ...]) -> LinearModel:
    """The model over ``cells``, over the bowls of the law that are in none of them, and over ``targets``."""
    here, aims = point_array(cells), point_array(targets)
    elsewhere = np.flatnonzero(rows_among(here, law.points) < 0)
    bowls, abroad = [law.bowls[at] for at in elsewhere], law.points[elsewhere]
    coordinates = law.reference.coordinates(np.concatenate([here, abroad, aims]))
    effects = basis(coordinates)
    prior = np.concatenate([prior_sds(law.scales, law.without), effects.column_sds(law.scales)])
    features, own = effects.rows(coordinates, law.reference, law.scales)
    rows, prior = _share_own(ModelRows(features=features, own=own), prior, here, aims)
    last = len(coordinates) - len(aims)
    return LinearModel(
        prior_sd=prior,
        cells=rows.of(slice(len(here))),
        abroad=rows.of(slice(len(here), last)),
        abroad_information=np.array([bowl.sd**-2.0 for bowl in bowls]),
        targets=rows.of(slice(last, None)),
    )


def _share_own(rows: ModelRows, prior: Array, here: Array, aims: Array) -> tuple[ModelRows, Array]:
    """Gives a target that is one of the cells the same shift as that cell, as a column of its own."""
    features, own = rows.features, rows.own.copy()
    for at, aim in enumerate(aims):
        same = np.flatnonzero((np.abs(here / aim - 1) < CLOSE).all(axis=1))
        if not same.size:
            continue
        shared = [*same, len(own) - len(aims) + at]
        column = np.zeros(len(own))
        column[shared] = 1.0
        features = np.column_stack([features, column])
        prior = np.append(prior, np.sqrt(own[shared[-1]]))
        own[shared] = 0.0
    return ModelRows(features=features, own=own), prior
