"""Run tables of a known law, as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.tables.formats import read_table
from orchestrator.tables.run_table import RunTable
from tests.known_law import HEADER, RECORDED, grid, table_rows

RATES = tuple(8e-3 * 2.0**octave for octave in range(-4, 4))
SIZES = (1e6, 2e6, 4e6, 8e6)
HORIZONS = (1e8, 2e8, 4e8)


def rows(
    sizes: Sequence[float] = SIZES,
    horizons: Sequence[float] = HORIZONS,
    rates: Sequence[float] = RATES,
    batch_tokens: float = 65_536,
) -> list[str]:
    """One row for every rate in every cell."""
    runs = RECORDED.runs(grid(sizes, horizons, (batch_tokens,)), rates)
    return [f"{row},completed" for row in table_rows(runs)]


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
    return "\n".join([f"{HEADER},state", *lines])


def table(lines: Sequence[str]) -> RunTable:
    """A run table."""
    return read_table(text(lines).encode())
