"""Tokens a second of a grid of learning rates: stacked, one by one, and as plain PyTorch modules.

Run from the repository's root: `python -m benchmarks.trainer`. One thread of one CPU core; rates are summed
over the grid and are per second of CPU time, so that a busy machine disturbs them little. All columns of a row
are measured in turn, several times over, and the best of each counts. `x` is the ratio to the plain module.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer import Corpus, Recipe, Schedule, Shape, load_corpus, stack_limit
from trainer.model import Model
from trainer.optimizer import Optimizer, Rates
from trainer.stack import Stack

SHAPES = (
    Shape(width=16, depth=3),
    Shape(width=32, depth=4),
    Shape(width=64, depth=4),
    Shape(width=128, depth=5),
)
STACKS = (1, 2, 4, 8, 16)


class Block(nn.Module):
    """A pre-norm block as one would write it with PyTorch's own functions."""

    def __init__(self, shape: Shape, cos: Tensor, sin: Tensor) -> None:
        super().__init__()
        width, hidden = shape.width, shape.feedforward * shape.width
        self.heads, self.cos, self.sin = shape.head_count, cos, sin
        self.attention_in = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.feedforward_in = nn.Linear(width, hidden, bias=False)
        self.feedforward_out = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[sequences, context, width] to the same."""
        sequences, context, width = x.shape
        projected = self.attention_in(functional.rms_norm(x, (width,)))
        split = projected.view(sequences, context, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key = (self.turn(functional.rms_norm(part, part.shape[-1:])) for part in split[:2])
        scale = 2.0 * query.shape[-1] ** -0.5
        mixed = functional.scaled_dot_product_attention(query, key, split[2], is_causal=True, scale=scale)
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(x.shape))
        hidden = functional.relu(self.feedforward_in(functional.rms_norm(x, (width,))))
        return x + self.feedforward_out(hidden * hidden)

    def turn(self, x: Tensor) -> Tensor:
        """Rotary positions by halves, the usual real form."""
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * self.cos - second * self.sin, first * self.sin + second * self.cos], dim=-1)


class Plain(nn.Module):
    """The same proxy as an ordinary module."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        pairs = shape.head_width // 2
        angles = torch.outer(torch.arange(shape.context), 10_000.0 ** -(torch.arange(pairs) / pairs))
        self.embedding = nn.Embedding(shape.vocab_size, shape.width)
        self.blocks = nn.Sequential(*(Block(shape, angles.cos(), angles.sin()) for _ in range(shape.depth)))
        self.head = nn.Linear(shape.width, shape.vocab_size, bias=False)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss in nats per token."""
        x = self.blocks(self.embedding(inputs))
        logits = self.head(functional.rms_norm(x, x.shape[-1:]))
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def plain_step(recipe: Recipe, batch: tuple[Tensor, Tensor]) -> Callable[[], None]:
    """One update of one member as a plain module with PyTorch's fused AdamW."""
    model = Plain(recipe.shape)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, fused=True
    )

    def step() -> None:
        optimizer.zero_grad()
        model(*batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()

    return step


def stacked_step(recipe: Recipe, batch: tuple[Tensor, Tensor], members: int) -> Callable[[], None]:
    """One update of a stack."""
    model = Model(recipe, torch.device("cpu"))
    stack = Stack.initial(model, members)
    optimizer, rates = Optimizer(model), [Rates(learning_rate=1e-3)] * members

    def step() -> None:
        stack.train(model, optimizer, *batch, rates)

    return step


def rates_of(steps: dict[str, tuple[int, Callable[[], None]]], seconds: float) -> dict[str, float]:
    """Tokens per CPU-second of each: the best of several rounds in which all take turns."""
    best = dict.fromkeys(steps, 0.0)
    for step in steps.values():
        step[1]()
    for _ in range(5):
        for name, (tokens, step) in steps.items():
            started, count = time.thread_time(), 0
            while (spent := time.thread_time() - started) < seconds / 5:
                step()
                count += 1
            best[name] = max(best[name], tokens * count / spent)
    return best


def measure(shape: Shape, batch_tokens: int, corpus: Corpus, seconds: float) -> None:
    """Prints one row."""
    recipe = Recipe(shape=shape, schedule=Schedule(warmup_tokens=0), batch_tokens=batch_tokens)
    tokens = torch.from_numpy(corpus.batch(0, 0, recipe.sequences, shape.context))
    batch = tokens[:, :-1], tokens[:, 1:]
    steps = {"plain": (batch_tokens, plain_step(recipe, batch))}
    steps |= {str(k): (k * batch_tokens, stacked_step(recipe, batch, k)) for k in STACKS}
    found = rates_of(steps, seconds)
    columns = [f"{found[str(k)]:>9,.0f} {found[str(k)] / found['plain']:>5.2f}x" for k in STACKS]
    limit = stack_limit(shape, batch_tokens)
    print(
        f"{shape.params_total:>9,} {batch_tokens:>6} {found['plain']:>9,.0f} ",
        *columns,
        f"{limit:>6}",
        flush=True,
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU seconds per cell of the table")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    corpus = load_corpus("stdlib")
    heads = [f"{f'stack of {k}':>16}" for k in STACKS]
    print(f"{'params':>9} {'batch':>6} {'plain':>9} ", *heads, f"{'limit':>6}")
    for shape in SHAPES:
        for batch_tokens in (128, 256):
            measure(shape, batch_tokens, corpus, seconds)


if __name__ == "__main__":
    main()
