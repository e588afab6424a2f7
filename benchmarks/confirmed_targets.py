"""Claims of a confirmation at the target, and how often they hold, in worlds whose law is known.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.confirmed_targets [--worlds 200]

Each world has a law of small models and a target where the truth lies a little off that law. Claimed and true: the
probability that the first rate is within 0.1 % of the best, that the last one is, and the number of runs until the
confirmation stops by itself. Under "law" the truths are spread evenly over what one law believes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import ndtri

from benchmarks.synthetic import crossed, lopsided
from orchestrator.cells import Point
from orchestrator.law import FitOptions, Law, Observations, fit
from orchestrator.law.observations import point_array
from orchestrator.planner.confirming import NEAR, TargetRun, confirm

TARGET = Point(params=8e8, tokens=2e10, batch_tokens=262_144)
LATTICE: tuple[float, ...] = tuple((1e-4 * 2 ** (np.arange(19) / 2)).tolist())
CURVATURE, NOISE, SCATTER = 0.012, 5e-4, 0.08
SHAPE = lopsided(0.7)
FAST = FitOptions(heldout=False)


def height(u: float) -> float:
    """Ln loss above the bottom at a distance u in ln η."""
    return CURVATURE * float(SHAPE(np.array(u)))


@dataclass(frozen=True, kw_only=True)
class TargetWorld:
    """Runs of small models, their law, and the truth at the target: ln η* and the loss at the bottom."""

    runs: Observations
    law: Law
    optimum: float
    bottom: float
    seed: int

    def with_runs(self, point: Point, runs: Sequence[TargetRun]) -> Observations:
        """The small models' runs, and some that completed at a point."""
        params, tokens, batch_tokens = point_array([point] * len(runs)).T
        return Observations(
            params=np.append(self.runs.params, params),
            tokens=np.append(self.runs.tokens, tokens),
            batch_tokens=np.append(self.runs.batch_tokens, batch_tokens),
            learning_rate=np.append(self.runs.learning_rate, [run.learning_rate for run in runs]),
            loss=np.append(self.runs.loss, [run.loss or math.nan for run in runs]),
        )

    def trial(self, rate: float, off: float = 0.0) -> TargetRun:
        """The run at a rate; the same rate always shows the same loss. ``off`` moves the truth."""
        key = [self.seed, round(1e9 * math.log(rate) + 1e11)]
        noise = NOISE * np.random.default_rng(key).standard_normal()
        rise = min(height(math.log(rate) - self.optimum - off), 0.3)
        return TargetRun(learning_rate=rate, loss=float(self.bottom * math.exp(rise + noise)))

    def lost(self, rate: float, off: float = 0.0) -> float:
        """Excess loss of a rate over the best of the lattice."""
        heights = {other: height(math.log(other) - self.optimum - off) for other in (*LATTICE, rate)}
        return math.expm1(heights[rate] - min(heights[other] for other in LATTICE))

    def walk(self, off: float = 0.0) -> list[TargetRun]:
        """The runs that the confirmation asks for until it stops."""
        trials: list[TargetRun] = []
        while (asked := confirm(self.law, TARGET, rates=LATTICE, trials=trials).rates) and len(trials) < 15:
            trials.append(self.trial(asked[0], off))
        return trials


@cache
def target_world(seed: int = 0) -> TargetWorld:
    """Three sizes at three horizons; the optimum of each cell scatters round the power law, the target's too."""
    random = np.random.default_rng(seed)
    alpha, beta = random.normal(-0.4, 0.1), random.normal(-0.1, 0.1)

    def optimum(params: float, tokens: float) -> float:
        line = math.log(2e-3) + alpha * math.log(params / 2e8) + beta * math.log(tokens / 5e9)
        return line + float(random.normal(0, SCATTER))

    def bottom(params: float, tokens: float) -> float:
        return float(
            3.0 * (params / 2e8) ** -0.06 * (tokens / 5e9) ** -0.07 * math.exp(random.normal(0, 2e-3))
        )

    rows = []
    for n, d, b in crossed(
        np.array([1e8, 2e8, 4e8]), np.array([2.5e9, 5e9, 1e10]), np.array([TARGET.batch_tokens])
    ):
        at, low = optimum(n, d), bottom(n, d)
        rows += [
            (n, d, b, math.exp(x), low * math.exp(height(x - at) + random.normal(0, NOISE)))
            for x in at + 0.3 + 0.6 * np.arange(-3, 3)
        ]
    params, tokens, batch_tokens, rate, loss = np.array(rows).T
    runs = Observations(
        params=params, tokens=tokens, batch_tokens=batch_tokens, learning_rate=rate, loss=loss
    )
    return TargetWorld(
        runs=runs,
        law=fit(runs, options=FAST),
        optimum=optimum(TARGET.params, TARGET.tokens),
        bottom=bottom(TARGET.params, TARGET.tokens),
        seed=seed,
    )


def worlds_of_one_law(count: int) -> list[TargetWorld]:
    """Truths spread evenly over what one law believes."""
    known, random = target_world(), np.random.default_rng(1)
    place = point_array([TARGET])
    mean, sd = (float(value[0]) for value in known.law.prediction_band(place))
    level = float(known.law.surface.at(known.law.reference.coordinates(place))[0][0])
    return [
        TargetWorld(
            runs=known.runs,
            law=known.law,
            optimum=mean + sd * float(at),
            bottom=math.exp(random.normal(level, 5e-3)),
            seed=seed,
        )
        for seed, at in enumerate(ndtri((np.arange(count) + 0.5) / count))
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Means over worlds of what a confirmation claims, and of what is true."""

    probability_first: float
    first_is_near: float
    probability_last: float
    last_is_near: float
    expected_runs: float
    runs: float


def claims(worlds: Iterable[TargetWorld]) -> Claims:
    """Confirms in every world until nothing more is asked for."""
    rows = []
    for world in worlds:
        first, trials = confirm(world.law, TARGET, rates=LATTICE), world.walk()
        last = confirm(world.law, TARGET, rates=LATTICE, trials=trials)
        rows.append(
            (
                first.probability_first or 0.0,
                world.lost(first.rates[0]) <= NEAR,
                last.probability_best or 0.0,
                world.lost(last.best or 1.0) <= NEAR,
                first.expected_runs_until_sure,
                len(trials),
            )
        )
    means = np.mean(np.array(rows, dtype=np.float64), axis=0).tolist()
    return Claims(**dict(zip(Claims.__slots__, means, strict=True)))


def main() -> None:
    """Prints a row for worlds with laws of their own, and one for those of one law."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--worlds", type=int, default=200)
    count = arguments.parse_args().worlds
    print("worlds      first: claimed  true    last: claimed  true    runs: expected  made")
    for name, worlds in (
        ("own laws", map(target_world, range(count))),
        ("one law", worlds_of_one_law(count)),
    ):
        row = claims(worlds)
        print(
            f"{name:10s}  {row.probability_first:14.3f}  {row.first_is_near:.3f}  {row.probability_last:14.3f}  "
            f"{row.last_is_near:.3f}  {row.expected_runs:16.2f}  {row.runs:.2f}"
        )


if __name__ == "__main__":
    main()
