"""Cost of the lenses and of the checkpoints, as shares of the training time without them.

Run from the repository's root: `python -m benchmarks.overhead`. One thread of one CPU core. The same job runs with
lenses and without in turns of a few steps, of each of which the quickest counts in CPU time, so that a busy machine
has little influence. Checkpoints wait for a disk, so their share is of wall-clock time.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch

from orchestrator.spec import Grid, ProxyTrainer, Scale
from orchestrator.spec import Schedule as SweepSchedule
from trainer import (
    Corpus,
    Experts,
    Member,
    Recipe,
    Schedule,
    Shape,
    Training,
    TrainingJob,
    load_corpus,
    stack_limit,
)
from workers.checkpoints import Checkpoints
from workers.proxy import ProxySetup
from workers.proxy_jobs import Branch, ProxyJob, ProxyMember
from workers.proxy_runner import ProxyRunner

SHAPES = (
    Shape(width=16, depth=3),
    Shape(width=32, depth=4),
    Shape(width=64, depth=4),
    Shape(width=32, depth=2, experts=Experts(count=8, top_k=2, width=32)),
)
BATCH_TOKENS = 256
WARMUP_TOKENS = 16_384
TURN = 16


def rates(shape: Shape) -> list[float]:
    """Rates around the best: as many as one stack takes."""
    return [2e-3 * 2 ** (place / 2) for place in range(stack_limit(shape, BATCH_TOKENS))]


def lens_share(shape: Shape, steps: int, corpus: Corpus, *, qk_norm: bool, rounds: int) -> float:
    """Relative CPU time that the lenses add to a whole job; each turn counts with its quickest round."""
    job = job_of(shape, steps, qk_norm=qk_norm)
    quickest: list[list[float]] = [[], []]
    for _ in range(rounds):
        trainings = [Training(job, corpus, lens=lens) for lens in (False, True)]
        spent: list[list[float]] = [[], []]
        while not all(training.done for training in trainings):
            for turns, training in zip(spent, trainings, strict=True):
                started = time.thread_time()
                training.advance(steps=TURN)
                turns.append(time.thread_time() - started)
        quickest = [
            [min(pair) for pair in zip(old, new, strict=True)] if old else new
            for old, new in zip(quickest, spent, strict=True)
        ]
    return sum(quickest[1]) / sum(quickest[0]) - 1.0


def job_of(shape: Shape, steps: int, *, qk_norm: bool) -> TrainingJob:
    """A trunk and one branch of every rate."""
    recipe = Recipe(
        shape=replace(shape, qk_norm=qk_norm),
        schedule=Schedule(warmup_tokens=WARMUP_TOKENS),
        batch_tokens=BATCH_TOKENS,
    )
    members = (Member(learning_rate=rate, horizons=(BATCH_TOKENS * steps,)) for rate in rates(shape))
    return TrainingJob(recipe=recipe, members=tuple(members))


def checkpoint_share(shape: Shape, steps: int) -> float:
    """Seconds that a worker spends on the checkpoints of a whole job over those of all the rest."""
    scale = Scale(width=shape.width, depth=shape.depth)
    trainer = ProxyTrainer(kind="proxy", schedule=SweepSchedule(warmup_tokens=WARMUP_TOKENS))
    horizon = BATCH_TOKENS * steps
    trunk = trainer.trunk_name(scale, BATCH_TOKENS, horizon)
    grid = Grid(
        scales=(scale,), tokens=(horizon,), batch_tokens=(BATCH_TOKENS,), learning_rates=tuple(rates(shape))
    )
    members = tuple(
        ProxyMember(
            learning_rate=rate, trunk_id=f"trunk-{rate}", branches=(Branch(run_id=f"{rate}", tokens=horizon),)
        )
        for rate in rates(shape)
    )
    job, saving = ProxyJob(trunk=trunk, seed=0, start_tokens=0, members=members, flops=1.0), Stopwatch()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(Training, "state", saving.around(Training.state)),
        patch.object(Checkpoints, "write_job", saving.around(Checkpoints.write_job)),
    ):
        setup = ProxySetup(
            trainer=trainer,
            corpus=None,
            scales={trunk: scale},
            cells={trunk: trainer.cells(grid)[0]},
            checkpoints=Path(folder),
            sweep_id="sweep",
            device="cpu",
            threads=1,
        )
        runner = ProxyRunner(setup)
        started, done = time.perf_counter(), False
        runner.begin(job)
        while not done:
            _, done = runner.advance(0.5)
    return saving.seconds / (time.perf_counter() - started - saving.seconds)


class Stopwatch:
    """Adds up the seconds spent in some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time taken."""

        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--rounds", type=int, default=3, help="the quickest of so many counts")
    parser.add_argument(
        "--shapes", type=int, nargs="+", default=list(range(len(SHAPES))), help="which of them"
    )
    parser.add_argument("--only", choices=("lenses", "checkpoints"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = load_corpus("stdlib")
    print(f"{'params':>9} {'stack':>5} {'steps':>6}  {'lenses':>8} {'no qk-norm':>11} {'checkpoints':>12}")
    for shape in (SHAPES[place] for place in options.shapes):
        for steps in options.steps:
            measure(shape, steps, corpus, options)


def measure(shape: Shape, steps: int, corpus: Corpus, options: argparse.Namespace) -> None:
    """Prints one row."""
    shares = ["–", "–", "–"]
    if options.only != "checkpoints":
        for column, qk_norm in enumerate((True, False)):
            share = lens_share(shape, steps, corpus, qk_norm=qk_norm, rounds=options.rounds)
            shares[column] = f"{share:+.2%}"
    if options.only != "lenses" and shape.experts is None:
        shares[2] = f"{median(checkpoint_share(shape, steps) for _ in range(options.rounds)):+.2%}"
    stack = stack_limit(shape, BATCH_TOKENS)
    print(
        f"{shape.params_total:>9,} {stack:>5} {steps:>6}  {shares[0]:>8} {shares[1]:>11} {shares[2]:>12}",
        flush=True,
    )


if __name__ == "__main__":
    main()
