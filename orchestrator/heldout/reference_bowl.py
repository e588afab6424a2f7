"""The reference bowl: the best loss of the held-out scale, fitted to all its runs in standard parametrization.

    ln L_is = δ_s + m + C·g(ln η_i − ln η*; a) + noise      rate i, seed s   (law/bowl_shape.py)

Runs of one seed share their start and the order of their data, so δ_s is common to all of them and cancels in every
difference; what is left is the noise that matters. The bowl is the law's own (law/bowl.py), with the curvature and the
asymmetry that the law expects there as its prior.

| symbol | shape | what |
|---|---|---|
| k | [points] | how the bottom m moves with the mean ln loss of each rate |
| q | [3] | how it moves with the prior of (ln C, ln η*, a) |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.documents.comparisons import ExpectedBowl
from orchestrator.heldout.run_groups import GroupResult, GroupResults
from orchestrator.law import BowlStatus, Observations
from orchestrator.law.bowl import FREE_SD, Z95, alone
from orchestrator.law.bowl_status import classify, deviance_gain
from orchestrator.law.cell_information import (
    ASYMMETRY_SPREAD,
    OPTIMUM,
    TAIL,
    CellUnknowns,
    predicted,
)
from orchestrator.law.grouped_runs import GroupedRuns, group
from orchestrator.law.observations import Array
from orchestrator.law.scales import Scales

CURVATURE_SD: Final = 0.3
"""Standard deviation of the ln C that a law expects at an unseen scale, beside the spread between cells."""

NEAR: Final = 0.05
"""Rates whose ln loss is within this of the best one's show the noise and the effects of seeds."""

PRIOR_RUNS: Final = 4.0
"""The law's own noise weighs as much as this many differences between runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceBowl:
    """The bowl of the held-out scale, with its bottom.

    Attributes:
        learning_rate: η at the bottom, in standard parametrization.
        low, high: 95 % interval of that rate.
        loss: at the bottom, the mean over the seeds.
        sd: standard deviation of ln ``loss``.
        curvature, asymmetry: of the bowl.
        noise: standard deviation of ln loss between runs of one seed at one rate.
        effects: δ_s of ln loss by seed, zero on average.
        status: an interior minimum, or why there is none: then the best rate that was run replaces it.
        weights: k, the part of each rate in the bottom.
        variances: by rate, of the mean ln loss round the bowl, the misfit of the shape included.
        prior_variance: the part of the bottom's variance that comes from the prior.
    """

    learning_rate: float
    low: float
    high: float
    loss: float
    sd: float
    curvature: float
    asymmetry: float
    noise: float
    effects: Mapping[int, float]
    status: BowlStatus
    weights: Mapping[float, float]
    variances: Mapping[float, float]
    prior_variance: float

    def excess_loss(self, losses: Mapping[int, float]) -> float | None:
        """Mean loss of equal runs over the bottom's, less one, without the effects of their seeds; None without a run.

        Args:
            losses: of the runs, by seed.
        """
        logs = [math.log(loss / self.loss) - self.effects.get(seed, 0.0) for seed, loss in losses.items()]
        return math.expm1(sum(logs) / len(logs)) if logs else None

    def variance_of_excess(self, learning_rate: float | None, own: float) -> float:
        """Variance of a contender's mean ln loss minus the bottom's.

        Args:
            learning_rate: of the contender, if its runs are points of the bowl; None otherwise.
            own: variance of its mean ln loss from the noise of its own seeds.
        """
        others = math.fsum(
            weight**2 * self.variances[rate] for rate, weight in self.weights.items() if rate != learning_rate
        )
        weight = 0.0 if learning_rate is None else self.weights.get(learning_rate, 0.0)
        if weight == 0.0:
            return own + others + self.prior_variance
        misfit = max(0.0, self.variances[float(learning_rate or 0.0)] - own)
        return (1 - weight) ** 2 * own + weight**2 * misfit + others + self.prior_variance


def reference_bowl(results: GroupResults, expected: ExpectedBowl) -> ReferenceBowl | None:
    """Fit the bowl to the runs in standard parametrization.

    Args:
        results: of all groups; those with module-wise rates, or in Transfer's parametrization, are ignored.
        expected: the shape that the law expects.

    Returns:
        The bowl; None if no run completed.
    """
    plain = {key.learning_rate: result for key, result in results.items() if key.is_in_bowl}
    if not any(result.losses for result in plain.values()):
        return None
    effects, noise = _seeds(plain, expected.noise)
    rates, cells = _cell(plain, effects)
    scales = Scales(noise=noise)
    pool = np.array([[math.log(expected.curvature), float(cells.x[np.argmin(cells.y)]), expected.asymmetry]])
    start = CellUnknowns(bottom=np.zeros(1), shape=pool.copy(), noise_ratio=np.ones(1))
    own, covariance, careful = alone(cells, start, pool, np.array([[CURVATURE_SD, 0.0, 0.0]]), scales)
    sd = np.sqrt(careful[:, OPTIMUM, OPTIMUM])
    status = classify(
        cells, own, np.sqrt(covariance[:, OPTIMUM, OPTIMUM]), deviance_gain(cells, own, scales)
    )[0]
    if status is not BowlStatus.INTERIOR:
        return _best_run(cells, rates, effects, noise, expected, status)
    weights, variances, prior = _linear(cells, own, covariance[0], scales)
    bottom_variance = float((weights**2 * variances).sum() + prior)
    curvature, optimum, asymmetry = own.shape[0].tolist()
    return ReferenceBowl(
        learning_rate=math.exp(optimum),
        low=math.exp(optimum - Z95 * float(sd[0])),
        high=math.exp(optimum + Z95 * float(sd[0])),
        loss=float(cells.best_loss[0]) * math.exp(float(own.bottom[0])),
        sd=math.sqrt(bottom_variance),
        curvature=math.exp(curvature),
        asymmetry=asymmetry,
        noise=noise,
        effects=effects,
        status=status,
        weights=dict(zip(rates, weights.tolist(), strict=True)),
        variances=dict(zip(rates, variances.tolist(), strict=True)),
        prior_variance=prior,
    )


def _seeds(plain: Mapping[float, GroupResult], expected_noise: float) -> tuple[dict[int, float], float]:
    """The effect of each seed on ln loss, and the noise that is left, from the rates near the best that have every seed."""
    seeds = sorted({seed for result in plain.values() for seed in result.losses})
    logs = [
        np.log([result.losses[seed] for seed in seeds])
        for result in plain.values()
        if not result.diverged and len(result.losses) == len(seeds)
    ]
    squares, freedom = PRIOR_RUNS * expected_noise**2, PRIOR_RUNS
    if not logs or len(seeds) < 2:
        return dict.fromkeys(seeds, 0.0), math.sqrt(squares / freedom)
    table = np.array(logs)
    table = table[table.mean(axis=1) <= table.mean(axis=1).min() + NEAR]
    centred = table - table.mean(axis=1, keepdims=True)
    effects = centred.mean(axis=0)
    squares += float(np.square(centred - effects).sum())
    freedom += (len(table) - 1) * (len(seeds) - 1)
    return dict(zip(seeds, effects.tolist(), strict=True)), math.sqrt(squares / freedom)


def _cell(
    plain: Mapping[float, GroupResult], effects: Mapping[int, float]
) -> tuple[list[float], GroupedRuns]:
    """The rates that are points of the bowl, ascending, and their runs as the cell that the law groups."""
    rows = [
        (rate, loss * math.exp(-effects[seed]), seed)
        for rate, result in plain.items()
        for seed, loss in [*result.losses.items(), *((seed, math.nan) for seed in result.diverged)]
        if seed in effects
    ]
    rate, loss, seed = np.array(rows, dtype=np.float64).T
    one = np.ones_like(rate)
    runs = Observations(
        params=one, tokens=one, batch_tokens=one, learning_rate=rate, loss=loss, seed=seed
    ).sorted()
    cells = group(runs)
    known = np.array(sorted(plain))
    return [float(known[np.argmin(np.abs(np.log(known) - x))]) for x in cells.x], cells


def _linear(
    cells: GroupedRuns, own: CellUnknowns, covariance: Array, scales: Scales
) -> tuple[Array, Array, float]:
    """The bottom as a linear function of the points, at the end of the fit: k, the points' variances, the prior's part."""
    height, derivatives = predicted(cells, own)
    jacobian = np.column_stack(derivatives)
    variance = scales.variance(height, cells.repeats)
    residual = cells.y - own.bottom[0] - height
    weight = (TAIL + 1) / (TAIL + residual**2 / variance) / variance
    share = weight / weight.sum()
    tilt = share @ jacobian
    moved = covariance @ (jacobian - tilt).T * weight
    precision = 1 / np.square([math.hypot(scales.curvature, CURVATURE_SD), FREE_SD, ASYMMETRY_SPREAD])
    pulled = tilt @ covariance @ np.diag(np.sqrt(precision))
    return share - tilt @ moved, variance, float(pulled @ pulled)


def _best_run(
    cells: GroupedRuns,
    rates: Sequence[float],
    effects: Mapping[int, float],
    noise: float,
    expected: ExpectedBowl,
    status: BowlStatus,
) -> ReferenceBowl:
    """The best run in place of a minimum, if there is none among the rates that were run: a bound, not an optimum."""
    lowest = int(np.argmin(cells.y))
    variance = noise**2 / float(cells.repeats[lowest])
    best = rates[lowest]
    return ReferenceBowl(
        learning_rate=best,
        low=min(rates),
        high=max(rates),
        loss=float(cells.best_loss[0]),
        sd=math.sqrt(variance),
        curvature=expected.curvature,
        asymmetry=expected.asymmetry,
        noise=noise,
        effects=effects,
        status=status,
        weights={best: 1.0},
        variances={best: variance},
        prior_variance=0.0,
    )
