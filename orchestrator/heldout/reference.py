"""The reference bowl: the best loss of the held-out scale, from all runs in standard parametrization there.

    ln L_is = δ_s + m + C·g(ln η_i − ln η*; a) + noise      rate i, seed s   (law/shape.py)

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

from orchestrator.heldout.values import Expected, Outcome, Outcomes
from orchestrator.law import BowlStatus, Observations
from orchestrator.law.bowl import FREE_SD, Z95, alone
from orchestrator.law.evidence import (
    ASYMMETRY_SPREAD,
    OPTIMUM,
    TAIL,
    Locals,
    predicted,
)
from orchestrator.law.grouped_runs import GroupedRuns, group
from orchestrator.law.observations import Array
from orchestrator.law.scales import Scales
from orchestrator.law.status import classify, told
from orchestrator.spec import CellRole

CURVATURE_SD: Final = 0.3
"""Of the ln C that a law expects at a scale it has not seen, beside what cells differ by."""

NEAR: Final = 0.05
"""Rise of ln loss above the best rate's up to which a rate tells the noise and what seeds have in common."""

PRIOR_RUNS: Final = 4.0
"""How many differences between runs the law's own noise counts for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The best that the held-out scale can do.

    Attributes:
        learning_rate: at the bottom, in standard parametrization.
        low, high: 95 % interval of that rate.
        loss: there, the mean over the seeds.
        sd: standard deviation of its logarithm.
        curvature, asymmetry: of the bowl.
        noise: standard deviation of ln loss between runs of one seed at one rate.
        effects: δ_s of ln loss by seed, zero on average.
        status: an interior minimum, or why not: then the best rate that was run stands for it.
        weights: k, the part of each rate in the bottom.
        variances: of the mean ln loss of those rates round the bowl, the shape's misfit included.
        prior_variance: what the prior's uncertainty adds to the bottom's.
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

    def variance_of_excess(self, learning_rate: float | None, own: float) -> float:
        """Variance of a contender's mean ln loss less the bottom's.

        Args:
            learning_rate: of the contender, where its runs are part of the bowl; None where they are not.
            own: variance of its mean ln loss, its seeds' own noise alone.
        """
        others = math.fsum(
            weight**2 * self.variances[rate] for rate, weight in self.weights.items() if rate != learning_rate
        )
        weight = 0.0 if learning_rate is None else self.weights.get(learning_rate, 0.0)
        if weight == 0.0:
            return own + others + self.prior_variance
        misfit = max(0.0, self.variances[float(learning_rate or 0.0)] - own)
        return (1 - weight) ** 2 * own + weight**2 * misfit + others + self.prior_variance


def reference(outcomes: Outcomes, expected: Expected) -> Reference | None:
    """Fit the bowl of the standard arm.

    Args:
        outcomes: of all places; those with rates by module, or in another arm, are left out.
        expected: the shape that the law expects.

    Returns:
        The bowl; None where no run completed.
    """
    plain = {rate: out for (arm, rate, by), out in outcomes.items() if arm is CellRole.STANDARD and not by}
    if not any(out.losses for out in plain.values()):
        return None
    effects, noise = _seeds(plain, expected.noise)
    rates, cells = _cell(plain, effects)
    scales = Scales(noise=noise)
    pool = np.array([[math.log(expected.curvature), float(cells.x[np.argmin(cells.y)]), expected.asymmetry]])
    start = Locals(bottom=np.zeros(1), shape=pool.copy(), unrest=np.ones(1))
    own, covariance, careful = alone(cells, start, pool, np.array([[CURVATURE_SD, 0.0, 0.0]]), scales)
    sd = np.sqrt(careful[:, OPTIMUM, OPTIMUM])
    status = classify(cells, own, np.sqrt(covariance[:, OPTIMUM, OPTIMUM]), told(cells, own, scales))[0]
    if status is not BowlStatus.INTERIOR:
        return _best_run(cells, rates, effects, noise, expected, status)
    weights, variances, prior = _linear(cells, own, covariance[0], scales)
    bottom_variance = float((weights**2 * variances).sum() + prior)
    curvature, optimum, asymmetry = own.shape[0].tolist()
    return Reference(
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


def _seeds(plain: Mapping[float, Outcome], expected_noise: float) -> tuple[dict[int, float], float]:
    """What each seed adds to ln loss, and the noise that is left, from the rates near the best that have every seed."""
    seeds = sorted({seed for out in plain.values() for seed in out.losses})
    logs = [
        np.log([out.losses[seed] for seed in seeds])
        for out in plain.values()
        if not out.diverged and len(out.losses) == len(seeds)
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


def _cell(plain: Mapping[float, Outcome], effects: Mapping[int, float]) -> tuple[list[float], GroupedRuns]:
    """The rates that are points of the bowl, ascending, and the runs as the law groups them."""
    rows = [
        (rate, loss * math.exp(-effects[seed]), seed)
        for rate, out in plain.items()
        for seed, loss in [*out.losses.items(), *((seed, math.nan) for seed in out.diverged)]
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


def _linear(cells: GroupedRuns, own: Locals, covariance: Array, scales: Scales) -> tuple[Array, Array, float]:
    """How the bottom hangs on the points, linearised where the fit ended: k, the points' variances, the prior's part."""
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
    expected: Expected,
    status: BowlStatus,
) -> Reference:
    """Where the bowl has no minimum among the rates run, the best of them stands for it: a bound, not an optimum."""
    place = int(np.argmin(cells.y))
    variance = noise**2 / float(cells.repeats[place])
    best = rates[place]
    return Reference(
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
