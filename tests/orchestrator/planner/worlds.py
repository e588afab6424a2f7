"""Worlds with a known truth to plan in: small proxies whose horizons share a trunk, and random laws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from orchestrator.cells import Cell, Cells, Point
from orchestrator.errors import Refused
from orchestrator.law import Law, fit
from orchestrator.planner.values import (
    BatchPlan,
    KnownRun,
    Planner,
    PlanRequest,
    Proposal,
    RunHistory,
    RunOutcome,
)
from tests.known_law import FAST, observed, rise

Losses = Callable[[Cell, float, int], float | None]


@dataclass(frozen=True, kw_only=True)
class World:
    """Cells and what their runs show.

    ``optimum`` is the true ln η* of each cell and of the target, its own scatter included in the cells.
    """

    cells: Cells
    target: Point
    optimum: tuple[float, ...]
    target_optimum: float
    curvature: float
    noise: float
    seed: int
    diverges: float = np.inf
    asymmetry: float = 0.8

    def loss(self, cell: Cell, rate: float, seed: int) -> float | None:
        """The loss of a run; None where it diverges. The same run always shows the same."""
        u = np.log(rate) - self.optimum[cell.number]
        if u > self.diverges:
            return None
        key = [self.seed, cell.number, cell.rates.index(rate), seed]
        noise = self.noise * np.random.default_rng(key).standard_t(5) * np.sqrt(3 / 5)
        height = self.curvature * rise(u, self.asymmetry)
        level = 1.2 + 2.0 * (cell.params / 1e4) ** -0.06 * (cell.tokens / 1e5) ** -0.08
        return float(level * np.exp(min(height, 1.0) + noise))


def proxies(
    seed: int,
    *,
    rates: int = 13,
    sizes: tuple[float, ...] = (9_216.0, 24_576.0, 49_152.0, 98_304.0),
    steps: tuple[int, ...] = (512, 1024, 2048),
    exponents: tuple[float, float] = (-0.43, -0.42),
    scatter: float = 0.09,
) -> World:
    """Small byte-level proxies: η* ∝ N^−0.43 D^−0.42 at a fixed batch, bowls whose optimum scatters by 8-12 %."""
    random = np.random.default_rng(seed)
    level = np.log(1.1e-2) + random.normal(0, 0.25)
    lattice = tuple(float(f"{rate:.6g}") for rate in np.geomspace(1e-3, 6.4e-2, rates))
    cells = Cells(
        Cell(
            number=number,
            params=params,
            tokens=256.0 * count,
            batch_tokens=256.0,
            rates=lattice,
            trunk=f"n{params:.0f}",
            decay_fraction=0.2,
        )
        for number, (params, count) in enumerate((params, count) for params in sizes for count in steps)
    )

    def optimum(params: float, tokens: float) -> float:
        alpha, beta = exponents
        return float(level + alpha * np.log(params / sizes[0]) + beta * np.log(tokens / (256 * steps[0])))

    target = Point(params=2 * sizes[-1], tokens=512.0 * steps[-1], batch_tokens=256.0)
    return World(
        cells=cells,
        target=target,
        optimum=tuple(optimum(cell.params, cell.tokens) + random.normal(0, scatter) for cell in cells),
        target_optimum=optimum(target.params, target.tokens),
        curvature=float(0.025 * np.exp(random.normal(0, 0.3))),
        noise=1.5e-3,
        seed=seed,
        asymmetry=float(np.clip(random.normal(0.7, 0.3), 0.1, 1.3)),
    )


def demo(seed: int) -> World:
    """The grid of ``etalon demo``: four widths, three horizons, ten rates, a target not twice the largest."""
    world = proxies(seed, rates=10, sizes=(6_144.0, 13_824.0, 24_576.0, 55_296.0))
    target = Point(params=98_304.0, tokens=524_288.0, batch_tokens=256.0)
    there = -0.43 * np.log(target.params / world.target.params) - 0.42 * np.log(
        target.tokens / world.target.tokens
    )
    return replace(world, target=target, target_optimum=world.target_optimum + float(there))


def ladder(seed: int, target: Point) -> World:
    """Four sizes ten times apart, each with twenty tokens a parameter: N and D never vary apart."""
    random = np.random.default_rng(seed)
    lattice = tuple(float(f"{rate:.6g}") for rate in np.geomspace(1e-4, 1e-1, 20))
    sizes = (1e5, 1e6, 1e7, 1e8)
    cells = Cells(
        Cell(number=number, params=params, tokens=20 * params, batch_tokens=65_536.0, rates=lattice)
        for number, params in enumerate(sizes)
    )
    return World(
        cells=cells,
        target=target,
        optimum=tuple(
            float(np.log(1e-2) - 0.25 * np.log(params / sizes[0]) + random.normal(0, 0.05))
            for params in sizes
        ),
        target_optimum=float(np.log(1e-2) - 0.25 * np.log(target.params / sizes[0])),
        curvature=0.02,
        noise=1e-3,
        seed=seed,
    )


@dataclass(kw_only=True)
class Sweep:
    """A sweep under way: every batch is planned, run and recorded, as the service does it."""

    world: World
    planner: Planner
    request: PlanRequest
    history: RunHistory = field(init=False)
    flops: float = 0.0
    batches: list[tuple[Proposal, ...]] = field(default_factory=list)
    plan: BatchPlan = field(default_factory=BatchPlan)

    def __post_init__(self) -> None:
        self.history = RunHistory(cells=self.world.cells)

    def law(self) -> Law | None:
        """The law of everything recorded so far."""
        return law_of(self.history)

    def step(self) -> BatchPlan:
        """Plan once and run the batch."""
        left = self.request.flops_left
        runs_left = self.request.runs_left
        request = replace(
            self.request,
            flops_left=None if left is None else left - self.flops,
            runs_left=None if runs_left is None else runs_left - len(self.history.runs),
        )
        self.plan = self.planner.plan(self.history, self.law(), request)
        if self.plan.batch:
            self.batches.append(self.plan.batch)
            self.flops += sum(run.flops for run in self.plan.batch)
            self.history = replace(
                self.history, runs=self.history.runs + answered(self.world, self.plan.batch)
            )
        return self.plan

    def run(self, most: int = 200) -> str:
        """Step until the planner stops; its reason."""
        for _ in range(most):
            plan = self.step()
            if plan.stop is not None:
                return plan.stop
            assert plan.batch, "an empty batch with nothing open"
        raise AssertionError(f"no stop within {most} batches")


def answered(world: World, batch: tuple[Proposal, ...]) -> tuple[KnownRun, ...]:
    """The outcomes of a batch."""
    found = []
    for run in batch:
        loss = world.loss(world.cells[run.cell], run.learning_rate, run.seed)
        found.append(
            KnownRun(
                cell=run.cell,
                learning_rate=run.learning_rate,
                seed=run.seed,
                outcome=RunOutcome.DIVERGED if loss is None else RunOutcome.COMPLETED,
                loss=loss,
            )
        )
    return tuple(found)


def law_of(history: RunHistory) -> Law | None:
    """The fit of what has ended, or None where it is refused."""
    ended = [run for run in history.runs if run.outcome in {RunOutcome.COMPLETED, RunOutcome.DIVERGED}]
    if not ended:
        return None
    try:
        return fit(observed(history.cells, ended), options=FAST)
    except Refused:
        return None
