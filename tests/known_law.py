"""Run tables of a known law, as text: η* = 1e-2 (N / 1e6)^-0.3 (D / 1e8)^-0.3, bowls that are parabolas in ln η."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orchestrator.tables.run_table import RunTable, parse_csv

HEADER = "params,tokens,batch_tokens,learning_rate,loss,state"
RATES = tuple(8e-3 * 2.0**octave for octave in range(-4, 4))
SIZES = (1e6, 2e6, 4e6, 8e6)
HORIZONS = (1e8, 2e8, 4e8)


def optimum(params: float, tokens: float) -> float:
    """The true η*."""
    return float(1e-2 * (params / 1e6) ** -0.3 * (tokens / 1e8) ** -0.3)


def loss(params: float, tokens: float, rate: float) -> float:
    """The loss of a run."""
    away = math.log(rate / optimum(params, tokens))
    return float((3.0 + 10 * params**-0.2 + 5 * tokens**-0.1) * (1 + 0.01 * away**2))


def rows(
    sizes: Sequence[float] = SIZES,
    horizons: Sequence[float] = HORIZONS,
    rates: Sequence[float] = RATES,
    batch_tokens: float = 65_536,
) -> list[str]:
    """One row for every rate in every cell."""
    return [
        f"{params:g},{tokens:g},{batch_tokens:g},{rate:g},{loss(params, tokens, rate):.9f},completed"
        for params in sizes
        for tokens in horizons
        for rate in rates
    ]


def counted(lines: Sequence[str], jitter: float = 2e-4) -> list[str]:
    """The same runs, their tokens counted in each: none has the horizon that was meant."""
    random = np.random.default_rng(0)
    split = [line.split(",") for line in lines]
    return [
        ",".join([params, repr(float(tokens) * (1 + random.uniform(-jitter, jitter))), *rest])
        for params, tokens, *rest in split
    ]


def text(lines: Sequence[str]) -> str:
    """A run table's text."""
    return "\n".join([HEADER, *lines])


def table(lines: Sequence[str]) -> RunTable:
    """A run table."""
    return parse_csv(text(lines).encode())


def write_table(
    folder: Path, *, sizes: Sequence[float] = SIZES, horizons: Sequence[float] = HORIZONS
) -> Path:
    """Write ``runs.csv`` with seven rates in every cell."""
    path = folder / "runs.csv"
    path.write_text(text(rows(sizes, horizons, RATES[1:])))
    return path
