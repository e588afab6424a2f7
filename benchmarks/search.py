"""Cost of finding a rate: excess loss at unseen targets by the share of the full grid's FLOPs spent.

    ETALON_RECORDED_RUNS=<folder of run tables> python -m benchmarks.search [--replicates 15] [--table FILE.csv …]
        [--only law four …] [--tables together alone batches tuning] [--plot FILE.html or FILE.png]

The engine is that of ``etalon compare``: the largest size of a run table is the target and never run; a strategy asks
for recorded runs of the other sizes; at each share of their full grid the same fit predicts the rate at every target
cell with a minimum. By default every table of the folder is searched, and every optimizer of a table apart; those that
have too few cells are named and skipped. Excess loss: the recorded rates of that cell interpolated (PCHIP in ln η) at the answer, over the
best recorded one. No strategy knows anything of the optimum. In every replicate but the first another random tenth
of the cells is missing, and in the cells that are left a random tenth of the rates, so that no figure hangs on one
lucky run. The tables are Markdown.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev

from api.figures import comparison_figure, page
from benchmarks.figure_page import save
from benchmarks.tuning import (
    AFTER_PLAN,
    NEAR,
    TUNERS,
    floor,
    planned_laws,
    runs_needed,
    stopped,
    tuned,
)
from orchestrator.errors import Refused
from orchestrator.law import Law, fit
from orchestrator.strategies.compared_strategies import STRATEGIES, ComparedStrategy
from orchestrator.strategies.recorded_world import FAST, RecordedWorld, recorded_world
from orchestrator.strategies.strategy_replay import StrategyReplay, replays
from orchestrator.strategies.strategy_scores import TITLE, StrategyComparison, compared, note
from orchestrator.tables.formats import read_table
from orchestrator.tables.run_table import RunTable

SHARES = (0.005, 0.01, 0.02, 0.05, 0.10)
PLANNED = 0.01
"""Share of the full grid's FLOPs that is spent before runs at the target confirm the answer."""
BATCHES = (1, 3, 12)
TABLES = ("together", "alone", "batches", "tuning")
FEWEST_CELLS = 12
"""Cells that may be run, below which there is nothing to search."""


def main() -> None:
    """Prints the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--replicates", type=int, default=15)
    arguments.add_argument("--only", nargs="*", choices=STRATEGIES, default=list(STRATEGIES))
    arguments.add_argument("--tables", nargs="*", choices=TABLES, default=TABLES)
    arguments.add_argument("--plot", type=Path, help="the first table as a picture, .html or .png")
    arguments.add_argument("--table", nargs="*", help="file names in the folder; by default all of them")
    options = arguments.parse_args()
    folder = Path(os.environ["ETALON_RECORDED_RUNS"])
    for file in options.table or sorted(path.name for path in folder.glob("*.csv")):
        for name, table in recipes(file, read_table((folder / file).read_bytes())):
            try:
                search(name, table, options)
            except Refused as refusal:
                print(f"{name}: skipped. {refusal.detail}\n", flush=True)


def recipes(file: str, table: RunTable) -> Iterator[tuple[str, RunTable]]:
    """The table, or the rows of each of its optimizers, with a name."""
    optimizers = sorted(set(table.texts["optimizer"])) if "optimizer" in table.texts else []
    if not optimizers:
        yield file, table
    for optimizer in optimizers:
        yield f"{file}, {optimizer}", table.where({"optimizer": optimizer})


def search(name: str, table: RunTable, options: argparse.Namespace) -> None:
    """Prints the tables of one recipe.

    Raises:
        Refused: it has too few cells, or no unseen ones to judge strategies at.
    """
    world = recorded_world(table)
    if len(world.cells) < FEWEST_CELLS:
        raise Refused(f"Cells that may be run: {len(world.cells)}; a search needs {FEWEST_CELLS}.")
    worlds = [world.replicate(number) for number in range(options.replicates)]
    contenders = [ComparedStrategy(strategy=strategy) for strategy in options.only]
    print(
        f"{name}. Targets, never run: {world.aim}. Mean excess % ± standard error, by share of the full grid's FLOPs.\n"
    )
    if "together" in options.tables:
        comparison = print_table("all batch slices together", contenders, worlds)
        if options.plot is not None:
            drawn = comparison_figure(comparison, note(comparison, world))
            save(page(TITLE, drawn), options.plot)
            options.plot = None
    if "alone" in options.tables:
        alone = slices(table, world, options.replicates)
        print_table("one batch slice alone", contenders, alone)
        noisiest = max(target.target.batch_tokens for target in world.targets)
        quiet = [place for place in alone if place.targets[0].target.batch_tokens < noisiest]
        if quiet:
            print_table("without the largest batch, whose losses scatter most", contenders, quiet)
    if "batches" in options.tables:
        sized = [ComparedStrategy(strategy="law", runs_per_batch=most) for most in BATCHES]
        print_table("what batches cost", [*sized, ComparedStrategy(strategy="law")], worlds)
    if "tuning" in options.tables:
        print_tuning(world, options.replicates)
        print_confirmation(world, fit(table.observations(), options=FAST), options.replicates)


def slices(table: RunTable, world: RecordedWorld, replicates: int) -> list[RecordedWorld]:
    """Worlds of one batch each: every batch of the targets equally often, ``replicates`` worlds at least.

    A batch whose cells alone give no law is named and left out.

    Raises:
        Refused: no batch alone gives a law.
    """
    alone = []
    for batch in sorted({target.target.batch_tokens for target in world.targets}):
        try:
            alone.append(recorded_world(table.where({"batch_tokens": repr(batch)})))
        except Refused as refusal:
            print(f"Without batches of {batch:g} tokens alone: {refusal.detail}\n")
    if not alone:
        raise Refused("No batch alone gives a law.")
    rounds = math.ceil(replicates / len(alone))
    return [place.replicate(number) for number in range(rounds) for place in alone]


def print_table(
    title: str, contenders: Sequence[ComparedStrategy], worlds: Sequence[RecordedWorld]
) -> StrategyComparison:
    """Replays every strategy and prints its row at once, then the rows of no run and of the full grid."""
    print_row(
        f"{title}, {len(worlds)} replays", [f"{100 * share:g} %" for share in SHARES], "runs", "seconds"
    )
    print_row("---", ["---"] * len(SHARES), "---", "---")
    found: list[StrategyReplay] = []
    for contender in contenders:
        start = time.perf_counter()
        mine = list(replays([contender], worlds, SHARES))
        scores = compared(worlds, mine).scores[contender]
        seconds = f"{time.perf_counter() - start:.0f}"
        losses = [with_error(score.excess_loss, score.standard_error) for score in scores]
        print_row(contender.name, losses, f"{scores[-1].runs:.0f}", seconds)
        found += mine
    comparison = compared(worlds, found)
    print_row("no run: the middle of the lattice", [with_error(comparison.middle)] * len(SHARES), "0", "")
    if comparison.full_grid is not None:
        print_row(
            "every run: the law of the full grid", [with_error(comparison.full_grid)] * len(SHARES), "", ""
        )
    print()
    return comparison


def print_tuning(world: RecordedWorld, replicates: int) -> None:
    """Prints the number of runs at the target for each way of tuning there."""
    near = f"{100 * NEAR:g} %"
    print_row(f"tuning at the target until within {near}, stopped by an oracle", ["mean runs"])
    print_row("---", ["---"])
    for name, planner_at in TUNERS.items():
        needed = list(runs_needed(world, planner_at, replicates))
        print_row(name, [mean_and_error(needed)])
    print()


def print_confirmation(world: RecordedWorld, whole: Law, replicates: int) -> None:
    """Prints the number of runs at the target after a plan, and whether the stop of the confirmation is right.

    The runs of one target in the replicates are alike: the standard error is that over the targets' means.
    """
    near = f"{100 * NEAR:g} %"
    laws = list(planned_laws(world, replicates, PLANNED))
    print_row(
        f"after a plan of {100 * PLANNED:g} %, until a run is within {near}, stopped by an oracle",
        ["mean runs", "the first is"],
    )
    print_row("---", ["---", "---"])
    for name, planner_at in AFTER_PLAN.items():
        needed = [
            [tuned(target, planner_at(law, target), seed) for seed, law in enumerate(laws)]
            for target in world.targets
        ]
        first = fmean(runs == 1 for at in needed for runs in at)
        print_row(name, [mean_and_error([fmean(at) for at in needed]), f"{100 * first:.0f} %"])
    least = list(floor(world, whole))
    print_row(
        "with each target's own bowl known",
        [mean_and_error(least), f"{100 * fmean(n == 1 for n in least):.0f} %"],
    )
    ended = [[stopped(law, target) for law in laws] for target in world.targets]
    runs = mean_and_error([fmean(one.runs for one in at) for at in ended])
    every = [one for at in ended for one in at]
    print(
        f"\nStopped by its own rule: {runs} runs where {fmean(one.forecast for one in every):.2f} were forecast; within "
        f"{near} at the end {100 * fmean(one.near for one in every):.0f} %, where "
        f"{100 * fmean(one.probability for one in every):.0f} % were claimed.\n"
    )


def mean_and_error(values: Sequence[float]) -> str:
    """A mean and its standard error."""
    return f"{fmean(values):.2f} ± {stdev(values) / math.sqrt(len(values)):.2f}"


def print_row(*parts: str | list[str]) -> None:
    """Prints one row of a Markdown table."""
    cells = [cell for part in parts for cell in ([part] if isinstance(part, str) else part)]
    print(f"| {' | '.join(cells)} |", flush=True)


def with_error(excess_loss: float, standard_error: float | None = None) -> str:
    """An excess loss in per cent, with its standard error."""
    error = "" if standard_error is None else f" ± {100 * standard_error:.3f}"
    return f"{100 * excess_loss:.3f}{error}"


if __name__ == "__main__":
    main()
