"""Tokens a second of a grid of learning rates: stacked, and as one plain PyTorch module per rate.

Run from the repository's root: `python -m benchmarks.trainer`; PyTorch and NumPy are all it needs. Rates are
summed over the grid. All columns of a row are measured in turn, several times over, and the best of each counts.
`x` is the ratio to the plain module, or on a GPU to the faster of it and its compiled self: separate processes on
one device share its time, so K of them have together what one has alone. `peak` is the share of the rate of a
large matrix product, measured first on the same threads in the same precision, that the matrix products of the
best column reach.

On a CPU each rate is of one thread and per second of its own CPU time, so that a busy machine disturbs it little.
`--workers 2` adds rates by the wall clock, of two processes of one thread each that start together once both are
warm. Rows of a mixture of experts have as many active parameters as the dense row above, and the same plain module.

On a machine with a GPU, within 8 minutes, of which most goes into compiling:
`python -m benchmarks.trainer --device cuda --sizes 50k 1m 10m 30m --stacks 8 32 --dense --minutes 6 --json gpu.json`
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer import Experts, Recipe, Schedule, Shape, TrainerError, load_corpus, stack_limit
from trainer.graphs import UpdateRunner
from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import ProxyModel
from trainer.stack import Stack

CPU_BATCHES = (128, 256)
SIZES: dict[str, tuple[Shape, int]] = {
    "10k": (Shape(width=16, depth=3), 2_048),
    "50k": (Shape(width=32, depth=4), 2_048),
    "200k": (Shape(width=64, depth=4), 2_048),
    "1m": (Shape(width=128, depth=5), 4_096),
    "5m": (Shape(width=256, depth=6, heads=4, context=256), 8_192),
    "10m": (Shape(width=384, depth=6, heads=6, context=256), 8_192),
    "30m": (Shape(width=512, depth=10, heads=8, context=512), 16_384),
    "100m": (Shape(width=768, depth=14, heads=12, context=512), 16_384),
}
"""By name: a proxy and the tokens of one step on a GPU."""


class Block(nn.Module):
    """A pre-norm block as one would write it with PyTorch's own functions."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape, cos: Tensor, sin: Tensor) -> None:
        super().__init__()
        width, hidden = shape.width, shape.hidden
        self.heads = shape.head_count
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
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
        added: Tensor = self.feedforward_out(hidden * hidden)
        return x + added

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


def plain_step(
    recipe: Recipe, batch: tuple[Tensor, Tensor], device: torch.device, *, compiled: bool
) -> Callable[[], None]:
    """One update of one member as a plain module with PyTorch's fused AdamW, on a GPU in bfloat16."""
    model = Plain(recipe.shape).to(device)
    called: Callable[..., Tensor] = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, fused=True
    )

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = called(*batch)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()

    return step


def stacked_step(
    recipe: Recipe, batch: tuple[Tensor, Tensor], device: torch.device, members: int, *, compiled: bool
) -> Callable[[], None]:
    """One update of a stack, carried out as a training does."""
    model = ProxyModel(recipe, device, compiled=compiled)
    stack, updates = Stack.initial(model, members), UpdateRunner.on(model, StackOptimizer(model))
    rates = [MemberRates(learning_rate=1e-3)] * members

    def step() -> None:
        updates.train(stack, *batch, rates)

    return step


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Seconds of a device: CPU time of this thread, or wall time until a GPU has done all that it was given."""

    device: torch.device

    def now(self) -> float:
        """Seconds since some beginning."""
        if self.device.type != "cuda":
            return time.thread_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def rate(self, step: Callable[[], None], seconds: float) -> float:
        """Calls per second over about that long."""
        started, count = self.now(), 0
        while (spent := self.now() - started) < seconds:
            for _ in range(chunk := 1 + count // 4):  # Few looks at the clock: each one waits for a GPU.
                step()
            count += chunk
        return count / spent


def best_rates(
    steps: dict[str, tuple[int, Callable[[], None]]], clock: Clock, seconds: float
) -> dict[str, float]:
    """Tokens per second of each: the best of five rounds in which all take turns."""
    best = dict.fromkeys(steps, 0.0)
    for _ in range(5):
        for name, (tokens, step) in steps.items():
            best[name] = max(best[name], tokens * clock.rate(step, seconds / 5))
    return best


def matrix_peak(device: torch.device, seconds: float) -> float:
    """FLOPs per second of a large product in the precision of training."""
    size, kind = (8_192, torch.bfloat16) if device.type == "cuda" else (1_024, torch.float32)
    left, right = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    out = torch.empty_like(left)
    clock = Clock(device=device)

    def step() -> None:
        torch.mm(left, right, out=out)

    step()
    return max(2.0 * size**3 * clock.rate(step, seconds / 5) for _ in range(5))


def matrix_flops(shape: Shape) -> int:
    """FLOPs of one token's matrix products, forward and backward, with the head and causal attention."""
    attention = shape.depth * shape.context * shape.width
    return 6 * (shape.params_active + shape.width * shape.vocab_size + attention)


def mixture(shape: Shape) -> Shape:
    """Eight experts of which two are active, together as wide as the dense part."""
    experts = Experts(count=8, top_k=2, width=shape.hidden // 2)
    return Shape(
        width=shape.width, depth=shape.depth, heads=shape.heads, context=shape.context, experts=experts
    )


def recipe_of(shape: Shape, batch_tokens: int) -> Recipe:
    """The recipe of a row."""
    return Recipe(shape=shape, schedule=Schedule(warmup_tokens=0), batch_tokens=batch_tokens)


def batch_of(recipe: Recipe, device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs and targets of one step."""
    tokens = load_corpus("stdlib").batch(0, 0, recipe.sequences, recipe.shape.context)
    sent = torch.from_numpy(tokens).to(device)
    return sent[:, :-1], sent[:, 1:]


def measured(recipe: Recipe, options: argparse.Namespace, peak: float) -> dict[str, Any]:
    """One row."""
    device, shape, tokens = torch.device(options.device), recipe.shape, recipe.batch_tokens
    batch, gpu = batch_of(recipe, device), device.type == "cuda"
    dense = recipe_of(
        Shape(width=shape.width, depth=shape.depth, heads=shape.heads, context=shape.context), tokens
    )
    wanted: dict[str, tuple[int, Callable[[], Callable[[], None]]]] = {}
    for compiled in (False, True) if gpu else (False,):
        name = "compiled " if compiled else ""
        wanted[f"{name}plain"] = tokens, partial(plain_step, dense, batch, device, compiled=compiled)
        for k in options.stacks:
            wanted[f"{name}{k}"] = (
                k * tokens,
                partial(stacked_step, recipe, batch, device, k, compiled=compiled),
            )
    found = dict.fromkeys(wanted, 0.0)
    if gpu:  # One after the other: they would not all fit, and nothing else disturbs the machine.
        for name, (count, make) in wanted.items():
            found |= best_rates({name: (count, warmed(make()))}, Clock(device=device), options.seconds)
            torch.cuda.empty_cache()
    else:
        steps = {name: (count, warmed(make())) for name, (count, make) in wanted.items()}
        found = best_rates(steps, Clock(device=device), options.seconds)
    return {
        "params_active": shape.params_active,
        "params_total": shape.params_total,
        "experts": 0 if shape.experts is None else shape.experts.count,
        "batch_tokens": tokens,
        "tokens_per_second": found,
        "peak_share": max(found.values()) * matrix_flops(shape) / peak,
        "stack_limit": stack_limit(shape, tokens, options.device),
    }


def warmed(step: Callable[[], None]) -> Callable[[], None]:
    """The step, compiled and recorded."""
    for _ in range(5):
        step()
    return step


def work(recipe: Recipe, members: int, start: Barrier, orders: Connection) -> None:
    """A worker of one thread: receives the name and duration of a step, answers with its tokens per second."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    device = torch.device("cpu")
    batch, tokens = batch_of(recipe, device), recipe.batch_tokens
    steps = {
        "plain": (tokens, warmed(plain_step(recipe, batch, device, compiled=False))),
        "stack": (members * tokens, warmed(stacked_step(recipe, batch, device, members, compiled=False))),
    }
    while (order := orders.recv()) is not None:
        (name, seconds), count = order, 0
        start.wait()
        started = time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            steps[name][1]()
            count += 1
        orders.send(count * steps[name][0] / spent)


def together(recipe: Recipe, workers: int, seconds: float) -> dict[str, Any]:
    """Tokens per second by the wall clock, of all workers: single runs, and a stack in each."""
    context, members = multiprocessing.get_context("spawn"), stack_limit(recipe.shape, recipe.batch_tokens)
    start, pipes, processes = context.Barrier(workers), [], []
    for _ in range(workers):
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(recipe, members, start, theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    best = dict.fromkeys(("plain", "stack"), 0.0)
    for _ in range(5):
        for name, rate in best.items():
            for pipe in pipes:
                pipe.send((name, seconds / 5))
            best[name] = max(rate, sum(pipe.recv() for pipe in pipes))
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()
    return {"workers": workers, "members": members, "wall_tokens_per_second": best}


def printed(row: dict[str, Any], stacks: Sequence[int]) -> str:
    """A row of the table."""
    found = row["tokens_per_second"]
    plain = max(rate for name, rate in found.items() if name.endswith("plain"))
    kind = f"{row['experts']} experts" if row["experts"] else "dense"
    cells = [f"{row['params_active']:>11,} {kind:>9} {row['batch_tokens']:>6} {plain:>11,.0f}"]
    for k in stacks:
        best = max(rate for name, rate in found.items() if name.rpartition(" ")[2] == str(k))
        cells.append(f"{best:>11,.0f} {best / plain:>5.2f}x")
    cells.append(f"{row['peak_share']:>5.1%} {row['stack_limit']:>5}")
    if "wall_tokens_per_second" in row:
        wall = row["wall_tokens_per_second"]
        cells.append(
            f"{wall['plain']:>10,.0f} {wall['stack']:>10,.0f} {wall['stack'] / wall['plain']:>5.2f}x"
        )
    return " ".join(cells)


def rows(options: argparse.Namespace) -> list[Recipe]:
    """The measurements, in order."""
    found = []
    for name, (shape, gpu_batch) in SIZES.items():
        largest = options.largest or (1e9 if options.device != "cpu" else 1e6)
        if (options.sizes and name not in options.sizes) or shape.params_total > largest:
            continue
        for batch_tokens in CPU_BATCHES if options.device == "cpu" else (gpu_batch,):
            batch = max(batch_tokens, shape.context)
            found.append(recipe_of(shape, batch))
            if not options.dense:
                found.append(recipe_of(mixture(shape), batch))
    return found


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, or a PyTorch device such as cuda")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, help="only these")
    parser.add_argument("--largest", type=float, help="most parameters; 1e6 on a CPU")
    parser.add_argument(
        "--stacks", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], help="members of a stack"
    )
    parser.add_argument("--dense", action="store_true", help="no mixtures of experts")
    parser.add_argument("--seconds", type=float, default=2.0, help="per cell of the table")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no row after so long")
    parser.add_argument(
        "--workers", type=int, default=0, help="also two or more processes, by the wall clock"
    )
    parser.add_argument("--json", type=Path, help="write everything there, row by row")
    return parser.parse_args()


def main() -> None:
    """Prints the table, row by row."""
    options, started = parsed(), time.monotonic()
    device = torch.device(options.device)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    peak = matrix_peak(device, options.seconds)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread of this CPU"
    report: dict[str, Any] = {
        "machine": machine,
        "torch": torch.__version__,
        "matrix_flops": peak,
        "rows": [],
    }
    print(f"{machine}, PyTorch {torch.__version__}: a large matrix product runs at {peak / 1e12:.3f} TFLOP/s")
    heads = " ".join(f"{f'stack of {k}':>18}" for k in options.stacks)
    wall = f"{f'{options.workers} workers: plain':>21} {'stack':>10}" if options.workers else ""
    print(f"{'active':>11} {'kind':>9} {'batch':>6} {'plain':>11} {heads} {'peak':>5} {'limit':>5} {wall}")
    for recipe in rows(options):
        if time.monotonic() - started > 60.0 * options.minutes:
            print("no time left for more rows")
            break
        try:
            row = measured(recipe, options, peak)
        except (RuntimeError, TrainerError) as error:
            print(f"{recipe.shape.params_active:>11,} failed: {str(error).splitlines()[0]}", flush=True)
            continue
        if options.workers and recipe.shape.experts is None:
            row |= together(recipe, options.workers, options.seconds)
        report["rows"].append(row)
        print(printed(row, options.stacks), flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
