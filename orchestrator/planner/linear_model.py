"""The law's model of ln η*, set up over every cell that may still be run and over the targets.

    μ_c = φ_c·w + δ_c        w ~ N(·, prior), δ_c ~ N(0, v_c)

Features, random effects and their sizes are the law's (orchestrator/law/features.py, effects.py, scales.py). The
basis is made anew over all places at hand, so that cells of one size that the law has not seen share its shift.

| symbol | shape | what |
|---|---|---|
| Φ | [places, q] | rows of features and random effects |
| v | [places] | variance of δ_c: a cell's own, and what the basis does not span |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from orchestrator.law import Law, Point
from orchestrator.law.effects import basis
from orchestrator.law.features import matrix, prior_sds
from orchestrator.law.grouped_runs import CLOSE, Index
from orchestrator.planner.values import Cells

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What the law says of cells, shape [cells] each.

    Attributes:
        optimum, sd: mean and standard deviation of ln η*, the cell's own runs included.
        curvature: C of ln L = ln L_min + C·(ln η − ln η*)².
    """

    optimum: Array
    sd: Array
    curvature: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRows:
    """Places in the model: Φ, shape [places, q], and v, shape [places]."""

    features: Array
    own: Array

    def of(self, part: slice) -> ModelRows:
        """Some of the places."""
        return ModelRows(features=self.features[part], own=self.own[part])


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearModel:
    """Prior standard deviations of w, shape [q], and the rows of the cells, of other bowls and of the targets.

    ``abroad_information`` is what the runs from elsewhere tell of ln η* in their own cells, shape [bowls].
    """

    prior_sd: Array
    cells: ModelRows
    abroad: ModelRows
    abroad_information: Array
    targets: ModelRows


def places(cells: Cells) -> Array:
    """(N, D, B) of cells, shape [cells, 3]."""
    return np.array([(cell.params, cell.tokens, cell.batch_tokens) for cell in cells])


def row_at(cells: Cells, tried: Array) -> Index:
    """The row of the cell that each (N, D, B), shape [m, 3], lies in; -1 where it lies in none, shape [m]."""
    apart, nearest = KDTree(np.log(places(cells))).query(np.log(tried), p=np.inf, distance_upper_bound=CLOSE)
    return np.where(np.isfinite(apart), nearest, -1)


def belief_of(law: Law, cells: Cells) -> Belief:
    """What ``law`` says of ``cells``."""
    params, tokens, batch_tokens = places(cells).T
    optimum, sd = law.optimum(params, tokens, batch_tokens)
    return Belief(optimum=optimum, sd=sd, curvature=law.curvature(params, tokens, batch_tokens))


def linear_model(law: Law, cells: Cells, targets: tuple[Point, ...]) -> LinearModel:
    """The model over ``cells``, over the bowls of the law that are in none of them, and over ``targets``."""
    here = places(cells)
    tried = np.array([(bowl.params, bowl.tokens, bowl.batch_tokens) for bowl in law.bowls])
    elsewhere = np.flatnonzero(row_at(cells, tried) < 0)
    bowls, abroad = [law.bowls[at] for at in elsewhere], tried[elsewhere]
    aims = np.array([(target.params, target.tokens, target.batch_tokens) for target in targets])
    points = law.reference.points(*np.concatenate([here, abroad, aims]).T)
    effects = basis(points)
    columns, missing = effects.matrix(points)
    squares = np.square([law.scales.size, law.scales.pair, law.scales.smooth])
    rows = ModelRows(
        features=np.column_stack([matrix(points, law.reference), columns]),
        own=missing @ squares + law.scales.cell**2,
    )
    prior = np.concatenate(
        [prior_sds(law.scales.drift, law.without), np.sqrt(np.repeat(squares, effects.counts))]
    )
    rows, prior = _share_own(rows, prior, here, aims)
    last = len(points) - len(aims)
    return LinearModel(
        prior_sd=prior,
        cells=rows.of(slice(len(here))),
        abroad=rows.of(slice(len(here), last)),
        abroad_information=np.array([bowl.sd**-2.0 for bowl in bowls]),
        targets=rows.of(slice(last, None)),
    )


def _share_own(rows: ModelRows, prior: Array, here: Array, aims: Array) -> tuple[ModelRows, Array]:
    """A target that is itself a cell shares that cell's own shift: the shift becomes a column of its own."""
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
