"""Losses of a known law, as values, as observations and as a run table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.cells import Cells, Point
from orchestrator.law import Observations
from orchestrator.law.observations import point_array
from orchestrator.planner.values import KnownRun
from orchestrator.store.records import Run

HEADER = "params,tokens,batch_tokens,learning_rate,loss"

Known = tuple[Point, float, float | None]
"""A run's place, its learning rate, and its loss; None where it diverged."""


@dataclass(frozen=True, kw_only=True)
class KnownLaw:
    """An optimum that is a power of N, D and B, in bowls that are parabolas in ln η.

    Attributes:
        rate: η* at the reference ``at`` = (N₀, D₀, B₀).
        exponents: of N, D and B.
        bend: coefficient of (ln D/D₀)² in ln η*.
        curvature: excess loss at a distance of 1 in ln η, as a share of the bottom.
        bottom: lowest loss of a cell.
        diverges: a run diverges above this multiple of η*.
    """

    rate: float
    at: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exponents: tuple[float, float, float] = (0.0, 0.0, 0.0)
    bend: float = 0.0
    curvature: float
    bottom: Callable[[Point], float] = lambda _: 3.0
    diverges: float = math.inf

    def optimum(self, cell: Point) -> float:
        """η* of a cell."""
        ratios = (cell.params / self.at[0], cell.tokens / self.at[1], cell.batch_tokens / self.at[2])
        power = math.prod(ratio**exponent for ratio, exponent in zip(ratios, self.exponents, strict=True))
        return self.rate * power * math.exp(self.bend * math.log(ratios[1]) ** 2)

    def loss(self, cell: Point, rate: float) -> float | None:
        """The loss at a learning rate; None where the run diverges."""
        distance = math.log(rate / self.optimum(cell))
        if distance > math.log(self.diverges):
            return None
        return self.bottom(cell) * (1 + self.curvature * distance**2)

    def runs(self, cells: Iterable[Point], rates: Sequence[float]) -> Iterator[Known]:
        """Every rate in every cell."""
        return ((cell, rate, self.loss(cell, rate)) for cell in cells for rate in rates)


RECORDED = KnownLaw(
    rate=1e-2,
    at=(1e6, 1e8, 1.0),
    exponents=(-0.3, -0.3, 0.0),
    curvature=0.01,
    bottom=lambda cell: 3.0 + 10 * cell.params**-0.2 + 5 * cell.tokens**-0.1,
)
"""The law of most run tables."""


def grid(sizes: Sequence[float], horizons: Sequence[float], batches: Sequence[float]) -> list[Point]:
    """Every N, D and B; B varies fastest."""
    return [Point(params=n, tokens=d, batch_tokens=b) for n in sizes for d in horizons for b in batches]


def observations(runs: Iterable[Known]) -> Observations:
    """The observations that a law is fitted to."""
    cells, rates, losses = zip(*runs, strict=True)
    params, tokens, batch_tokens = point_array(cells).T
    return Observations(
        params=params,
        tokens=tokens,
        batch_tokens=batch_tokens,
        learning_rate=np.array(rates),
        loss=np.array(losses, dtype=float),
    )


def observed(cells: Cells, runs: Iterable[Run | KnownRun]) -> Observations:
    """The runs of a sweep as a law is fitted to them."""
    return observations((cells[run.cell], run.learning_rate, run.loss) for run in runs)


def table_rows(runs: Iterable[Known]) -> list[str]:
    """Rows of a run table below ``HEADER``; a diverged run has no loss."""
    return [
        f"{cell.params:g},{cell.tokens:g},{cell.batch_tokens:g},{rate:g},{'' if loss is None else repr(float(loss))}"
        for cell, rate, loss in runs
    ]


def run_table(runs: Iterable[Known]) -> str:
    """A run table."""
    return "\n".join([HEADER, *table_rows(runs)])
