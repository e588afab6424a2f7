"""The few runs at the target itself that confirm a prediction: the order of the rates, and when to stop.

    y_i = m + e^ℓ g(x_i − μ; a) + noise      ln loss of run i at the target, x = ln η (orchestrator/law/bowl_shape.py)

    μ ~ N(law's ln η* for a new cell)   ℓ ~ N(pooled ln C)   m ~ surface of the bottoms   a as pooled

One run locates the bottom only as well as its height m is known; two show on which side of them it lies; the pooled
curvature adds the rest. So (μ, ℓ) is kept on a grid and m is integrated exactly: given (μ, ℓ) the posterior is a mixture of
Gaussians. After each run the next rate is the one with the least expected excess loss of those that may still be run.

| symbol | shape | what |
|---|---|---|
| p | [points] | points (μ, ℓ) of the grid |
| r | [rates] | rates that may be run |
| w | [worlds] | simulated cases of the forecast; one for the choice of the next run |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import ndtr

from orchestrator.cells import Point
from orchestrator.law import Law
from orchestrator.law.bowl_shape import half_widths, rise
from orchestrator.law.cell_information import BOUND_MARGIN, BOUND_SD, CRASH
from orchestrator.law.law import CURVATURE_TERMS, VALLEY
from orchestrator.law.observations import Array, Index, Mask, point_array
from orchestrator.planner.information import ROBUST

NEAR = 1e-3
"""Excess loss that a confirmed rate may have."""
CONFIRMED_PROBABILITY = 0.9
"""Probability of `NEAR` at which to stop."""
CHANCE = 0.05
"""A rate with a smaller probability of being within `NEAR` is not worth a run."""
APART = 0.6
"""Least distance between two rates that are run, in half-widths of the valley: nearer ones are redundant."""
STEPS = 4
"""Grid points of ln η* per half-width of the valley; also the rates, if any may be run."""
SPREAD = 4.0
"""Extent of the grid on either side, in standard deviations of ln η*."""
FEWEST_PLACES, MOST_PLACES = 61, 101
"""Bounds of the number of grid points of ln η*."""
NODES, WEIGHTS = hermegauss(5)
"""Grid points of ln C in standard deviations, and their weights."""
WIDER, SHARES = np.array([1.0, 4.0]), np.array([0.9, 0.1])
"""Mixture of the scatter of m round the loss surface: factors on its sd, and their probabilities. So a surface that is off
by some standard deviations does not make one low loss look like the bottom."""
WORLDS, SEED, MOST = 48, 0, 8
"""Simulated cases of the forecast, the seed of their noise, and the number of runs after which a case ends."""
LIKELY = 0.1
"""Reports a rate that at least this share of the simulated cases runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRun:
    """A run at the target: its η, and its loss in the table's unit, None if it diverged."""

    learning_rate: float
    loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationPlan:
    """The runs to make at the target.

    Attributes:
        rates: η that are likely to be run, the next one first; empty if the prediction is confirmed.
        expected_runs: further runs until one is within `NEAR` of the best, whether or not this is known.
        expected_runs_until_sure: further runs until one is with probability `CONFIRMED_PROBABILITY`.
        probability_first: that the next rate is within `NEAR` of the best.
        best: the rate, of those run, with the least expected excess loss; None if none has finished.
        probability_best: that it is within `NEAR` of the best.
    """

    rates: tuple[float, ...]
    expected_runs: float
    expected_runs_until_sure: float
    probability_first: float | None
    best: float | None
    probability_best: float | None


def confirm(
    law: Law,
    target: Point,
    *,
    rates: Sequence[float] | None = None,
    trials: Sequence[TargetRun] = (),
    sure: float = CONFIRMED_PROBABILITY,
) -> ConfirmationPlan:
    """Choose the next rate to run at the target, and forecast the runs until the prediction is confirmed.

    Args:
        law: fitted to all runs but those at the target, which would count twice.
        target: the (N, D, B) of the runs.
        rates: η that may be run there; None allows any. The best is the best of them.
        trials: the runs made there.
        sure: probability that the best rate run is within `NEAR` of the best of all, at which to stop.
    """
    grid = TargetBelief.of(law, target, trials, rates)
    state = _State.of(grid, *_known(grid, trials))
    best, chance = state.best()
    chosen = -1 if chance[0] >= sure else int(state.following()[0])
    until_near, until_sure, asked = _forecast(state, sure)
    likely = [int(position) for position in np.argsort(-asked, kind="stable") if asked[position] >= LIKELY]
    reported = [] if chosen < 0 else [chosen, *(at for at in likely if at != chosen)]
    return ConfirmationPlan(
        rates=tuple(float(grid.rates[at]) for at in reported),
        expected_runs=until_near if chosen >= 0 else 0.0,
        expected_runs_until_sure=until_sure if chosen >= 0 else 0.0,
        probability_first=None if chosen < 0 else float(state.chances[0, chosen]),
        best=float(grid.rates[best[0]]) if state.finished.any() else None,
        probability_best=float(chance[0]) if state.finished.any() else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TargetBelief:
    """The prior at the target before any run there, and the rates that may be run.

    Attributes:
        rates: η, ascending, shape [rates].
        allowed: whether each may be asked for, shape [rates].
        apart: least distance in ln η between two that are run.
        weight: ln of the prior weight of each point, shape [points].
        height: rise of ln loss above the bottom, shape [points, rates].
        lost: excess loss over the best rate, shape [points, rates].
        bottom, bottom_sd: mean and sd of m.
        noise: variance of ln loss, shape [points, rates].
        diverging: ln of the probability of a run that diverged, up to a factor, shape [points, rates].
    """

    rates: Array
    allowed: Mask
    apart: float
    weight: Array
    height: Array
    lost: Array
    bottom: float
    bottom_sd: float
    noise: Array
    diverging: Array

    def parts(self, sums: Array) -> Array:
        """Natural logarithm of the probability of the runs with m integrated, by part of the mixture, up to a constant.

        Args:
            sums: of `_State`, shape [3, …].

        Returns:
            Shape [parts, …].
        """
        one, pull, square = sums
        each = (-1, *(1,) * one.ndim)
        spread = np.square(self.bottom_sd * WIDER).reshape(each)
        shrink = 1 + one * spread
        logs = (pull**2 * spread / shrink - square - np.log(shrink)) / 2
        return np.asarray(np.log(SHARES).reshape(each) + logs)

    @classmethod
    def of(cls, law: Law, target: Point, trials: Sequence[TargetRun], rates: Sequence[float] | None) -> Self:
        """The prior from the law's prediction for a new cell."""
        point = point_array([target])
        mean, sd = (float(value[0]) for value in law.prediction_band(point))
        coordinates = law.reference.coordinates(point)
        curvature, curvature_sd = _curvature(law, coordinates)
        steep = np.exp(curvature + curvature_sd * NODES)
        below, above = half_widths(np.array([VALLEY]) / np.exp(curvature), law.asymmetry)
        half = float(above[0] - below[0]) / 2
        optimum = mean + _steps(sd, half)
        weight = np.log(WEIGHTS) - ((optimum[:, None] - mean) / sd) ** 2 / 2
        made = np.array([trial.learning_rate for trial in trials])
        offered = np.exp(optimum) if rates is None else np.asarray(rates, dtype=np.float64)
        tried = np.unique(np.concatenate([offered, made]))
        x = np.log(tried)
        unit = rise(x - optimum[:, None], law.asymmetry)
        height = (steep[None, :, None] * unit[:, None, :]).reshape(-1, x.size)
        floor = np.zeros(len(height)) if rates is None else height.min(axis=1)
        z = (x - optimum[:, None] - BOUND_MARGIN) / BOUND_SD
        level, level_sd = law.surface.at(coordinates)
        return cls(
            rates=tried,
            allowed=np.isin(tried, offered),
            apart=APART * half,
            weight=weight.ravel(),
            height=height,
            lost=np.expm1(height - floor[:, None]),
            bottom=float(level[0]),
            bottom_sd=float(level_sd[0]),
            noise=(law.scales.noise**2 + (law.scales.growth * height) ** 2) / ROBUST,
            diverging=np.repeat(np.log(CRASH + (1 - CRASH) * ndtr(z)), NODES.size, axis=0),
        )


def _curvature(law: Law, coordinates: Array) -> tuple[float, float]:
    """Mean and sd of ln C in a new cell."""
    rows = np.array([1.0, *coordinates[0]])
    block = law.pooled_covariance[:CURVATURE_TERMS, :CURVATURE_TERMS]
    return float(rows @ law.pooled[:CURVATURE_TERMS]), float(
        np.sqrt(rows @ block @ rows + law.scales.curvature**2)
    )


def _steps(sd: float, half: float) -> Array:
    """Grid points of ln η* as distances from its mean: finer than the valley, out to `SPREAD`; 0 is one of them."""
    wanted = 2 * SPREAD * sd * STEPS / half
    count = int(np.clip(np.ceil(wanted), FEWEST_PLACES, MOST_PLACES)) // 2
    return SPREAD * sd / count * np.arange(-count, count + 1.0)


def _known(grid: TargetBelief, trials: Sequence[TargetRun]) -> tuple[list[int], list[float]]:
    """The position of each run among the rates, and its ln loss, NaN if it diverged."""
    positions = np.searchsorted(grid.rates, [trial.learning_rate for trial in trials])
    return positions.tolist(), [
        np.nan if trial.loss is None else float(np.log(trial.loss)) for trial in trials
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _State:
    """The posterior after some runs, in several worlds at once.

    Attributes:
        grid: the prior.
        sums: Σ 1/v, Σ d/v, Σ d²/v over the runs, d = y − rise − prior mean of m; shape [3, worlds, points].
        log_prior: prior weight, normalisation of the runs' noise and likelihood of diverged runs, shape [worlds, points].
        finished: whether each rate has been run and has a loss, shape [worlds, rates].
        free: whether each may be run next, shape [worlds, rates].
        weights: posterior of the points, shape [worlds, points].
        cost, chances: expected excess loss and probability of at most `NEAR`, shape [worlds, rates].
    """

    grid: TargetBelief
    sums: Array
    log_prior: Array
    finished: Mask
    free: Mask
    weights: Array
    cost: Array
    chances: Array

    @classmethod
    def of(cls, grid: TargetBelief, positions: Sequence[int], losses: Sequence[float]) -> _State:
        """One world with the runs made there."""
        none = np.zeros((1, grid.rates.size), dtype=np.bool_)
        sums = np.zeros((3, 1, grid.weight.size))
        state = cls._weighed(grid, sums, grid.weight[None, :], none, grid.allowed[None, :])
        for position, loss in zip(positions, losses, strict=True):
            state = state.after(np.array([position]), np.array([loss]))
        return state

    @classmethod
    def _weighed(
        cls, grid: TargetBelief, sums: Array, log_prior: Array, finished: Mask, free: Mask
    ) -> _State:
        logs = log_prior + np.logaddexp(*grid.parts(sums))
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return cls(
            grid=grid,
            sums=sums,
            log_prior=log_prior,
            finished=finished,
            free=free,
            weights=weights,
            cost=weights @ grid.lost,
            chances=weights @ (grid.lost <= NEAR).astype(np.float64),
        )

    def after(self, positions: Index, losses: Array) -> _State:
        """Add a run in each world: the position of its rate (−1: no run) and its ln loss, NaN if it diverged. Shape [worlds]."""
        grid, at = self.grid, np.maximum(positions, 0)
        usable = (positions >= 0) & np.isfinite(losses)
        diverged = (positions >= 0) & ~usable
        noise = grid.noise[:, at].T
        apart = np.where(usable, losses - grid.bottom, 0.0)[:, None] - grid.height[:, at].T
        terms = np.stack([1 / noise, apart / noise, apart**2 / noise]) * usable[:, None]
        likelihood = np.where(
            usable[:, None], -np.log(noise) / 2, diverged[:, None] * grid.diverging[:, at].T
        )
        x = np.log(grid.rates)
        crowded = (np.abs(x - x[at][:, None]) < grid.apart) & (positions >= 0)[:, None]
        here = (np.arange(grid.rates.size) == at[:, None]) & (positions >= 0)[:, None]
        return self._weighed(
            grid,
            self.sums + terms,
            self.log_prior + likelihood,
            self.finished | (here & usable[:, None]),
            self.free & ~here & ~crowded,
        )

    def best(self) -> tuple[Index, Array]:
        """The finished rate with the least expected excess loss, and its probability of `NEAR`; 0 if none has finished."""
        at = np.where(self.finished, self.cost, np.inf).argmin(axis=1)
        chance = np.take_along_axis(self.chances, at[:, None], axis=1)[:, 0]
        return at, np.where(self.finished.any(axis=1), chance, 0.0)

    def following(self) -> Index:
        """The rate to run next in each world; −1 if no rate is worth a run."""
        free = self.free & (self.chances >= CHANCE)
        chosen = np.where(free, self.cost, np.inf).argmin(axis=1)
        return np.where(free.any(axis=1), chosen, -1)

    def spread_out(self, worlds: int) -> tuple[_State, Index]:
        """The same posterior in several worlds, and the true point in each, drawn systematically."""
        steps = (np.arange(worlds) + 0.5) / worlds
        truth = np.minimum(np.searchsorted(np.cumsum(self.weights[0]), steps), self.weights.shape[1] - 1)
        state = self._weighed(
            self.grid,
            np.repeat(self.sums, worlds, axis=1),
            np.repeat(self.log_prior, worlds, axis=0),
            np.repeat(self.finished, worlds, axis=0),
            np.repeat(self.free, worlds, axis=0),
        )
        return state, truth


def _forecast(state: _State, wanted: float) -> tuple[float, float, Array]:
    """Forecast of the next runs, with the truth drawn from the posterior.

    Returns:
        (expected runs until one is within `NEAR` of the best, expected runs until the prediction is confirmed,
        probability of each rate to be run until then, shape [rates]).
    """
    grid, random = state.grid, np.random.default_rng(SEED)
    worlds, truth = state.spread_out(WORLDS)
    bottom = _bottoms(grid, state.sums[:, 0, truth], random)
    good, asked = grid.lost[truth] <= NEAR, np.zeros_like(worlds.finished)
    until_near, until_sure = np.zeros(WORLDS), np.zeros(WORLDS)
    near, sure = (worlds.finished & good).any(axis=1), worlds.best()[1] >= wanted
    for _ in range(MOST):
        position = np.where(near & sure, -1, worlds.following())
        going = position >= 0
        if not going.any():
            break
        at = np.maximum(position, 0)
        until_near += going & ~near
        until_sure += going & ~sure
        asked[going & ~sure, at[going & ~sure]] = True
        noise = np.sqrt(grid.noise[truth, at]) * random.standard_normal(WORLDS)
        worlds = worlds.after(position, bottom + grid.height[truth, at] + noise)
        near = near | (worlds.finished & good).any(axis=1)
        sure = sure | (worlds.best()[1] >= wanted)
    return float(until_near.mean()), float(until_sure.mean()), np.asarray(asked.mean(axis=0))


def _bottoms(grid: TargetBelief, sums: Array, random: np.random.Generator) -> Array:
    """The bottom m in each world, drawn from its posterior at the true point, shape [worlds]."""
    one, pull, _ = sums
    logs = grid.parts(sums)
    share = np.exp(logs - np.logaddexp.reduce(logs, axis=0))
    part = (np.cumsum(share, axis=0) < random.random(logs.shape[1])).sum(axis=0)
    precision = one + (grid.bottom_sd * WIDER[np.minimum(part, WIDER.size - 1)]) ** -2.0
    drawn = pull / precision + random.standard_normal(logs.shape[1]) / np.sqrt(precision)
    return np.asarray(grid.bottom + drawn)
