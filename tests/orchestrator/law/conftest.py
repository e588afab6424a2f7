"""Synthetic sweeps with a known law, and the recorded tables where the machine has them."""

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from orchestrator.law import FitOptions, Observations

COLUMNS = ("params", "tokens", "batch_tokens", "learning_rate", "loss")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """ln η* = level + α n + β d + γ b + δ d·b over N = 1e8, D = 1e10, B = 2.6e5; bowls of one curvature and asymmetry."""

    level: float = -6.0
    alpha: float = -0.5
    beta: float = -0.2
    gamma: float = 0.3
    delta: float = 0.1
    curvature: float = 0.015
    asymmetry: float = 0.5
    noise: float = 5e-4

    def optimum(self, params, tokens, batch_tokens):
        n, d, b = np.log(params / 1e8), np.log(tokens / 1e10), np.log(batch_tokens / 262144)
        return self.level + self.alpha * n + self.beta * d + self.gamma * b + self.delta * d * b

    def loss(self, params, tokens, batch_tokens, learning_rate):
        u = np.log(learning_rate) - self.optimum(params, tokens, batch_tokens)
        bottom = 3.0 * (params / 1e8) ** -0.07 * (tokens / 1e10) ** -0.07
        a = self.asymmetry
        return bottom * np.exp(
            self.curvature * (2 / a**2) * (np.expm1(a * u) - a * u) if a else self.curvature * u**2
        )


SIZES = (1e8, 2e8, 4e8, 8e8)
HORIZONS = (4e9, 1e10, 2.5e10)
BATCHES = (131072.0, 524288.0)


@pytest.fixture
def truth() -> type[Truth]:
    return Truth


@pytest.fixture
def sweep() -> Callable[..., Observations]:
    """A sweep in which N, D and B vary apart, seven rates a cell, a factor √2 apart, round the optimum."""

    def make(
        truth: Truth | None = None,
        *,
        sizes: Sequence[float] = SIZES,
        horizons: Sequence[float] = HORIZONS,
        batches: Sequence[float] = BATCHES,
        rates: int = 7,
        offset: float = 0.0,
        seed: int = 0,
    ) -> Observations:
        truth, rng = truth or Truth(), np.random.default_rng(seed)
        grid = np.array([(n, d, b) for n in sizes for d in horizons for b in batches])
        steps = 0.35 * (np.arange(rates) - rates // 2) + offset
        x = truth.optimum(*grid.T)[:, None] + rng.uniform(-0.17, 0.17, (len(grid), 1)) + steps
        params, tokens, batch = (np.repeat(column, rates) for column in grid.T)
        rate = np.exp(x).ravel()
        loss = truth.loss(params, tokens, batch, rate) * np.exp(truth.noise * rng.standard_normal(rate.size))
        return Observations(params=params, tokens=tokens, batch_tokens=batch, learning_rate=rate, loss=loss)

    return make


@pytest.fixture
def fast() -> FitOptions:
    return FitOptions(heldout=False)


@pytest.fixture
def changed() -> Callable[..., Observations]:
    """The same runs with some columns replaced."""

    def make(runs: Observations, **columns: object) -> Observations:
        return Observations(**{name: columns.get(name, getattr(runs, name)) for name in COLUMNS})

    return make


@pytest.fixture
def joined() -> Callable[..., Observations]:
    """Several tables one under the other."""

    def make(*tables: Observations) -> Observations:
        return Observations(
            **{name: np.concatenate([getattr(table, name) for table in tables]) for name in COLUMNS}
        )

    return make


@pytest.fixture
def recorded() -> Callable[..., Observations]:
    """A recorded table of one recipe."""
    folder = os.environ.get("ETALON_RECORDED_RUNS")
    if folder is None:
        pytest.skip("ETALON_RECORDED_RUNS names no folder of recorded runs")

    def read(name: str, **where: str) -> Observations:
        with (Path(folder) / name).open(newline="") as file:
            rows = [
                row for row in csv.DictReader(file) if all(row[key] == value for key, value in where.items())
            ]
        return Observations(
            **{name: np.array([float(row[name] or "nan") for row in rows]) for name in COLUMNS}
        )

    return read
