"""Losses of a known law, as values, as observations and as a run table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from orchestrator.cells import Cells, Point
from orchestrator.law import FitOptions, Observations
from orchestrator.law.observations import point_array
from orchestrator.planner.values import KnownRun
from orchestrator.store.records import Run

HEADER = "params,tokens,batch_tokens,learning_rate,loss"
FAST = FitOptions(heldout=False)
"""A fit without its held-out error."""

Known = tuple[Point, float, float | None]
"""A run's place, its learning rate, and its loss; None where it diverged."""


def rise(u: Any, asymmetry: float = 0.0) -> Any:
    """ln loss above the bottom of a bowl of unit curvature at a distance u in ln η; steeper above by the asymmetry."""
    a = asymmetry
    return 2 / a**2 * (np.expm1(a * u) - a * u) if a else u**2


@dataclass(frozen=True, kw_only=True)
class KnownLaw:
    """An optimum that is a power of N, D and B, in bowls of one shape.

    A place is anything with params, tokens and batch_tokens: a cell, a point, a bowl, or the columns of runs.

    Attributes:
        rate: η* at the reference ``at`` = (N₀, D₀, B₀).
        exponents: of N, D and B.
        bends: coefficients of (ln N/N₀)² and (ln D/D₀)² in ln η*.
        interaction: coefficient of ln D/D₀ · ln B/B₀ in ln η*.
        curvature: rise of ln loss at a distance of 1 in ln η.
        asymmetry: of the bowls.
        bottom: lowest loss of a place.
        noise: standard deviation of ln loss in ``runs_of``.
        diverges: a run diverges above this multiple of η*.
    """

    rate: float
    at: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exponents: tuple[float, float, float] = (0.0, 0.0, 0.0)
    bends: tuple[float, float] = (0.0, 0.0)
    interaction: float = 0.0
    curvature: float
    asymmetry: float = 0.0
    bottom: Callable[[Any], Any] = lambda _: 3.0
    noise: float = 0.0
    diverges: float = math.inf

    def log_optimum(self, place: Any) -> Any:
        """ln η* of a place."""
        n, d, b = (
            np.log(value / reference)
            for value, reference in zip(
                (place.params, place.tokens, place.batch_tokens), self.at, strict=True
            )
        )
        power = self.exponents[0] * n + self.exponents[1] * d + self.exponents[2] * b
        bend = self.bends[0] * n**2 + self.bends[1] * d**2 + self.interaction * d * b
        return math.log(self.rate) + power + bend

    def optimum(self, place: Any) -> Any:
        """η* of a place."""
        return np.exp(self.log_optimum(place))

    def losses(self, place: Any, rate: Any) -> Any:
        """The loss at a learning rate, without noise."""
        height = self.curvature * rise(np.log(rate) - self.log_optimum(place), self.asymmetry)
        return self.bottom(place) * np.exp(height)

    def loss(self, cell: Point, rate: float) -> float | None:
        """The loss of a run; None where it diverges."""
        return None if rate > self.diverges * self.optimum(cell) else float(self.losses(cell, rate))

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

LARGE = KnownLaw(
    rate=math.exp(-6.0),
    at=(1e8, 1e10, 262_144.0),
    exponents=(-0.5, -0.2, 0.3),
    interaction=0.1,
    curvature=0.015,
    asymmetry=0.5,
    bottom=lambda place: 3.0 * (place.params / 1e8) ** -0.07 * (place.tokens / 1e10) ** -0.07,
    noise=5e-4,
)
"""The law of ``runs_of``: of large models, with noise."""

SIZES = (1e8, 2e8, 4e8, 8e8)
HORIZONS = (4e9, 1e10, 2.5e10)
BATCHES = (131_072.0, 524_288.0)


def grid(sizes: Iterable[float], horizons: Iterable[float], batches: Iterable[float]) -> list[Point]:
    """Every N, D and B; B varies fastest."""
    return [Point(params=n, tokens=d, batch_tokens=b) for n in sizes for d in horizons for b in batches]


def runs_of(
    law: KnownLaw = LARGE,
    *,
    sizes: Iterable[float] = SIZES,
    horizons: Iterable[float] = HORIZONS,
    batches: Iterable[float] = BATCHES,
    rates: int = 7,
    offset: float = 0.0,
    seed: int = 0,
) -> Observations:
    """Runs in which N, D and B vary apart: seven rates a cell, a factor √2 apart, round the optimum."""
    random, cells = np.random.default_rng(seed), grid(sizes, tuple(horizons), tuple(batches))
    at = random.uniform(-0.17, 0.17, (len(cells), 1)) + 0.35 * (np.arange(rates) - rates // 2) + offset
    params, tokens, batch_tokens = (np.repeat(column, rates) for column in point_array(cells).T)
    ones = np.ones(at.size)
    runs = Observations(
        params=params, tokens=tokens, batch_tokens=batch_tokens, learning_rate=ones, loss=ones
    )
    rate = np.exp(law.log_optimum(runs) + at.ravel())
    noise = np.exp(law.noise * random.standard_normal(rate.size))
    return replace(runs, learning_rate=rate, loss=law.losses(runs, rate) * noise)


def joined(*tables: Observations) -> Observations:
    """Several tables one under the other."""
    columns = {field.name: [getattr(table, field.name) for table in tables] for field in fields(Observations)}
    return Observations(
        **{name: np.concatenate(column) for name, column in columns.items() if column[0] is not None}
    )


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
