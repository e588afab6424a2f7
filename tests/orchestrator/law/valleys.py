"""Bowls whose bottoms form a known valley over the batch."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from orchestrator.law import Bowl, BowlStatus
from orchestrator.law.bowl_shape import rise

EXPONENTS = (0.45, -0.1)  # of D and N in the best batch
STEEP = 0.005  # C of ln L in ln B
SIZES = (5e7, 1e8, 2e8)
HORIZONS = (4e9, 1e10, 2.5e10)
BATCHES = tuple(65_536.0 * 2**octave for octave in range(6))

Place = tuple[float, float, float]


def best_batch_of(params: float, tokens: float) -> float:
    """The true best batch."""
    return float(4e5 * (tokens / 1e10) ** EXPONENTS[0] * (params / 1e8) ** EXPONENTS[1])


def true_loss(params: float, tokens: float, batch_tokens: float) -> float:
    """A sum of power laws, and the valley of the batch."""
    level = 1.7 + 0.9 * (params / 1e8) ** -0.34 + 0.7 * (tokens / 1e10) ** -0.28
    u = np.log(batch_tokens / best_batch_of(params, tokens))
    return float(level * np.exp(STEEP * rise(np.array(u), 0.4)))


def bowl(place: Place, loss: float | None, noise: float = 5e-4) -> Bowl:
    """A bowl of nine runs with its minimum inside."""
    params, tokens, batch_tokens = place
    return Bowl(
        params=params,
        tokens=tokens,
        batch_tokens=batch_tokens,
        learning_rate=1e-3,
        sd=0.04,
        low=9e-4,
        high=1.1e-3,
        loss=loss,
        curvature=0.01,
        asymmetry=0.7,
        noise=noise,
        status=BowlStatus.INTERIOR,
        runs=9,
        diverged=0,
        r2=0.99,
        law_learning_rate=1e-3,
        law_sd=0.03,
    )


def bowls_of(
    sizes: Iterable[float] = SIZES,
    horizons: Iterable[float] = HORIZONS,
    batches: Iterable[float] = BATCHES,
    *,
    seed: int = 0,
    scatter: float = 2e-4,
    loss: Callable[[float, float, float], float] = true_loss,
) -> list[Bowl]:
    """A grid of bowls whose losses scatter by `scatter` round the truth."""
    random, batches, horizons = np.random.default_rng(seed), tuple(batches), tuple(horizons)
    return [
        bowl((n, d, b), loss(n, d, b) * float(np.exp(scatter * random.standard_normal())))
        for n in sizes
        for d in horizons
        for b in batches
    ]


def scaled(
    bowls: Iterable[Bowl], *, tokens: float = 1.0, params: float = 1.0, loss: float = 1.0
) -> list[Bowl]:
    """The same bowls in other units."""
    return [
        replace(
            bowl,
            params=bowl.params * params,
            tokens=bowl.tokens * tokens,
            batch_tokens=bowl.batch_tokens * tokens,
            loss=None if bowl.loss is None else bowl.loss * loss,
        )
        for bowl in bowls
    ]
