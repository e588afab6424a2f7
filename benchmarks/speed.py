"""Processor time of a refit and of a planning step on one thread, and its ratio to a peer in the same run.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.speed

The peer is what a spreadsheet can do: a parabola through the five runs round the best of each cell (numpy.polyfit), then least
squares through the minima. It has no intervals, no pooling and no refusals; it is here because machines differ.
"""

import time
from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from orchestrator.cells import Cell, Cells, Point
from orchestrator.law import FitOptions, Law, Observations, fit
from orchestrator.planner import planner_of
from orchestrator.planner.values import KnownRun, PlanRequest, RunHistory, RunOutcome

Array = NDArray[np.float64]
FAST = FitOptions(heldout=False)
REPEATS = 9
RATES = 11
TABLES = {"2,000 runs": (5, 4, 9), "20,000 runs": (12, 10, 15)}
STEP = "a planning step"
TARGETS = {
    ("2,000 runs", "refit"): 30,
    ("20,000 runs", "refit"): 150,
    ("135 cells x 12 rates", STEP): 50,
    ("2,000 cells x 20 rates", STEP): 1000,
}
PLANS = {"135 cells x 12 rates": (3, 5, 9, 12), "2,000 cells x 20 rates": (10, 20, 10, 20)}


def places(sizes: int, horizons: int, batches: int) -> Array:
    """(N, D, B) of a full grid of cells, shape [cells, 3]."""
    axes = (
        5e7 * 1.5 ** np.arange(sizes),
        2e9 * 1.4 ** np.arange(horizons),
        65_536 * 1.5 ** np.arange(batches),
    )
    return np.array(list(product(*axes)))


def optimum(place: Array) -> Array:
    """The true ln η* at (N, D, B), shape [..., 3]."""
    n, d, b = np.moveaxis(np.log(place / [2e8, 1e10, 5e5]), -1, 0)
    return np.asarray(-6.0 - 0.5 * n - 0.1 * d + 0.3 * b - 0.06 * (b - 0.57 * d) ** 2)


def losses(rng: np.random.Generator, u: Array) -> Array:
    """Losses at distances u from the bottom in ln η."""
    return np.asarray(3 * np.exp(0.015 * u**2 * (1 + u / 5) + 7e-4 * rng.standard_normal(u.shape)))


def table(shape: tuple[int, int, int]) -> Observations:
    """A full grid of bowls of `RATES` rates."""
    rng, cells = np.random.default_rng(0), places(*shape)
    u = 0.35 * (np.arange(RATES) - RATES // 2) + rng.uniform(-0.2, 0.2, (len(cells), 1))
    params, tokens, batch_tokens = np.repeat(cells, RATES, axis=0).T
    return Observations(
        params=params,
        tokens=tokens,
        batch_tokens=batch_tokens,
        learning_rate=np.exp(optimum(cells)[:, None] + u).ravel(),
        loss=losses(rng, u).ravel(),
    )


def spreadsheet(runs: Observations) -> Array:
    """Exponents from a parabola in each cell and a line through their minima."""
    cells = np.column_stack([runs.params, runs.tokens, runs.batch_tokens])
    found = []
    for place in np.unique(cells, axis=0):
        own = (cells == place).all(axis=1)
        x, y = np.log(runs.learning_rate[own]), runs.loss[own]
        best = int(np.argmin(y))
        near = slice(max(best - 2, 0), best + 3)
        bend, slope, _ = np.polyfit(x[near], y[near], 2)
        found.append((*np.log(place), -slope / (2 * bend)))
    rows = np.array(found)
    exponents: Array
    exponents, *_ = np.linalg.lstsq(
        np.column_stack([np.ones(len(rows)), rows[:, :3]]), rows[:, 3], rcond=None
    )
    return exponents


def history(shape: tuple[int, int, int, int]) -> tuple[RunHistory, Law, PlanRequest]:
    """A sweep under way: a twentieth of its cells have four runs each."""
    *axes, rates = shape
    rng, grid = np.random.default_rng(0), places(*axes)
    lattice = tuple(np.exp(np.linspace(-9.0, -3.5, rates)).tolist())
    cells = Cells(
        Cell(number=number, params=n, tokens=d, batch_tokens=b, rates=lattice)
        for number, (n, d, b) in enumerate(grid.tolist())
    )
    chosen = rng.choice(len(cells), max(12, len(cells) // 20), replace=False)
    runs = []
    for number in chosen.tolist():
        middle = int(np.argmin(np.abs(np.log(lattice) - optimum(grid[number]))))
        for place in np.clip(middle + np.array([-3, -1, 1, 3]), 0, rates - 1).tolist():
            rate = lattice[place]
            loss = float(losses(rng, np.log(rate) - optimum(grid[number])))
            runs.append(
                KnownRun(cell=number, learning_rate=rate, seed=0, outcome=RunOutcome.COMPLETED, loss=loss)
            )
    where = grid[[run.cell for run in runs]].T
    law = fit(
        Observations(
            params=where[0],
            tokens=where[1],
            batch_tokens=where[2],
            learning_rate=np.array([run.learning_rate for run in runs]),
            loss=np.array([run.loss for run in runs], dtype=np.float64),
        ),
        options=FAST,
    )
    params, tokens, batch_tokens = (grid.max(axis=0) * 2).tolist()
    aim = Point(params=params, tokens=tokens, batch_tokens=batch_tokens)
    return RunHistory(cells=cells, runs=tuple(runs)), law, PlanRequest(target=aim)


def seconds(work: Callable[[], object]) -> float:
    """The least processor time of several."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Prints the table."""
    print("| what | ms of one thread | of the spreadsheet's way | target, ms |\n|---|---|---|---|")
    for name, shape in TABLES.items():
        runs = table(shape)
        peer, law = seconds(lambda: spreadsheet(runs)), fit(runs, options=FAST)  # noqa: B023
        for label, work in {
            "refit": lambda: fit(runs, options=FAST),  # noqa: B023
            "with held-out errors of three laws": lambda: fit(runs),  # noqa: B023
        }.items():
            took = seconds(work)
            place, target = f"{name} in {len(law.bowls):,} cells", TARGETS.get((name, label), "")
            print(f"| {place}: {label} | {1e3 * took:.1f} | {took / peer:.2f} | {target} |")
        print(f"| {name}: the spreadsheet's way | {1e3 * peer:.1f} | 1 | |")
    for name, whole in PLANS.items():
        known, law, request = history(whole)
        took = seconds(lambda: planner_of("law").plan(known, law, request))  # noqa: B023
        print(f"| {name}: {STEP} | {1e3 * took:.1f} | | {TARGETS[name, STEP]} |")


if __name__ == "__main__":
    main()
