"""What a rate costs to find: excess loss at unseen targets against the share of the full grid's FLOPs spent.

    ETALON_RECORDED_RUNS=<folder with steplaw_dense.csv> python benchmarks/search.py [--replicates 15] [--only law …]

The largest size of the table is the target and never run. A strategy asks for recorded runs of the other sizes; at each
share of their full grid the same fit predicts the rate at every cell of the target size with 131,072 tokens a step or
more. Excess loss: the recorded rates of that cell interpolated (PCHIP in ln η) at the answer, over the best recorded
one. No strategy is told anything of the optimum: the first rates are spread over each cell's recorded ones, and the
law's prior on the level has a standard deviation of 3 in ln η. In each replicate another random tenth of the cells is
missing, and in the cells that are left a random tenth of the rates, so that no figure hangs on one lucky run.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from orchestrator.cells import table_cells
from orchestrator.law import FitOptions, Law, Observations, Refused, Target, fit
from orchestrator.planner import planner_of
from orchestrator.planner.draft import Draft
from orchestrator.planner.opening import spaced
from orchestrator.planner.values import (
    Cell,
    KnownRun,
    Outcome,
    Plan,
    Planner,
    Question,
    Record,
    full_grid_flops,
)
from orchestrator.runtable import RunTable, parse_csv

Array = NDArray[np.float64]
SHARES = (0.005, 0.01, 0.02, 0.05, 0.10)
LEAST_BATCH = 131_072
MISSING = 0.1
LAW = FitOptions(heldout=False)


class FourRates:
    """The honest rival: four spaced rates in every cell, cheapest cells first, the same fit."""

    def plan(self, record: Record, law: Law | None, question: Question) -> Plan:  # noqa: ARG002
        """The next cell's four rates."""
        draft = Draft(record, question)
        for cell in sorted(record.cells, key=lambda cell: (cell.flops, cell.number)):
            for place in spaced(len(cell.rates)):
                draft.add(cell, cell.rates[place], 0, "One of four spaced rates.")
            if draft.batch:
                break
        return draft.plan("Every cell has its four rates.")


@dataclass(frozen=True, kw_only=True)
class World:
    """Cells that may be run, what each run answers, and the target cells with their recorded bowls."""

    cells: tuple[Cell, ...]
    losses: dict[tuple[int, float], float]
    targets: tuple[Target, ...]
    bowls: tuple[tuple[Array, Array], ...]

    def excess(self, law: Law | None) -> float:
        """Mean excess loss, in per cent, of the law's rates at the targets; of the lattice's middle without a law."""
        columns = np.array([(t.params, t.tokens, t.batch_tokens) for t in self.targets]).T
        middles = [float(np.mean(x)) for x, _ in self.bowls]
        answers = middles if law is None else law.optimum(*columns)[0].tolist()
        return float(np.mean([lost(x, loss, at) for (x, loss), at in zip(self.bowls, answers, strict=True)]))

    def answered(self, batch: Plan) -> tuple[KnownRun, ...]:
        """The recorded outcomes of a batch."""
        return tuple(
            KnownRun(
                cell=run.cell,
                learning_rate=run.learning_rate,
                seed=run.seed,
                outcome=Outcome.COMPLETED,
                loss=self.losses[run.cell, run.learning_rate],
            )
            for run in batch.batch
        )


def lost(x: Array, loss: Array, at: float) -> float:
    """Excess loss in per cent at ln η = ``at``, held at the ends of the recorded rates."""
    return 100 * float(PchipInterpolator(x, loss)(np.clip(at, x[0], x[-1])) / loss.min() - 1)


def world(table: RunTable, replicate: int, batch_tokens: float | None) -> World:
    """The table without a random tenth of its cells and rates (none in replicate 0), one batch slice or all."""
    random = np.random.default_rng(replicate)
    repeats: dict[tuple[float, float, float, float], list[float]] = {}
    for *key, loss in zip(
        table.params, table.tokens, table.batch_tokens, table.learning_rate, table.loss, strict=True
    ):
        n, d, b, rate = map(float, key)
        repeats.setdefault((n, d, b, rate), []).append(float(loss))
    mean = {place: float(np.mean(found)) for place, found in repeats.items()}
    largest = float(table.params.max())
    share = MISSING if replicate else 0.0
    kept, targets, bowls = [], [], []
    for cell in table_cells(table):
        if batch_tokens is not None and cell.batch_tokens != batch_tokens:
            continue
        if cell.params < largest:
            rates = tuple(rate for rate in cell.rates if random.random() >= share)
            if random.random() >= share and len(rates) > 3:
                kept.append(replace(cell, rates=rates, number=len(kept)))
        elif cell.batch_tokens >= LEAST_BATCH:
            targets.append(Target(params=cell.params, tokens=cell.tokens, batch_tokens=cell.batch_tokens))
            recorded = [mean[cell.params, cell.tokens, cell.batch_tokens, rate] for rate in cell.rates]
            bowls.append((np.log(cell.rates), np.array(recorded)))
    losses = {
        (cell.number, rate): mean[cell.params, cell.tokens, cell.batch_tokens, rate]
        for cell in kept
        for rate in cell.rates
    }
    return World(cells=tuple(kept), losses=losses, targets=tuple(targets), bowls=tuple(bowls))


def law_of(cells: Sequence[Cell], runs: Sequence[KnownRun]) -> Law | None:
    """The fit of all runs so far, or None where it is refused."""
    columns = np.array(
        [(cells[r.cell].params, cells[r.cell].tokens, cells[r.cell].batch_tokens) for r in runs]
    )
    if not len(runs):
        return None
    observations = Observations(
        params=columns[:, 0],
        tokens=columns[:, 1],
        batch_tokens=columns[:, 2],
        learning_rate=np.array([run.learning_rate for run in runs]),
        loss=np.array([np.nan if run.loss is None else run.loss for run in runs]),
    )
    try:
        return fit(observations, options=LAW)
    except Refused:
        return None


def replay(planner: Planner, place: World, seed: int, *, needs_law: bool) -> tuple[list[float], float]:
    """Excess loss at each share of the full grid, and the share spent when it ended."""
    grid = full_grid_flops(place.cells, 1)
    runs: tuple[KnownRun, ...] = ()
    spent, found = 0.0, []
    for share in SHARES:
        while True:
            law = law_of(place.cells, runs) if needs_law else None
            question = Question(
                target=place.targets[0],
                more_targets=place.targets[1:],
                flops_left=share * grid - spent,
                seed=seed,
            )
            plan = planner.plan(Record(cells=place.cells, runs=runs), law, question)
            if not plan.batch:
                break
            spent += sum(run.flops for run in plan.batch)
            runs += place.answered(plan)
        found.append(place.excess(law_of(place.cells, runs)))
    return found, spent / grid


STRATEGIES = ("law", "four rates", "grid", "random", "tpe", "gp")


def strategy(name: str) -> Planner:
    """The strategies of the product, and the rival."""
    return FourRates() if name == "four rates" else planner_of(name)


def main() -> None:
    """Prints the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--replicates", type=int, default=15)
    arguments.add_argument("--only", nargs="*", default=STRATEGIES)
    arguments.add_argument("--slices", action="store_true", help="each batch slice alone as well")
    options = arguments.parse_args()
    table = parse_csv((Path(os.environ["ETALON_RECORDED_RUNS"]) / "steplaw_dense.csv").read_bytes())
    together(table, options.only, options.replicates)
    if options.slices:
        alone(table, options.only, options.replicates)


def together(table: RunTable, names: Sequence[str], replicates: int) -> None:
    """All batch slices in one sweep."""
    print(
        f"mean excess % (sd over {replicates} replicates), all batch slices; share of the full grid's FLOPs:"
    )
    print(
        "strategy      "
        + "".join(f"{100 * share:>15.3g} %" for share in SHARES)
        + "   spent at the end   seconds"
    )
    for name in names:
        start = time.perf_counter()
        worlds = [(seed, world(table, seed, None)) for seed in range(replicates)]
        row(
            name,
            [replay(strategy(name), place, seed, needs_law=name == "law") for seed, place in worlds],
            start,
        )


def alone(table: RunTable, names: Sequence[str], replicates: int) -> None:
    """One batch slice at a time: every slice with a target cell and at least three cells to run."""
    slices = sorted({float(b) for b in table.batch_tokens if b >= LEAST_BATCH})
    print(f"one batch slice alone, {len(slices)} slices, {replicates} replicates in all:")
    for name in names:
        start = time.perf_counter()
        found = []
        for seed in range(max(replicates, len(slices))):
            place = world(table, seed, slices[seed % len(slices)])
            if place.targets and len(place.cells) > 2:
                found.append(replay(strategy(name), place, seed, needs_law=name == "law"))
        row(name, found, start)


def row(name: str, found: list[tuple[list[float], float]], start: float) -> None:
    """Prints one strategy's line."""
    excess = np.array([losses for losses, _ in found])
    cells = "".join(
        f"{m:>9.3f} ({s:.3f})" for m, s in zip(excess.mean(axis=0), excess.std(axis=0), strict=True)
    )
    spent = 100 * np.mean([share for _, share in found])
    print(f"{name:12s}{cells}{spent:>15.2f} %{time.perf_counter() - start:>12.0f}", flush=True)


if __name__ == "__main__":
    main()
