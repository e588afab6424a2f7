"""Small models whose law is known, and a target where the truth lies a little off it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from orchestrator.cells import Point
from orchestrator.law import FitOptions, Law, Observations, fit
from orchestrator.planner.confirming import TargetRun
from tests.known_law import Known, grid, observations

TARGET = Point(params=8e8, tokens=2e10, batch_tokens=262_144)
LATTICE = tuple((1e-4 * 2 ** (np.arange(19) / 2)).tolist())
CURVATURE, ASYMMETRY, NOISE, SCATTER = 0.012, 0.7, 5e-4, 0.08


def rise(u: float) -> float:
    """ln loss above the bottom at a distance u in ln η."""
    return CURVATURE * 2 / ASYMMETRY**2 * math.expm1(ASYMMETRY * u) - CURVATURE * 2 / ASYMMETRY * u


@dataclass(frozen=True, kw_only=True)
class TargetWorld:
    """A law of small models and the truth at the target: ln η* and the loss at the bottom."""

    known: tuple[Known, ...]
    law: Law
    optimum: float
    bottom: float
    seed: int

    @property
    def runs(self) -> Observations:
        """The small models' runs."""
        return observations(self.known)

    def with_runs(self, point: Point, runs: Iterable[TargetRun]) -> Observations:
        """The small models' runs, and some at a point."""
        return observations([*self.known, *((point, run.learning_rate, run.loss) for run in runs)])

    def trial(self, rate: float, off: float = 0.0) -> TargetRun:
        """The run at a rate; the same rate always shows the same loss. ``off`` moves the truth."""
        noise = (
            NOISE * np.random.default_rng([self.seed, round(1e9 * math.log(rate) + 1e11)]).standard_normal()
        )
        height = min(rise(math.log(rate) - self.optimum - off), 0.3)
        return TargetRun(learning_rate=rate, loss=float(self.bottom * math.exp(height + noise)))

    def lost(self, rate: float, off: float = 0.0) -> float:
        """Excess loss of a rate over the best of the lattice."""
        heights = {other: rise(math.log(other) - self.optimum - off) for other in (*LATTICE, rate)}
        return math.expm1(heights[rate] - min(heights[other] for other in LATTICE))


@cache
def sweep(seed: int = 0) -> TargetWorld:
    """Three sizes at three horizons; the optimum of each cell scatters round the power law, the target's too."""
    random = np.random.default_rng(seed)
    alpha, beta = random.normal(-0.4, 0.1), random.normal(-0.1, 0.1)

    def optimum(params: float, tokens: float) -> float:
        line = math.log(2e-3) + alpha * math.log(params / 2e8) + beta * math.log(tokens / 5e9)
        return line + float(random.normal(0, SCATTER))

    def bottom(params: float, tokens: float) -> float:
        return 3.0 * (params / 2e8) ** -0.06 * (tokens / 5e9) ** -0.07 * math.exp(random.normal(0, 2e-3))

    known: list[Known] = []
    for point in grid((1e8, 2e8, 4e8), (2.5e9, 5e9, 1e10), (TARGET.batch_tokens,)):
        at, low = optimum(point.params, point.tokens), bottom(point.params, point.tokens)
        for x in at + 0.3 + 0.6 * np.arange(-3, 3):
            loss = low * math.exp(rise(x - at) + random.normal(0, NOISE))
            known.append((point, math.exp(x), loss))
    return TargetWorld(
        known=tuple(known),
        law=fit(observations(known), options=FitOptions(heldout=False)),
        optimum=optimum(TARGET.params, TARGET.tokens),
        bottom=bottom(TARGET.params, TARGET.tokens),
        seed=seed,
    )
