"""Trains one shape at a few learning rates and prints what came out: `python -m trainer --help`."""

import argparse
import sys
import time

import torch

from trainer import (
    Diverged,
    Finished,
    Job,
    Member,
    Recipe,
    Schedule,
    Shape,
    TrainerError,
    Training,
    load_corpus,
)


def main() -> int:
    """Parses the command line, trains, prints a table; 0 when done, 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.001, 0.003, 0.01, 0.03])
    parser.add_argument("--tokens", type=int, nargs="+", default=[131_072, 262_144], help="horizons")
    parser.add_argument("--batch-tokens", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", default="stdlib", help="stdlib, or a path to UTF-8 text")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        print_table(options)
    except TrainerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def print_table(options: argparse.Namespace) -> None:
    """One line per run as it ends.

    Raises:
        TrainerError: The shape, recipe, job or corpus is refused.
    """
    recipe = Recipe(
        shape=Shape(width=options.width, depth=options.depth),
        schedule=Schedule(warmup_tokens=64 * options.batch_tokens),
        batch_tokens=options.batch_tokens,
        seed=options.seed,
    )
    members = tuple(Member(learning_rate=rate, horizons=tuple(options.tokens)) for rate in options.rates)
    corpus = load_corpus(options.corpus)
    training = Training(Job(recipe=recipe, members=members), corpus, device=options.device)
    _print(
        f"{recipe.shape.params_total:,} parameters without embeddings; a unigram scores {corpus.unigram_entropy:.3f} nats"
    )
    _print(f"{'rate':>10} {'tokens':>12} {'loss':>8} {'trunk':>8}")
    started = time.perf_counter()
    while not training.done:
        for event in training.advance(seconds=1.0):
            if isinstance(event, Finished):
                rate = members[event.member].learning_rate
                _print(f"{rate:>10.2e} {event.tokens:>12,} {event.loss:>8.4f} {event.trunk_loss:>8.4f}")
            elif isinstance(event, Diverged):
                _print(
                    f"{members[event.member].learning_rate:>10.2e} {event.tokens:>12,} diverged: {event.reason}"
                )
    _print(f"{time.perf_counter() - started:.1f} seconds")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
