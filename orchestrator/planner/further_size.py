"""The further size whose runs narrow the target's interval most for their FLOPs.

    C = R S Rᵀ + K − φ s² φᵀ + s_c² I      covariance of ln η* in cells that have no runs

Candidates are sizes below the target that are not near a tried one, with the horizons and batches of the nearest tried
size (moved along the line that they follow, where they follow the size). The rates of a cell show its ln η* with the
variance u = 1/J, J as in planner/information.py, averaged over the positions that its bottom may have. Cells of one
size share its shift, which no number of them averages out: so they are added one after the other, each by the exact
Gaussian update C − c cᵀ / (C_cc + u), c the column of the cell.

| symbol | shape | what |
|---|---|---|
| R, φ | [m, q], [m, w] | rows of features and effects, and of the effects alone (orchestrator/law/effects.py) |
| S | [q, q] | the law's covariance of (θ, w) |
| K | [m, m] | prior covariance of the effects: of cells of one size, of one (N, D), of neighbours |
| s, s_c | [w] | sd of the effects and of a cell's own shift (orchestrator/law/scales.py) |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.amounts import count, factor
from orchestrator.cells import CLOSE, TRAINING_FLOPS_PER_PARAM_TOKEN, Point
from orchestrator.law import Law
from orchestrator.law.bowl import Z95
from orchestrator.law.bowl_shape import half_widths, rise, slope
from orchestrator.law.effects import Effects, basis
from orchestrator.law.grouped_runs import BLOWN
from orchestrator.law.identifiability import TIED, regress
from orchestrator.law.law import OPTIMUM, VALLEY, WIDEST
from orchestrator.law.observations import Array, point_array, point_list
from orchestrator.law.scales import Scales
from orchestrator.planner.information import NODES, ROBUST, WEIGHTS, fisher

SIZES, FARTHEST = 12, 30.0
"""Candidates from the smallest tried size to the target, or to this multiple of the largest tried one."""
APART = 1.25
"""Least factor between a candidate and a tried size or the target."""
MOST_CELLS = 4
"""Of one proposal."""
MOST_HORIZONS, MOST_BATCHES = 5, 2
"""Considered at one size: horizons spread over those tried, batches the nearest to the target's."""
DESIGNS = tuple(width * np.linspace(-1.0, 1.0, rates) for rates in (3, 4) for width in (0.5, 0.7, 1.0, 1.4))
"""Rates considered in a cell round its predicted optimum, in units of its 95 % half-width and its valley's together."""
LOOSEST = 10.0
"""A cell whose 95 % interval is wider than ×/÷ this is no candidate: a few rates would miss its bottom."""
FEWEST_RATES = min(map(len, DESIGNS))
NARROW = 1.2
"""An interval within ×/÷ this needs no further size."""
WORTHWHILE = 0.1
"""Least share of ln of the interval's factor that is worth a further size."""
EFFORT = 0.05
"""Share of the FLOPs of a run at the target that counts beside the runs' own, so that a tiny size does not win by its
FLOPs alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherCell:
    """A cell of the further size, and the η to run there, ascending."""

    cell: Point
    rates: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherSize:
    """A size to add.

    Attributes:
        params: N to two digits: a size near it serves as well.
        cells: to run there.
        flops: of all runs, 6·N·D each, N the active parameters.
        factor_before, factor_after: the target's 95 % interval is within ×/÷ this, now and as expected afterwards.
    """

    params: float
    cells: tuple[FurtherCell, ...]
    flops: float
    factor_before: float
    factor_after: float

    @property
    def share(self) -> float:
        """Share of ln of the interval's factor that the runs take off."""
        return float(1 - np.log(self.factor_after) / np.log(self.factor_before))


def further_size(
    law: Law, target: Point, *, active_share: float = 1.0, budget_flops: float | None = None
) -> FurtherSize | str:
    """Find the further size that is expected to narrow the target's interval most for its FLOPs.

    Where the interval is wider than ×/÷ 3, sizes that bring it within are preferred.

    Args:
        law: the newest law.
        target: the (N, D, B) of the model to train.
        active_share: active parameters over N.
        budget_flops: FLOPs that may be spent in all; less than a run at the target costs, in any case.

    Returns:
        The size with its cells, or the reason why there is none, a sentence.
    """
    tried = np.unique(law.points[:, 0])
    if np.abs(np.log(tried / target.params)).min() < CLOSE:
        return f"The target's size, {count(target.params)} parameters, has runs: a further size would add little."
    now = float(np.exp(Z95 * law.optimum(point_array([target]))[1][0]))
    if now <= NARROW:
        return f"The interval is within {factor(now)} already."
    per_unit = TRAINING_FLOPS_PER_PARAM_TOKEN * active_share
    at_target = per_unit * target.params * target.tokens
    most = at_target if budget_flops is None else min(budget_flops, at_target)
    found = list(_proposals(law, target, per_unit, most, EFFORT * at_target))
    if not found:
        cost = "less than one run at the target" if most == at_target else "these FLOPs"
        return f"No size below the target and away from those tried can be run for {cost}."
    worthwhile = [one for one in found if one.share >= WORTHWHILE]
    if not worthwhile:
        best = max(found, key=lambda one: one.share)
        return (
            f"No further size {'' if most == at_target else 'that the FLOPs pay for '}would narrow the interval enough: the "
            f"best, near {count(best.params)} parameters, from {factor(best.factor_before)} to {factor(best.factor_after)}."
        )
    answered = [one for one in worthwhile if one.factor_after <= WIDEST]
    return max(answered or worthwhile, key=lambda one: one.share / (one.flops + EFFORT * at_target))


def expected_factor(law: Law, target: Point, cells: Sequence[FurtherCell]) -> float:
    """The factor of the target's 95 % interval that is expected after runs in cells that have none; nor has the target."""
    points = point_array(one.cell for one in cells)
    covariance = joint_covariance(law, np.concatenate([points, point_array([target])]))
    variance, mean = np.diag(covariance), law.band(points)[0]
    for at, one in enumerate(cells):
        offsets = np.log(one.rates) - mean[at]
        shown = shown_variance(law, points[[at]], variance[[at]], offsets[None, :])
        covariance = _updated(covariance, at, float(shown[0]))
    return float(np.exp(Z95 * np.sqrt(covariance[-1, -1])))


def candidates(tried: Array, target: float) -> list[float]:
    """Log-spaced sizes from the smallest tried one towards the target, to two digits, none near a tried one or the target."""
    if tried.min() >= target:
        return []
    taken, end = np.log([*tried, target]), min(target, FARTHEST * float(tried.max()))
    sizes = {float(f"{size:.2g}") for size in np.geomspace(tried.min(), end, SIZES)}
    inside = [size for size in sorted(sizes) if tried.min() < size < target]
    return [size for size in inside if np.abs(np.log(size) - taken).min() >= np.log(APART)]


def joint_covariance(law: Law, points: Array) -> Array:
    """Covariance of ln η* in cells without runs, [m, 3] -> [m, m]; its diagonal is that of the prediction band.

    A basis over these cells alone spans what they have in common, but for more sizes or pairs than it may have.
    """
    at = law.reference.coordinates(points)
    rows, outside = law.effects.rows(at, law.reference, law.scales)
    covariance = rows @ law.pooled_covariance[OPTIMUM, OPTIMUM] @ rows.T
    variance = np.diag(covariance) + outside
    covariance += _prior(basis(at), at, law.scales) - _prior(law.effects, at, law.scales)
    covariance[np.diag_indices(len(at))] = variance
    return np.asarray(covariance)


def _prior(effects: Effects, at: Array, scales: Scales) -> Array:
    """Prior covariance of the effects at coordinates, [m, 3] -> [m, m], in so far as a basis spans it."""
    columns, _ = effects.matrix(at)
    return np.asarray(columns * np.square(effects.column_sds(scales)) @ columns.T)


def shown_variance(law: Law, points: Array, variance: Array, offsets: Array) -> Array:
    """Variance u with which the runs of a cell show its ln η*.

    Args:
        law: the law.
        points: the cells, shape [m, 3].
        variance: of ln η* there before the runs, shape [m].
        offsets: ln η of the runs over the predicted ln η*, shape [m, rates].
    """
    curvature = law.curvature(points)[:, None, None]
    u = offsets[:, None, :] - (np.sqrt(variance)[:, None] * NODES)[..., None]
    height, tilt = curvature * rise(u, law.asymmetry), -curvature * slope(u, law.asymmetry)
    weight = ROBUST / (law.scales.noise**2 + (law.scales.growth * height) ** 2)
    weight = np.where(height > BLOWN, 0.0, weight)  # that far up the law counts a run as diverged
    products = (np.ones_like(u), tilt, height, tilt**2, tilt * height, height**2)
    sums = np.stack([(weight * product).sum(axis=-1) for product in products], axis=-1)
    taken = fisher(sums, law.scales.curvature)
    shown = (taken / (1 + taken * variance[:, None])) @ WEIGHTS
    return np.asarray(1 / np.maximum(shown, np.finfo(np.float64).tiny) - variance)


def _proposals(
    law: Law, target: Point, flops_per_unit: float, most: float, effort: float
) -> Iterator[FurtherSize]:
    """The proposals of every candidate that costs less than `most` FLOPs: of one cell, of two and so on."""
    sizes = candidates(np.unique(law.points[:, 0]), target.params)
    points = np.concatenate([np.empty((0, 3)), *(_points(law, target, size) for size in sizes)])
    points = points[flops_per_unit * points[:, 0] * points[:, 1] * FEWEST_RATES < most]
    points = points[Z95 * law.prediction_band(points)[1] <= np.log(LOOSEST)]
    if not len(points):
        return
    rates, shown = _rates(law, points)
    cells = [
        FurtherCell(cell=cell, rates=tried) for cell, tried in zip(point_list(points), rates, strict=True)
    ]
    flops = flops_per_unit * points[:, 0] * points[:, 1] * np.array([len(one.rates) for one in cells])
    aim = point_array([target])
    for size in np.unique(points[:, 0]).tolist():
        here = np.flatnonzero(points[:, 0] == size)
        covariance = joint_covariance(law, np.concatenate([points[here], aim]))
        before = float(np.sqrt(covariance[-1, -1]))
        for chosen, spent, sd in _steps(covariance, shown[here], flops[here], most, effort):
            yield FurtherSize(
                params=size,
                cells=tuple(cells[here[at]] for at in sorted(chosen)),
                flops=spent,
                factor_before=float(np.exp(Z95 * before)),
                factor_after=float(np.exp(Z95 * sd)),
            )


def _steps(
    covariance: Array, shown: Array, flops: Array, most: float, effort: float
) -> Iterator[tuple[list[int], float, float]]:
    """Adds the cells of one size one by one, each the one after which most is narrowed for the FLOPs of all.

    Args:
        covariance: of the cells and, last, the target, shape [m + 1, m + 1].
        shown: variance with which the runs of each cell show its ln η*, shape [m].
        flops: of the runs of each cell, shape [m].
        most: FLOPs of all runs are less.
        effort: FLOPs that count beside them.

    Yields:
        The cells so far, their FLOPs, and the sd of ln η* at the target after them.
    """
    chosen: list[int] = []
    spent, before = 0.0, float(np.sqrt(covariance[-1, -1]))
    while len(chosen) < min(MOST_CELLS, shown.size):
        variance = covariance[-1, -1] - covariance[:-1, -1] ** 2 / (np.diag(covariance)[:-1] + shown)
        total = spent + flops
        gain = (1 - np.sqrt(np.maximum(variance, 0.0)) / before) / (total + effort)
        gain = np.where(total < most, gain, -np.inf)
        gain[chosen] = -np.inf
        best = int(gain.argmax())
        if not np.isfinite(gain[best]):
            return
        chosen, spent = [*chosen, best], float(total[best])
        covariance = _updated(covariance, best, float(shown[best]))
        yield chosen, spent, float(np.sqrt(max(covariance[-1, -1], 0.0)))


def _updated(covariance: Array, at: int, shown: float) -> Array:
    """A covariance after a cell was seen with variance `shown`."""
    column = covariance[:, at]
    return np.asarray(covariance - np.outer(column, column) / (column[at] + shown))


def _rates(law: Law, points: Array) -> tuple[list[tuple[float, ...]], Array]:
    """The rates of each cell that show most of its ln η* per run, and the variance with which they do, shape [m]."""
    mean, sd = law.prediction_band(points)
    curvature, variance = law.curvature(points), sd**2
    below, above = half_widths(VALLEY / curvature, law.asymmetry)
    unit = np.hypot(Z95 * sd, (above - below) / 2)[:, None]
    shown = np.array([shown_variance(law, points, variance, unit * design) for design in DESIGNS])
    runs = np.array([[design.size] for design in DESIGNS])
    best = (runs * (shown + variance)).argmin(axis=0)  # 1 / Δ per run
    rates = [
        tuple(float(f"{rate:.3g}") for rate in np.exp(at + half * DESIGNS[design]))
        for at, half, design in zip(mean.tolist(), unit[:, 0].tolist(), best.tolist(), strict=True)
    ]
    return rates, np.asarray(np.take_along_axis(shown, best[None], axis=0)[0])


def _points(law: Law, target: Point, size: float) -> Array:
    """The cells considered at a size: the nearest tried size's, moved along the line that the runs follow, shape [m, 3]."""
    logs = np.log(law.points)
    apart = np.abs(logs[:, 0] - np.log(size))
    near = law.points[apart <= apart.min() + CLOSE]
    step = float(np.log(size / near[0, 0]))
    horizon = float(_slopes(logs[:, :1], logs[:, 1])[0]) * step
    batch = float(_slopes(logs[:, :2], logs[:, 2]) @ [step, horizon])
    cells = {
        Point(params=size, tokens=_moved(d, horizon), batch_tokens=_moved(b, batch))
        for _, d, b in _thinned(near, target.batch_tokens / float(np.exp(batch))).tolist()
    }
    return point_array(sorted(cell for cell in cells if cell.tokens <= target.tokens * (1 + CLOSE)))


def _slopes(rows: Array, values: Array) -> Array:
    """Slopes of a logarithm that follows others in the cells; zero if it does not."""
    varying = np.ptp(values) > CLOSE and (np.ptp(rows, axis=0) > CLOSE).any()
    slopes, r2, _ = regress(rows, values) if varying else (np.zeros(rows.shape[1]), 0.0, values)
    return slopes if r2 > TIED else np.zeros(rows.shape[1])


def _moved(value: float, by: float) -> float:
    """A horizon or batch, moved by `by` in its logarithm and then rounded to two digits."""
    return float(f"{value * np.exp(by):.2g}") if by else value


def _thinned(points: Array, batch_tokens: float) -> Array:
    """The points at a few horizons, spread over all, and at the few batches nearest to one at each."""
    horizons = np.unique(points[:, 1])
    kept = np.unique(np.linspace(0, horizons.size - 1, MOST_HORIZONS).round().astype(np.int64))
    found = []
    for horizon in horizons[kept]:
        here = points[points[:, 1] == horizon]
        nearest = np.argsort(np.abs(np.log(here[:, 2] / batch_tokens)), kind="stable")
        found.append(here[nearest[:MOST_BATCHES]])
    return np.concatenate(found)
